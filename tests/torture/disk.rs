//! A file system of one's own, in a file, for rows 4 and 10: an ext4 on a loop device that loses its power, that turns
//! read-only under the program as it does when a disk fails, or on which no block is free. Needs root, and says so.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::lab::Lab;
use super::matrix::{Blow, Case, Stages, Then, judged, paused, staged, with_journal};
use super::table::Table;

/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`: what is not on disk by now is lost.
const SHUT_DOWN: &str =
    r#"open(my $f, "<", $ARGV[0]) or die; my $how = pack("L", 2); ioctl($f, 0x8004587D, $how) or die "$!""#;

/// Bytes of the image.
const SIZE: u64 = 32 << 20;

fn quietly(program: &str, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A small ext4 in a file.
pub struct Disk {
    image: PathBuf,
    at: PathBuf,
}

impl Disk {
    pub fn new(image: PathBuf, at: PathBuf) -> Result<Self, String> {
        std::fs::File::create(&image).and_then(|file| file.set_len(SIZE)).map_err(|error| error.to_string())?;
        std::fs::create_dir_all(&at).map_err(|error| error.to_string())?;
        if !quietly("mkfs.ext4", &["-q", "-F", "-m", "0", &image.to_string_lossy()]) {
            return Err("mkfs.ext4 does not work here".to_owned());
        }
        let disk = Self { image, at };
        disk.mount()?;
        std::fs::remove_dir(disk.at.join("lost+found")).ok();
        quietly("sync", &["-f", &disk.at.to_string_lossy()]);
        Ok(disk)
    }

    pub fn mount(&self) -> Result<(), String> {
        let options = "loop,errors=remount-ro";
        let mounted = quietly("mount", &["-o", options, &self.image.to_string_lossy(), &self.at.to_string_lossy()]);
        if mounted { Ok(()) } else { Err("a loop device cannot be mounted here".to_owned()) }
    }

    /// What is not on disk by now is lost.
    pub fn power_off(&self) -> Result<(), String> {
        let off = quietly("perl", &["-e", SHUT_DOWN, &self.at.to_string_lossy()]);
        if off { Ok(()) } else { Err("the file system cannot be shut down here".to_owned()) }
    }

    /// The file system finds itself damaged and turns read-only, also for files that are open.
    fn turn_read_only(&self) -> Result<(), String> {
        let mounts = std::fs::read_to_string("/proc/mounts").map_err(|error| error.to_string())?;
        let at = self.at.to_string_lossy();
        let mut ours = mounts
            .lines()
            .filter_map(|line| line.split_once(' '))
            .filter(|(_, rest)| rest.starts_with(&format!("{at} ")));
        let device =
            ours.next_back().and_then(|(device, _)| device.strip_prefix("/dev/")).ok_or("it is not mounted")?;
        std::fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "1").map_err(|error| error.to_string())?;
        match std::fs::write(self.at.join("probe"), "x") {
            Ok(()) => Err("the file system did not turn read-only".to_owned()),
            Err(_) => Ok(()),
        }
    }

    fn ballast(&self) -> PathBuf {
        self.at.join("ballast")
    }

    /// Not one block is free.
    fn fill(&self) -> Result<(), String> {
        let mut file = std::fs::File::create(self.ballast()).map_err(|error| error.to_string())?;
        for size in [1 << 20, 1 << 10] {
            let zeros = vec![0; size];
            while file.write_all(&zeros).is_ok() {}
        }
        Ok(())
    }

    pub fn unmount(&self) {
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
pub fn obstacle(harm: impl FnOnce(&Disk) -> Result<(), String>) -> Option<String> {
    if !nix::unistd::Uid::effective().is_root() {
        return Some("not tried: it needs root, for a file system of its own".to_owned());
    }
    let dir = tempfile::tempdir().ok()?;
    let disk = Disk::new(dir.path().join("image"), dir.path().join("mnt"));
    disk.and_then(|disk| harm(&disk)).err().map(|why| format!("not tried: {why}"))
}

fn test(lab: &Lab, stages: &Stages, case: &Case) -> Result<(), String> {
    let (db, project) = staged(lab, stages, case);
    let disk = Disk::new(project.path().join("image"), project.journal())?;
    with_journal(lab, stages, case, &project);
    quietly("sync", &["-f", &project.journal().to_string_lossy()]);
    let mut harmed = Ok(());
    let first = paused(&project, case, || {
        harmed = if case.blow == Blow::ReadOnly { disk.turn_read_only() } else { disk.fill() };
    });
    harmed?;
    // Somebody repairs the disk, or makes room.
    if case.blow == Blow::ReadOnly {
        disk.unmount();
        disk.mount()?;
    } else {
        std::fs::remove_file(disk.ballast()).map_err(|error| error.to_string())?;
    }
    judged(lab, stages, case, (&db, &project), &first)
}

/// Before every write of the journal, every `stride`-th case.
pub fn real(table: &Table, stages: &Stages, all: &[Case], stride: usize) {
    type Harm = fn(&Disk) -> Result<(), String>;
    for (name, blow, harm) in [
        ("10 disk full before every journal write, a real one", Blow::Disk, Disk::fill as Harm),
        ("10 read-only before every journal write, a real one", Blow::ReadOnly, Disk::turn_read_only as Harm),
    ] {
        if let Some(why) = obstacle(harm) {
            table.note(name, &why);
            continue;
        }
        let at = |case: &&Case| case.blow == blow && case.point == "journal.append.before_insert";
        let cases: Vec<Case> = all.iter().filter(at).step_by(stride).cloned().collect();
        debug_assert!(cases.iter().all(|case| case.then != Then::Elsewhere), "the journal is a mount");
        table.strided(name, stride, "STRIDE");
        table.all(name, &cases, Lab::start, |lab, case| test(lab, stages, case), Case::describe);
    }
}
