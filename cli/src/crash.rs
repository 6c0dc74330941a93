//! Crash points. In builds with debug assertions the crash tests stop the world here; release builds have none of it.
//!
//! | variable | meaning |
//! |---|---|
//! | `MIGENGINE_CRASH_AT=name:n` | act when the named point is passed for the n-th time |
//! | `MIGENGINE_CRASH_ACTION` | `kill` (the default): SIGKILL; `term`: SIGTERM; `full`, `readonly`: the disk is, from there on (points of the journal); `pause`: see below |
//! | `MIGENGINE_CRASH_PAUSE=FILE` | where `pause` writes a file; the process stands still until somebody removes it |
//! | `MIGENGINE_CLOCK_AHEAD=FILE` | the clock of the process is ahead by as many seconds as the file says, whenever it is looked at |
//! | `MIGENGINE_CRASH_TRACE=FILE` | every point that is passed is appended to the file |
//!
//! The points are [`migengine_engine::drive::points::Point::ALL`] and [`migengine_journal::points::POINTS`].

use migengine_journal::points::Hook;

/// Passes a point of the engine.
#[cfg(not(debug_assertions))]
pub fn point(_name: &'static str) {}

/// Passes a point of the engine.
#[cfg(debug_assertions)]
pub fn point(name: &'static str) {
    // Only the journal has a disk that could fail.
    drop(armed::pass(name));
}

/// How far the clock of the process is ahead, in microseconds.
#[cfg(not(debug_assertions))]
#[must_use]
pub const fn ahead_us() -> i64 {
    0
}

/// How far the clock of the process is ahead, in microseconds.
#[cfg(debug_assertions)]
#[must_use]
pub fn ahead_us() -> i64 {
    static AHEAD: std::sync::LazyLock<Option<std::ffi::OsString>> =
        std::sync::LazyLock::new(|| std::env::var_os("MIGENGINE_CLOCK_AHEAD"));
    let text = AHEAD.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
    text.and_then(|text| text.trim().parse::<i64>().ok()).map_or(0, |seconds| seconds.saturating_mul(1_000_000))
}

/// The journal's hook; none in release builds.
#[cfg(not(debug_assertions))]
#[must_use]
pub fn journal_hook() -> Option<Hook> {
    None
}

/// The journal's hook.
#[cfg(debug_assertions)]
#[must_use]
pub fn journal_hook() -> Option<Hook> {
    armed::wanted().then(|| std::sync::Arc::new(armed::pass) as Hook)
}

#[cfg(debug_assertions)]
mod armed {
    use std::io::{self, Write as _};
    use std::path::Path;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    static TRACE: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("MIGENGINE_CRASH_TRACE").ok());
    static WANTED: LazyLock<Option<(String, u64)>> = LazyLock::new(|| {
        let text = std::env::var("MIGENGINE_CRASH_AT").ok()?;
        let (name, times) = text.rsplit_once(':')?;
        Some((name.to_owned(), times.parse().ok()?))
    });
    static SEEN: AtomicU64 = AtomicU64::new(0);

    pub(super) fn wanted() -> bool {
        TRACE.is_some() || WANTED.is_some()
    }

    pub(super) fn pass(name: &'static str) -> io::Result<()> {
        if let Some(path) = TRACE.as_ref() {
            let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
            file.and_then(|mut file| file.write_all(format!("{name}\n").as_bytes()))?;
        }
        let Some((wanted, times)) = WANTED.as_ref() else { return Ok(()) };
        let action = std::env::var("MIGENGINE_CRASH_ACTION").unwrap_or_default();
        let seen = if wanted == name { SEEN.fetch_add(1, Ordering::SeqCst) + 1 } else { 0 };
        match action.as_str() {
            // A disk that is full stays full.
            "full" if seen >= *times => Err(io::Error::from(io::ErrorKind::StorageFull)),
            "readonly" if seen >= *times => Err(io::Error::from(io::ErrorKind::ReadOnlyFilesystem)),
            _ if seen != *times => Ok(()),
            "term" => signal(Signal::SIGTERM),
            "pause" => pause(),
            _ => {
                signal(Signal::SIGKILL)?;
                // The signal is delivered before kill(2) returns to a single-threaded process; others may take a moment.
                std::thread::sleep(Duration::from_secs(60));
                Ok(())
            }
        }
    }

    fn signal(signal: Signal) -> io::Result<()> {
        Ok(kill(Pid::this(), signal)?)
    }

    fn pause() -> io::Result<()> {
        let Ok(path) = std::env::var("MIGENGINE_CRASH_PAUSE") else { return Ok(()) };
        std::fs::write(&path, "paused\n")?;
        while Path::new(&path).exists() {
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}
