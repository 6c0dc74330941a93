//! Opening sled: panics caught, its index thrown away when it cannot be read, the folder moved aside when nothing
//! helps.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::thread;
use std::time::Duration;

use migengine_engine::run::journal::JournalError;

use super::disk::{self, Folder};
use crate::points::{self, Points};

/// Name of the thread that owns sled.
pub(crate) const THREAD: &str = "migengine-journal";
/// What sled keeps in memory.
const CACHE_BYTES: u64 = 16 << 20;
const RECORDS: &str = "records";
const BINDING: &str = "binding";

/// What had to be done to open a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// sled's index was damaged, as after a kill while it was written; it was made again, all records are there.
    IndexRebuilt,
    /// The journal could not be opened: it was moved aside and an empty one begun. The runs are to be rebuilt from the
    /// database.
    Quarantined {
        /// Where the old folder is now.
        moved_to: PathBuf,
        /// Why it could not be opened.
        reason: String,
    },
}

/// sled, open.
pub(crate) struct Trees {
    pub(crate) db: sled::Db,
    pub(crate) records: sled::Tree,
    pub(crate) binding: sled::Tree,
}

/// Opens the folder; with `may_replace`, one beyond repair is moved aside.
pub(crate) fn open(
    folder: Folder,
    may_replace: bool,
    points: &Points,
) -> Result<(Folder, Trees, Option<Note>), JournalError> {
    let at = |error: std::io::Error| disk::unwritable(&folder.path, &error);
    points.pass(points::OPEN_BEFORE_SLED).map_err(at)?;
    let first = match attempt(&folder.path) {
        Ok(trees) => return Ok((folder, trees, None)),
        Err(error @ (JournalError::InUse { .. } | JournalError::Unwritable { .. })) => return Err(error),
        Err(error) => error,
    };
    if folder.remove_snapshots(points).map_err(at)? {
        match attempt(&folder.path) {
            Ok(trees) => {
                tracing::warn!(path = %folder.path.display(), "the journal's index was damaged and made again");
                return Ok((folder, trees, Some(Note::IndexRebuilt)));
            }
            Err(error @ (JournalError::InUse { .. } | JournalError::Unwritable { .. })) => return Err(error),
            Err(_) => {}
        }
    }
    if !may_replace {
        return Err(first);
    }
    let reason = first.to_string();
    let (folder, moved_to) = folder.quarantine(points)?;
    tracing::warn!(path = %folder.path.display(), moved_to = %moved_to.display(), reason, "journal moved aside");
    let trees = attempt(&folder.path)?;
    Ok((folder, trees, Some(Note::Quarantined { moved_to, reason })))
}

/// One attempt. Our own lock is held, so sled's can only be held by a sled of this process that is still closing.
fn attempt(path: &Path) -> Result<Trees, JournalError> {
    let mut waited = 0;
    loop {
        match guarded(path, || open_sled(path).map_err(|error| failure(path, error))).and_then(|result| result) {
            Err(JournalError::InUse { .. }) if waited < 40 => {
                waited += 1;
                thread::sleep(Duration::from_millis(25));
            }
            result => return result,
        }
    }
}

fn open_sled(path: &Path) -> sled::Result<Trees> {
    let db = sled::Config::new()
        .path(path)
        .cache_capacity(CACHE_BYTES)
        .mode(sled::Mode::HighThroughput)
        .flush_every_ms(None)
        .use_compression(false)
        .open()?;
    let (records, binding) = (db.open_tree(RECORDS)?, db.open_tree(BINDING)?);
    // Reads every page once, so that a damaged one is found here and not in the middle of a run.
    for item in records.iter().chain(binding.iter()) {
        let _item: (sled::IVec, sled::IVec) = item?;
    }
    Ok(Trees { db, records, binding })
}

/// Runs a piece of sled's code; a panic becomes an error.
pub(crate) fn guarded<T>(path: &Path, work: impl FnOnce() -> T) -> Result<T, JournalError> {
    silence_own_threads();
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| JournalError::Damaged {
        path: path.display().to_string(),
        reason: format!("the store broke down: {}", message(&*panic)),
    })
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

/// A caught panic of the store is told as an error; its report on stderr would only confuse. Panics of all other
/// threads are reported as before.
fn silence_own_threads() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            let ours = thread::current().name().is_some_and(|name| name == THREAD || name.starts_with("sled-io-"));
            if !ours {
                before(info);
            }
        }));
    });
}

/// sled's error as ours.
pub(crate) fn failure(path: &Path, error: sled::Error) -> JournalError {
    let path = path.display().to_string();
    match error {
        sled::Error::Io(error) if error.to_string().starts_with("could not acquire lock") => {
            JournalError::InUse { path }
        }
        sled::Error::Io(error) if damage(&error) => JournalError::Damaged { path, reason: disk::words(&error) },
        sled::Error::Io(error) => JournalError::Unwritable { path, reason: disk::words(&error) },
        sled::Error::Corruption { .. } => {
            JournalError::Damaged { path, reason: "a checksum of the store does not fit its bytes".to_owned() }
        }
        other => JournalError::Damaged { path, reason: other.to_string() },
    }
}

/// I/O errors by which sled says that its files make no sense, or that one is gone.
fn damage(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{InvalidData, InvalidInput, NotFound, UnexpectedEof};
    matches!(error.kind(), InvalidData | InvalidInput | NotFound | UnexpectedEof)
}
