//! Row 4: the power fails while journaling. The journal lies on an ext4 of its own on a loop device, which is shut down
//! without a flush (`EXT4_IOC_SHUTDOWN`, as xfstests do); the program is killed with it. Needs root, and says so.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::kinds::{KINDS, Kind};
use super::lab::{Lab, Rng, Table, command, run};
use super::oracle;
use crate::support::process::signal;
use crate::support::project::collect;

/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`: what is not on disk by now is lost.
const SHUT_DOWN: &str =
    r#"open(my $f, "<", $ARGV[0]) or die; my $how = pack("L", 2); ioctl($f, 0x8004587D, $how) or die "$!""#;

fn quietly(program: &str, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A small ext4 in a file.
struct Disk {
    image: PathBuf,
    at: PathBuf,
}

impl Disk {
    fn new(image: PathBuf, at: PathBuf) -> Result<Self, String> {
        std::fs::File::create(&image).and_then(|file| file.set_len(32 << 20)).map_err(|error| error.to_string())?;
        std::fs::create_dir_all(&at).map_err(|error| error.to_string())?;
        if !quietly("mkfs.ext4", &["-q", "-F", &image.to_string_lossy()]) {
            return Err("mkfs.ext4 does not work here".to_owned());
        }
        let disk = Self { image, at };
        disk.mount()?;
        std::fs::remove_dir(disk.at.join("lost+found")).ok();
        quietly("sync", &["-f", &disk.at.to_string_lossy()]);
        Ok(disk)
    }

    fn mount(&self) -> Result<(), String> {
        let mounted = quietly("mount", &["-o", "loop", &self.image.to_string_lossy(), &self.at.to_string_lossy()]);
        if mounted { Ok(()) } else { Err("a loop device cannot be mounted here".to_owned()) }
    }

    fn power_off(&self) -> Result<(), String> {
        let off = quietly("perl", &["-e", SHUT_DOWN, &self.at.to_string_lossy()]);
        if off { Ok(()) } else { Err("the file system cannot be shut down here".to_owned()) }
    }

    fn unmount(&self) {
        let began = Instant::now();
        while !quietly("umount", &[&self.at.to_string_lossy()]) && began.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        quietly("umount", &["-l", &self.at.to_string_lossy()]);
    }
}

/// Why it cannot be tried on this machine.
fn obstacle() -> Option<String> {
    if !nix::unistd::Uid::effective().is_root() {
        return Some("not tried: it needs root, for a file system of its own".to_owned());
    }
    let dir = tempfile::tempdir().ok()?;
    let disk = Disk::new(dir.path().join("image"), dir.path().join("mnt"));
    disk.and_then(|disk| disk.power_off()).err().map(|why| format!("not tried: {why}"))
}

fn test(lab: &Lab, seed: &u64) -> Result<(), String> {
    let mut rng = Rng(*seed);
    let kind: &Kind = &KINDS[usize::try_from(rng.below(KINDS.len() as u64)).unwrap()];
    let db = lab.copy("base");
    let project = db.project();
    kind.write(&project);
    let disk = Disk::new(project.path().join("image"), project.journal())?;
    let mut log = String::new();
    for args in [&["apply", "--yes"][..], &["apply", "--resume", "--yes"]] {
        let child = command(&project, args, &[]).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(rng.below(if args.len() == 2 { 250 } else { 120 })));
        let cut = disk.power_off();
        signal(i32::try_from(child.id()).unwrap(), Signal::SIGKILL);
        writeln!(log, "{args:?} {}", collect(child)).unwrap();
        cut?;
        disk.unmount();
        disk.mount()?;
    }
    let mut check = || {
        let resumed = run(&project, &["apply", "--resume", "--yes"], &[]);
        writeln!(log, "resume {resumed}").unwrap();
        let rest = run(&project, &["apply", "--yes"], &[]);
        writeln!(log, "apply {rest}").unwrap();
        oracle::same("exit codes", &format!("{:?} {:?}", resumed.code, rest.code), "Some(0) Some(0)")?;
        let tags: Vec<String> = kind.all_tags().iter().map(ToString::to_string).collect();
        oracle::all_once(&db, &tags)?;
        oracle::same("schema and data", &oracle::shape(&db), &lab.expected(kind))?;
        let ids = ["1_first".to_owned(), format!("2_{}", kind.name), "3_last".to_owned()];
        oracle::books(&db, &project, &ids)
    };
    let outcome = check();
    outcome.map_err(|error| format!("{error}\n{log}"))
}

/// So many power cuts; each case has two.
pub fn cuts(table: &Table, rounds: u64, seed: u64) {
    const NAME: &str = "4 power loss while journaling, twice";
    if let Some(why) = obstacle() {
        return table.note(NAME, &why);
    }
    let seeds: Vec<u64> = (seed..seed.saturating_add(rounds)).collect();
    let describe = |seed: &u64| format!("replay with SEED={seed} ROUNDS=1 ONLY=4");
    table.all(NAME, &seeds, Lab::start, test, describe);
}
