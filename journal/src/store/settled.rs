//! A note beside a journal that was closed in good order with nothing unfinished in it: what a command that finds nothing
//! to do needs of it, without opening the store.
//!
//! It can never tell more than the journal itself. Whoever opens the store removes it first; it is written under the
//! folder's lock, after the store was closed; and it names every file of the store with its length, its times to the
//! nanosecond and its inode, so that it says nothing of files that were put back, copied or written by anything else.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use migengine_engine::id::Epoch;
use serde::{Deserialize, Serialize};

/// Name of the file.
pub(crate) const FILE: &str = "migengine.settled";
/// Changes when the meaning does.
const VERSION: u32 = 1;

/// What is known of a journal in which every run is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// The database it belongs to.
    pub uuid: String,
    /// The highest epoch it holds.
    pub epoch: Option<Epoch>,
}

#[derive(Serialize, Deserialize)]
struct Note {
    version: u32,
    uuid: String,
    epoch: Option<u64>,
    files: Vec<Stamp>,
}

/// One file of the store as it was.
#[derive(Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Stamp {
    name: String,
    length: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Reads the note of a journal; nothing where there is none, or where it does not fit the files as they are.
#[must_use]
pub fn settled(path: &Path) -> Option<Settled> {
    let bytes = fs::read(path.join(FILE)).ok()?;
    let (crc, body) = bytes.split_first_chunk::<4>()?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let note: Note = bincode::deserialize(body).ok()?;
    let fits = note.version == VERSION && stamps(path).ok()? == note.files;
    fits.then(|| Settled { uuid: note.uuid, epoch: note.epoch.map(Epoch) })
}

/// Writes the note. The folder is locked and the store closed.
pub(crate) fn write(path: &Path, settled: &Settled) -> io::Result<()> {
    let Settled { uuid, epoch } = settled;
    let note = Note { version: VERSION, uuid: uuid.clone(), epoch: epoch.map(|epoch| epoch.0), files: stamps(path)? };
    let body = bincode::serialize(&note).map_err(io::Error::other)?;
    let temporary = path.join(format!("{FILE}.new"));
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(&crc32c::crc32c(&body).to_le_bytes())?;
    file.write_all(&body)?;
    drop(file);
    fs::rename(temporary, path.join(FILE))
}

/// Removes the note, because the store is about to be opened.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path.join(FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn stamps(path: &Path) -> io::Result<Vec<Stamp>> {
    let mut all = Vec::new();
    for folder in [path.to_owned(), path.join("blobs")] {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type()?.is_file() && !name.starts_with(FILE) {
                all.push(stamp(entry.path(), name)?);
            }
        }
    }
    all.sort();
    Ok(all)
}

#[cfg(unix)]
fn stamp(path: PathBuf, name: String) -> io::Result<Stamp> {
    use std::os::unix::fs::MetadataExt as _;
    let meta = fs::metadata(path)?;
    Ok(Stamp {
        name,
        length: meta.len(),
        inode: meta.ino(),
        modified: (meta.mtime(), meta.mtime_nsec()),
        changed: (meta.ctime(), meta.ctime_nsec()),
    })
}

#[cfg(not(unix))]
fn stamp(_: PathBuf, _: String) -> io::Result<Stamp> {
    Err(io::ErrorKind::Unsupported.into())
}
