//! A server process as its data folder shows it: `postmaster.pid`, the socket, signals.

use super::place;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often a state is looked at while waiting for it.
pub(super) const POLL: Duration = Duration::from_millis(10);

/// What `postmaster.pid` says. Its lines are described in PostgreSQL's `src/include/utils/pidfile.h`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Postmaster {
    pub(super) pid: i32,
    /// Line 5. Empty until the socket exists.
    pub(super) socket_dir: PathBuf,
    /// Line 8: connections are accepted.
    pub(super) ready: bool,
}

impl Postmaster {
    /// `None` where no server was started, or where the file is not whole yet.
    pub(super) fn read(data: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(pid_file(data)).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let line = |number: usize| lines.get(number - 1).copied().unwrap_or_default();
        // A standalone backend writes its pid negated.
        let pid = line(1).parse().ok().filter(|&pid: &i32| pid > 0)?;
        Some(Self { pid, socket_dir: PathBuf::from(line(5)), ready: line(8) == "ready" })
    }

    /// Whether this very server lives, and not just some process that got its number later.
    pub(super) fn alive(&self, data: &Path) -> bool {
        if kill(Pid::from_raw(self.pid), None) == Err(Errno::ESRCH) {
            return false;
        }
        // The postmaster works in its data folder. Only Linux shows that; elsewhere the number has to do.
        match fs::read_link(format!("/proc/{}/cwd", self.pid)) {
            Ok(cwd) => data.canonicalize().is_ok_and(|data| data == cwd),
            // Root in a container may lack the right to look (CAP_SYS_PTRACE). Then the name has to do, because taking
            // a living server for a dead one would be the worse mistake.
            Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
                fs::read_to_string(format!("/proc/{}/comm", self.pid)).map_or(true, |comm| comm.starts_with("postgres"))
            }
            // A zombie, where there is a /proc at all.
            Err(_) => !Path::new("/proc/self/cwd").exists(),
        }
    }

    /// Whether a connection can be made now.
    pub(super) fn answers(&self) -> bool {
        self.ready && UnixStream::connect(place::socket_in(&self.socket_dir)).is_ok()
    }

    /// Sends a signal; false where the process is gone.
    pub(super) fn signal(&self, signal: Signal) -> bool {
        kill(Pid::from_raw(self.pid), signal).is_ok()
    }
}

pub(super) fn pid_file(data: &Path) -> PathBuf {
    data.join("postmaster.pid")
}

/// Asks `done` until it says yes or the time is over; what it said last.
pub(super) fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if done() {
            return true;
        }
        if start.elapsed() >= limit {
            return false;
        }
        std::thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pid_file_at_each_stage_of_its_writing() {
        let check = |text: &str, expect: Option<(i32, &str, bool)>| {
            let got = Postmaster::parse(text);
            let expect = expect.map(|(pid, dir, ready)| Postmaster { pid, socket_dir: PathBuf::from(dir), ready });
            assert_eq!(got, expect, "{text:?}");
        };
        let whole = "812\n/data\n1700000000\n5432\n/run/x\n\n  5432001         7\nready   \n";
        check(whole, Some((812, "/run/x", true)));
        check(&whole.replace("ready   ", "starting"), Some((812, "/run/x", false)));
        check("812\n/data\n1700000000\n5432\n\n", Some((812, "", false)));
        check("812", Some((812, "", false)));
        check("-812\n/data\n", None);
        check("", None);
        check("x\n", None);
    }

    #[test]
    fn a_number_that_another_process_has_now_is_not_the_server() {
        let data = tempfile::tempdir().unwrap();
        let me = i32::try_from(std::process::id()).unwrap();
        let postmaster = Postmaster { pid: me, socket_dir: data.path().into(), ready: true };
        if Path::new("/proc/self/cwd").exists() {
            assert!(!postmaster.alive(data.path()));
            assert!(postmaster.alive(&std::env::current_dir().unwrap()));
        }
        assert!(!postmaster.answers());
    }
}
