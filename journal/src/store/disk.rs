//! The journal's folder as files: creation, lock, permissions, fsync, and moving it aside.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use migengine_engine::run::journal::JournalError;

use crate::points::{self, Points};

/// Marks the folder as a journal, and is locked while it is open.
const MARK: &str = "migengine.lock";
const MARK_TEXT: &[u8] = b"A journal of migengine. Not to be edited; locked while in use.\n";

/// The folder, locked until this is dropped.
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    _lock: File,
    /// What was there, and how it was, at the last [`Folder::sync`].
    synced: RefCell<BTreeMap<PathBuf, Seen>>,
}

/// How a file looked: length and time of the last change. sled's log itself is never judged by this.
type Seen = (u64, Option<SystemTime>);

/// What there is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    Journal,
}

pub(crate) fn unwritable(path: &Path, error: &io::Error) -> JournalError {
    JournalError::Unwritable { path: path.display().to_string(), reason: words(error) }
}

/// The system's words. sled wraps an error in its debug form, from which the message is taken.
pub(crate) fn words(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once("message: \"").and_then(|(_, rest)| rest.split_once('"')) {
        Some((message, _)) => message.to_owned(),
        None => text,
    }
}

/// Looks before anything is touched: a folder with other people's files is never written to, let alone moved.
pub(crate) fn inspect(path: &Path) -> Result<Found, JournalError> {
    let foreign =
        |reason: &str| Err(JournalError::Unwritable { path: path.display().to_string(), reason: reason.to_owned() });
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(unwritable(path, &error)),
    };
    if !metadata.is_dir() {
        return foreign("it is a file; the journal is a folder, name another with --journal");
    }
    if path.join(MARK).exists() {
        return Ok(Found::Journal);
    }
    match fs::read_dir(path).map_err(|error| unwritable(path, &error))?.next() {
        None => Ok(Found::Nothing),
        Some(_) if path.join("db").is_file() && path.join("blobs").is_dir() => Ok(Found::Journal),
        Some(_) => foreign("the folder holds other files and no journal; name a new one with --journal"),
    }
}

/// Creates the folder where it is missing, durably, with access for its owner only, and locks it.
pub(crate) fn enter(path: &Path, points: &Points) -> Result<Folder, JournalError> {
    let lock = create_and_lock(path, points).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => JournalError::InUse { path: path.display().to_string() },
        _ => unwritable(path, &error),
    })?;
    Ok(Folder { path: path.to_owned(), _lock: lock, synced: RefCell::default() })
}

fn create_and_lock(path: &Path, points: &Points) -> io::Result<File> {
    let created = !path.exists();
    if created {
        fs::create_dir_all(path)?;
        restrict(path, 0o700)?;
        points.pass(points::CREATE_AFTER_FOLDER)?;
    }
    let mark = path.join(MARK);
    let mut lock = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&mark)?;
    lock.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
        TryLockError::Error(error) => error,
    })?;
    if lock.metadata()?.len() == 0 {
        restrict(&mark, 0o600)?;
        lock.write_all(MARK_TEXT)?;
        lock.sync_all()?;
    }
    if created {
        sync_folder(path)?;
        path.canonicalize()?.parent().map_or(Ok(()), sync_folder)?;
    }
    Ok(lock)
}

impl Folder {
    /// Moves the folder beside itself, `journal.quarantine-<unix seconds>`, and enters a new one.
    pub(crate) fn quarantine(self, points: &Points) -> Result<(Self, PathBuf), JournalError> {
        let path = self.path.clone();
        let moved = set_aside(&path, points).map_err(|error| unwritable(&path, &error))?;
        Ok((enter(&path, points)?, moved))
    }

    /// Removes sled's snapshots: an index of its log, made again when it opens.
    pub(crate) fn remove_snapshots(&self, points: &Points) -> io::Result<bool> {
        points.pass(points::SNAP_BEFORE_REMOVE)?;
        let mut removed = false;
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("snap.") {
                fs::remove_file(entry.path())?;
                removed = true;
            }
        }
        points.pass(points::SNAP_AFTER_REMOVE)?;
        Ok(removed)
    }

    /// Every file to the disk, then the folders: sled's flush on Linux is `sync_file_range`, which survives a kill but
    /// no power cut. The log is always synced. Other files are when they are new or look changed, and the folders when
    /// what they list is another: sled writes its index and its settings once under a name, and renames them.
    pub(crate) fn sync(&self, points: &Points) -> io::Result<()> {
        points.pass(points::APPEND_BEFORE_FSYNC)?;
        let blobs = self.path.join("blobs");
        let log = self.path.join("db");
        let mut now = BTreeMap::new();
        for path in files(&self.path)?.into_iter().chain(files(&blobs)?) {
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let meta = file.metadata()?;
            let seen = (meta.len(), meta.modified().ok());
            let unchanged = seen.1.is_some() && self.synced.borrow().get(&path) == Some(&seen);
            if path == log || !unchanged {
                file.sync_all()?;
            }
            now.insert(path, seen);
        }
        points.pass(points::APPEND_BEFORE_FOLDER_FSYNC)?;
        if !now.keys().eq(self.synced.borrow().keys()) {
            sync_folder(&blobs)?;
            sync_folder(&self.path)?;
        }
        self.synced.replace(now);
        points.pass(points::APPEND_AFTER_FSYNC)
    }

    /// Access for the owner only, whatever the umask was.
    pub(crate) fn restrict(&self) -> io::Result<()> {
        let blobs = self.path.join("blobs");
        for folder in [&self.path, &blobs] {
            restrict(folder, 0o700)?;
            for file in files(folder)? {
                restrict(&file, 0o600)?;
            }
        }
        Ok(())
    }
}

pub(crate) fn set_aside(path: &Path, points: &Points) -> io::Result<PathBuf> {
    points.pass(points::QUARANTINE_BEFORE_RENAME)?;
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy().into_owned();
    let mut moved = path.with_file_name(format!("{name}.quarantine-{seconds}"));
    for again in 2.. {
        if !moved.exists() {
            break;
        }
        moved = path.with_file_name(format!("{name}.quarantine-{seconds}-{again}"));
    }
    fs::rename(path, &moved)?;
    moved.canonicalize()?.parent().map_or(Ok(()), sync_folder)?;
    points.pass(points::QUARANTINE_AFTER_RENAME)?;
    Ok(moved)
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            files.push(entry.path());
        }
    }
    Ok(files)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(unix)]
fn restrict(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn restrict(_: &Path, _: u32) -> io::Result<()> {
    Ok(())
}
