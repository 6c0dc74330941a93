//! The one who writes to stderr. Where a live display stands there, everything else is written above it.

use std::io::{self, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::ProgressBar;

/// The display that stands on the terminal, if one does. There is one terminal, so there is one of it.
static DISPLAY: Mutex<Option<ProgressBar>> = Mutex::new(None);

fn display() -> MutexGuard<'static, Option<ProgressBar>> {
    DISPLAY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes to stderr. A closed pipe is no reason to fail: the journal has it all.
pub fn write(bytes: &[u8]) {
    above(|| drop(io::stderr().lock().write_all(bytes)));
}

/// Writes to the terminal, above the display.
pub fn above(put: impl FnOnce()) {
    match &*display() {
        Some(bar) => bar.suspend(put),
        None => put(),
    }
}

/// A display that stands on the terminal until this is dropped.
pub struct Raised(());

/// Puts a display up.
#[must_use]
pub fn raise(bar: ProgressBar) -> Raised {
    *display() = Some(bar);
    Raised(())
}

/// Takes the display away, wherever it stands: before a prompt, and before the process ends.
pub fn clear() {
    let taken = display().take();
    if let Some(bar) = taken {
        bar.finish_and_clear();
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        clear();
    }
}

/// stderr for the log.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stderr;

impl io::Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
