//! The image of the Dockerfile as a folder, and its program run in it as a container runtime would: another root, another
//! user, nothing of this machine's environment.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::super::support::{Output, project::collect};
use super::{Env, at_hand};

/// The last stage of a Dockerfile, unpacked.
pub struct Image {
    root: TempDir,
    env: Env,
    user: String,
    group: String,
    workdir: String,
    entry: Vec<String>,
}

/// Whether this machine lets a test change its root; says what is left out where not.
pub fn can_be_run() -> bool {
    let able = at_hand("unshare") && at_hand("ldd") && {
        let probe =
            Command::new("unshare").args(["--root=/", "--wd=/", "--setgid=65532", "--setuid=65532", "true"]).output();
        probe.is_ok_and(|probe| probe.status.success())
    };
    if !able {
        println!("skipped: the image is not run here, because changing the root wants root");
    }
    able
}

impl Image {
    /// Does what the last stage says, with the program under test in place of the static one. `certificates` are those of
    /// the build stage's public authorities.
    pub fn assemble(dockerfile: &str, program: &Path, certificates: &Path) -> Self {
        let root = tempfile::Builder::new().prefix("me-image-").tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let (user, group, workdir) = (String::new(), String::new(), String::new());
        let mut image = Self { root, env: Env::new(), user, group, workdir, entry: Vec::new() };
        let (_, last) = dockerfile.rsplit_once("\nFROM scratch\n").unwrap();
        image.devices();
        for line in last.lines() {
            let (instruction, rest) = line.split_once(' ').unwrap();
            match instruction {
                "COPY" => image.copy(rest.strip_prefix("--from=build ").unwrap(), program, certificates),
                "ENV" => image.env.extend(rest.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()))),
                "USER" => {
                    let (user, group) = rest.split_once(':').unwrap();
                    (image.user, image.group) = (user.to_owned(), group.to_owned());
                }
                "WORKDIR" => {
                    rest.clone_into(&mut image.workdir);
                    fs::create_dir_all(image.at(rest)).unwrap();
                }
                "ENTRYPOINT" => image.entry = serde_json::from_str(rest).unwrap(),
                "CMD" => {}
                other => panic!("what does {other} do?"),
            }
        }
        image
    }

    /// A place in the image.
    pub fn at(&self, path: &str) -> PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    /// Those that every container has (OCI runtime specification, default devices), as far as this machine lets us make
    /// them: a program that is linked statically against glibc reads random numbers there.
    fn devices(&self) {
        fs::create_dir(self.at("/dev")).unwrap();
        for (name, minor) in [("null", "3"), ("random", "8"), ("urandom", "9")] {
            let made = Command::new("mknod")
                .args(["-m", "666"])
                .arg(self.at("/dev").join(name))
                .args(["c", "1", minor])
                .output();
            drop(made);
        }
    }

    fn copy(&self, words: &str, program: &Path, certificates: &Path) {
        let words: Vec<&str> = words.split(' ').collect();
        let (owner, from, to) = match words[..] {
            [from, to] => (None, from, to),
            [owner, from, to] => (owner.strip_prefix("--chown="), from, to),
            _ => panic!("{words:?}"),
        };
        let to = self.at(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        match from.rsplit('/').next().unwrap() {
            "migengine" => self.install(program, &to),
            "ca-certificates.crt" => drop(fs::copy(certificates, &to).unwrap()),
            "journal" => fs::create_dir(&to).unwrap(),
            other => panic!("{other} is nothing of the build stage's"),
        }
        // What is not given to anybody is root's, as is this test.
        if let Some((user, group)) = owner.and_then(|owner| owner.split_once(':')) {
            chown(&to, user.parse().ok(), group.parse().ok()).unwrap();
        }
    }

    /// The program, and the libraries that it wants where it is not static.
    fn install(&self, program: &Path, to: &Path) {
        place(program, to);
        let listed = Command::new("ldd").arg(program).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        for library in listed.split_whitespace().filter(|word| word.starts_with('/')) {
            let to = self.at(library);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            place(Path::new(library), &to);
        }
    }

    /// Runs it: `docker run --read-only image ARGS`, with the image's user, folder and variables.
    pub fn run(&self, args: &[&str], more: &Env) -> Output {
        let mut command = Command::new("unshare");
        command.arg(format!("--root={}", self.root.path().display())).arg(format!("--wd={}", self.workdir));
        command.arg(format!("--setgid={}", self.group)).arg(format!("--setuid={}", self.user)).arg("--");
        command.args(&self.entry).args(args).env_clear().envs(&self.env).envs(more);
        // Only for finding `unshare`; there is nothing that the image could find in it.
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        collect(command.spawn().unwrap())
    }
}

fn place(from: &Path, to: &Path) {
    // A link costs nothing; the folder for temporary files may be on another disk.
    let from = from.canonicalize().unwrap();
    if fs::hard_link(&from, to).is_err() && !to.exists() {
        fs::copy(&from, to).unwrap();
    }
}
