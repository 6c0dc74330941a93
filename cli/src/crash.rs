//! Crash points: in builds with debug assertions, `MIGENGINE_CRASH_AT=name:n` kills the process with SIGKILL when the
//! named point is passed for the n-th time. The crash tests go through all of them; release builds have none of this.

/// Passes a point.
#[cfg(debug_assertions)]
pub fn point(name: &'static str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static WANTED: LazyLock<Option<(String, u64)>> = LazyLock::new(|| {
        let text = std::env::var("MIGENGINE_CRASH_AT").ok()?;
        let (name, times) = text.rsplit_once(':')?;
        Some((name.to_owned(), times.parse().ok()?))
    });
    static SEEN: AtomicU64 = AtomicU64::new(0);
    let Some((wanted, times)) = WANTED.as_ref() else { return };
    if wanted == name && SEEN.fetch_add(1, Ordering::SeqCst) + 1 == *times {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL);
        // The signal is delivered before kill(2) returns to a single-threaded process; others may take a moment.
        std::thread::sleep(std::time::Duration::from_secs(60));
    }
}

/// Passes a point.
#[cfg(not(debug_assertions))]
pub fn point(_name: &'static str) {}
