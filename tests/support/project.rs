//! A temporary project, and the program run in it.

use super::{Database, secret};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A folder with `migrations/`, a home and a journal of its own.
#[derive(Debug)]
pub struct Project {
    dir: TempDir,
    env: Vec<(String, String)>,
}

/// What a run of the program left.
#[derive(Debug, Clone)]
pub struct Output {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// The data.
    pub stdout: String,
    /// Everything else.
    pub stderr: String,
}

impl Output {
    /// `stdout` as JSON; panics with all of the output where it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("no JSON ({e}): {self}"))
    }

    /// Panics with all of the output unless the exit code is `code`.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit {:?}\n--- stdout\n{}\n--- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}

impl Project {
    /// An empty project that works on `database`.
    pub fn new(database: &Database<'_>) -> Self {
        Self::with_url(&database.url())
    }

    /// An empty project with a connection URL of any kind.
    pub fn with_url(url: &str) -> Self {
        let project = Self::without_url();
        project.with_env("DATABASE_URL", url)
    }

    /// An empty project that names no database.
    pub fn without_url() -> Self {
        let dir = tempfile::Builder::new().prefix("me-project-").tempdir().unwrap();
        fs::create_dir(dir.path().join("migrations")).unwrap();
        Self { dir, env: Vec::new() }
    }

    /// Sets a variable for every run; a later one of the same name wins.
    #[must_use]
    pub fn with_env(mut self, key: &str, value: &str) -> Self {
        self.env.push((key.to_owned(), value.to_owned()));
        self
    }

    /// The project's folder, in which the program runs.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The folder of migrations.
    pub fn migrations(&self) -> PathBuf {
        self.path().join("migrations")
    }

    /// The journal's folder.
    pub fn journal(&self) -> PathBuf {
        self.path().join("journal")
    }

    /// Writes a file into the folder of migrations; it may be bytes that are no UTF-8.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.migrations().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// Writes a migration and its reverse.
    pub fn pair(&self, id: &str, forward: &str, reverse: &str) {
        self.write(&format!("{id}.sql"), forward);
        self.write(&format!("{id}_rollback.sql"), reverse);
    }

    /// Removes a file from the folder of migrations.
    pub fn remove(&self, name: &str) {
        fs::remove_file(self.migrations().join(name)).unwrap();
    }

    /// Copies all files of a folder into the folder of migrations.
    pub fn copy_from(&self, folder: &Path) {
        for entry in fs::read_dir(folder).unwrap().flatten().filter(|entry| entry.path().is_file()) {
            fs::copy(entry.path(), self.migrations().join(entry.file_name())).unwrap();
        }
    }

    /// The program with its arguments, an environment of its own, and pipes.
    pub fn command(&self, args: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(program());
        command.args(args).env_clear().current_dir(self.path());
        // Coverage and the choice of the server's binaries belong to the machine, not to the project.
        for key in ["PATH", "LLVM_PROFILE_FILE", "MIGENGINE_PG_BIN", "SSL_CERT_FILE"] {
            if let Some(value) = std::env::var_os(key) {
                command.env(key, value);
            }
        }
        command.env("HOME", self.path()).env("MIGENGINE_JOURNAL", self.journal()).env("NO_COLOR", "1");
        command.env("RUST_BACKTRACE", "1").envs(self.env.iter().map(|(key, value)| (key, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, args: &[impl AsRef<OsStr>]) -> Output {
        collect(self.spawn(args))
    }

    /// Runs the program with `--format json`, expects the exit code, and reads the object.
    #[track_caller]
    pub fn run_json(&self, args: &[&str], code: i32) -> serde_json::Value {
        self.run(&[args, &["--format", "json"]].concat()).expect(code).json()
    }

    /// Starts the program; see [`super::kill_nine`] and [`collect`].
    pub fn spawn(&self, args: &[impl AsRef<OsStr>]) -> Child {
        self.command(args).spawn().unwrap()
    }
}

/// Nothing that the program stored may hold a secret.
impl Drop for Project {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            secret::none_below(self.dir.path());
        }
    }
}

/// The program under test: a copy that `MIGENGINE_BINARY` names, so that a long campaign outlives the next build, or the one
/// that was built with the tests.
fn program() -> std::ffi::OsString {
    std::env::var_os("MIGENGINE_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_migengine").into())
}

/// Waits for the end of a started program.
pub fn collect(child: Child) -> Output {
    let output = child.wait_with_output().unwrap();
    secret::none_in("stdout", &output.stdout);
    secret::none_in("stderr", &output.stderr);
    let text = |bytes| String::from_utf8(bytes).unwrap_or_else(|e| panic!("the program must write UTF-8: {e}"));
    Output { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}
