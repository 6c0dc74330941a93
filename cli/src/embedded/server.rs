//! Starting, sharing and stopping the private server.
//!
//! Two lock files order the commands that use one cluster at the same time. `gate.lock` is held exclusively while the
//! server is being started or stopped. `users.lock` is held shared by every command that uses it; whoever can take it
//! exclusively at the end is the last one, and stops the server. The system releases both when a command dies, so a
//! server that a killed command left running is found, used and stopped by the next one.

use super::postmaster::{Postmaster, pid_file, wait_until};
use super::{DATABASE, Durability, EmbeddedError, Install, ROLE, ServerUser, cluster, place};
use nix::sys::signal::Signal;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

/// Enough for the recovery after a crash of a database of some size.
const START_LIMIT: Duration = Duration::from_secs(120);

/// For the shutdown checkpoint.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// Above this the log starts anew.
const LOG_LIMIT: u64 = 4 << 20;

/// A private server in use. It is stopped by [`Embedded::stop`], or when this is dropped.
#[derive(Debug)]
pub struct Embedded {
    url: String,
    home: PathBuf,
    data: PathBuf,
    /// `None` once stopped.
    users: Option<File>,
    /// Where this process started the server.
    child: Option<Child>,
}

impl Embedded {
    /// The connection URL, `postgresql:///app?host=FOLDER&port=5432&user=postgres`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Gives the server up, and stops it unless another command uses it. Blocks until it is down.
    pub fn stop(mut self) -> Result<(), EmbeddedError> {
        self.release()
    }

    fn release(&mut self) -> Result<(), EmbeddedError> {
        let Some(users) = self.users.take() else { return Ok(()) };
        let _gate = gate(&self.home)?;
        match users.try_lock() {
            Ok(()) => self.shut_down(),
            Err(TryLockError::WouldBlock) => Ok(()),
            Err(TryLockError::Error(e)) => Err(EmbeddedError::io("lock", &self.home, e)),
        }
    }

    /// The fast shutdown: sessions end, what they committed is on disk, the next start needs no recovery.
    fn shut_down(&mut self) -> Result<(), EmbeddedError> {
        let Some(postmaster) = Postmaster::read(&self.data).filter(|p| p.alive(&self.data)) else {
            // Somebody else ended it. Unless it is waited for, its number stays taken, and a new server would heed that.
            if let Some(child) = &mut self.child {
                wait_until(STOP_LIMIT, || !matches!(child.try_wait(), Ok(None)));
            }
            return Ok(());
        };
        postmaster.signal(Signal::SIGINT);
        let (data, child) = (&self.data, &mut self.child);
        let gone = wait_until(STOP_LIMIT, || {
            // Our own child stays a zombie until it is waited for.
            child.as_mut().is_some_and(|c| matches!(c.try_wait(), Ok(Some(_)))) || !postmaster.alive(data)
        });
        if gone {
            // Empty now; the next start makes it again.
            fs::remove_dir(&postmaster.socket_dir).ok();
            Ok(())
        } else {
            Err(EmbeddedError::Stop { pid: postmaster.pid, seconds: STOP_LIMIT.as_secs() })
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if let Err(error) = self.release() {
            tracing::warn!(%error, "the private server was not stopped");
        }
    }
}

/// Brings up the cluster of `root` that fits `install`, or joins its running server.
pub(super) fn run(
    root: &Path,
    install: &Install,
    user: ServerUser,
    durability: Durability,
) -> Result<Embedded, EmbeddedError> {
    let home = root.join(format!("pg{}", install.version.major));
    user.make_passable_dirs(&home)?;
    user.check_reach(&home)?;
    // The server's own idea of its folder has no symbolic links.
    let home = home.canonicalize().map_err(|e| EmbeddedError::io("find", &home, e))?;
    let _gate = gate(&home)?;
    let users = lock_file(&home, "users.lock")?;
    users.lock_shared().map_err(|e| EmbeddedError::io("lock", &home, e))?;
    let data = cluster::prepare(&home, install, &user, durability)?;
    let launch = Launch { socket_dir: place::socket_dir(&home, &user)?, log: &home.join("server.log"), data: &data };
    let (socket_dir, child) = match launch.join()? {
        Some(postmaster) => (postmaster.socket_dir, None),
        None => {
            let child = launch.start(install, &user, durability)?;
            (launch.socket_dir, Some(child))
        }
    };
    let url = place::url(&socket_dir, DATABASE, ROLE);
    Ok(Embedded { url, home, data, users: Some(users), child })
}

struct Launch<'a> {
    log: &'a Path,
    data: &'a Path,
    socket_dir: PathBuf,
}

impl Launch<'_> {
    /// The running server, if there is one. It may still be starting where its starter was killed.
    fn join(&self) -> Result<Option<Postmaster>, EmbeddedError> {
        let mut found = None;
        let settled = wait_until(START_LIMIT, || {
            found = Postmaster::read(self.data).filter(|p| p.alive(self.data));
            found.as_ref().is_none_or(Postmaster::answers)
        });
        if let (false, Some(postmaster)) = (settled, &found) {
            let seconds = START_LIMIT.as_secs();
            return Err(
                self.failure(format!("process {} runs but did not answer within {seconds} s", postmaster.pid), 0)
            );
        }
        if let Some(dead) = Postmaster::read(self.data).filter(|p| found.is_none() && !p.alive(self.data)) {
            // The server refuses to start beside files that name a process, even if that is a zombie or another program.
            fs::remove_file(place::socket_lock_in(&dead.socket_dir)).ok();
            fs::remove_file(pid_file(self.data)).ok();
        }
        Ok(found)
    }

    fn start(&self, install: &Install, user: &ServerUser, durability: Durability) -> Result<Child, EmbeddedError> {
        let started = Instant::now();
        loop {
            let old_log = self.log.metadata().map_or(0, |m| m.len());
            let why = match self.attempt(install, user, durability) {
                Ok(child) => return Ok(child),
                Err(why) => why,
            };
            // After a postmaster was killed its last sessions may take a moment to notice.
            let leftovers = tail(self.log, old_log).contains("is still in use");
            if !leftovers || started.elapsed() > START_LIMIT {
                return Err(self.failure(why, old_log));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn failure(&self, why: String, old_log: u64) -> EmbeddedError {
        let (data, log) = (self.data.to_path_buf(), self.log.to_path_buf());
        EmbeddedError::Start { why, data, log, tail: tail(self.log, old_log) }
    }

    fn attempt(&self, install: &Install, user: &ServerUser, durability: Durability) -> Result<Child, String> {
        let log = open_log(self.log).map_err(|e| format!("its log cannot be written: {e}"))?;
        let log_too = log.try_clone().map_err(|e| e.to_string())?;
        let mut postgres = user.command(install.bin.join("postgres"));
        postgres.arg("-D").arg(self.data);
        for setting in settings(&self.socket_dir, durability) {
            postgres.arg("-c").arg(setting);
        }
        // A group of its own, so that Ctrl-C reaches the command and not the server under it.
        postgres.process_group(0).stdout(log).stderr(log_too);
        let mut child = postgres.spawn().map_err(|e| e.to_string())?;
        let mut died = None;
        let ready = wait_until(START_LIMIT, || {
            died = child.try_wait().ok().flatten();
            let own = |p: &Postmaster| u32::try_from(p.pid) == Ok(child.id());
            died.is_some() || Postmaster::read(self.data).filter(own).is_some_and(|p| p.answers())
        });
        match (died, ready) {
            (Some(status), _) => Err(format!("it ended with {status}")),
            (None, true) => Ok(child),
            (None, false) => {
                // SIGTERM would wait for a recovery that may be under way; the next start can go on with it.
                child.kill().and_then(|()| child.wait()).ok();
                Err(format!("it did not answer within {} s", START_LIMIT.as_secs()))
            }
        }
    }
}

/// On the command line, where they win over the configuration files.
fn settings(socket_dir: &Path, durability: Durability) -> Vec<String> {
    // The value is a list; in double quotes it may hold commas and blanks.
    let quoted = socket_dir.to_string_lossy().replace('"', "\"\"");
    let mut settings = vec![
        "listen_addresses=".to_owned(),
        format!("unix_socket_directories=\"{quoted}\""),
        "unix_socket_permissions=0700".to_owned(),
        format!("port={}", place::PORT),
        "cluster_name=migengine".to_owned(),
        "logging_collector=off".to_owned(),
    ];
    if durability == Durability::Off {
        settings.extend(["fsync=off", "full_page_writes=off", "synchronous_commit=off"].map(str::to_owned));
    }
    settings
}

fn gate(home: &Path) -> Result<File, EmbeddedError> {
    let gate = lock_file(home, "gate.lock")?;
    gate.lock().map_err(|e| EmbeddedError::io("lock", home, e))?;
    Ok(gate)
}

fn lock_file(home: &Path, name: &str) -> Result<File, EmbeddedError> {
    let path = home.join(name);
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    options.map_err(|e| EmbeddedError::io("open", &path, e))
}

fn open_log(path: &Path) -> std::io::Result<File> {
    if path.metadata().is_ok_and(|m| m.len() > LOG_LIMIT) {
        fs::remove_file(path)?;
    }
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// The last lines of the log that stand behind its first `old` bytes.
fn tail(path: &Path, old: u64) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let new = usize::try_from(old).ok().and_then(|old| bytes.get(old..)).unwrap_or(&bytes);
    let text = String::from_utf8_lossy(new);
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(8)).copied().collect::<Vec<_>>().join("\n")
}

// What needs a real server stands in tests/harness.rs, in the project's top folder.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_folder_is_one_value_whatever_its_name() {
        let check = |dir: &str, expect: &str| {
            assert_eq!(settings(Path::new(dir), Durability::On)[1], format!("unix_socket_directories={expect}"));
        };
        check("/run/a", "\"/run/a\"");
        check("/Users/A b,c", "\"/Users/A b,c\"");
        check("/a\"b", "\"/a\"\"b\"");
    }

    #[test]
    fn only_a_scratch_server_gives_up_durability() {
        let has = |d| settings(Path::new("/s"), d).iter().any(|s| s == "fsync=off");
        assert!(has(Durability::Off));
        assert!(!has(Durability::On));
        for durability in [Durability::On, Durability::Off] {
            assert!(settings(Path::new("/s"), durability).contains(&"listen_addresses=".to_owned()));
        }
    }
}
