//! What the planner needs to know of a folder, kept from one command to the next, so that finding nothing to do costs a
//! look at the files' times and not at their text.
//!
//! It can never make a result wrong:
//! - From it follows one thing only, that there is nothing to do. Whatever is to run is read from its file.
//! - It is kept of a folder that was read whole, with nothing to say about any of its files.
//! - It names every file with its length, inode, time of writing and time of change, to the nanosecond. The time of
//!   change is the kernel's, nobody can set it back. A file more, less, replaced or touched: everything is read again.
//! - It is kept only where no file had changed for some time when it was read (git's rule for its index): later changes
//!   have other times, however coarse the clock of the file system is.
//! - Another build of the program reads everything again: it may see something else in the same text.
//! - A checksum stands before it. What does not fit, or cannot be read or written, is as if it were not there.

use std::fs::{self, Metadata};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use migengine_engine::diag::Position;
use migengine_engine::id::{Digest, MigrationId};
use migengine_engine::plan::{Node, RefText, Requires, Script};
use serde::{Deserialize, Serialize};

use crate::journals::JournalPlace;
use crate::project::Project;

/// Changes when the meaning of the file does.
const MAGIC: &[u8; 24] = b"migengine folder note 1\n";
/// The coarsest clock of a file system still in use counts two seconds.
const AT_REST: Duration = Duration::from_secs(3);

/// A file, or the program, as it was.
#[derive(Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Stamp {
    name: String,
    length: u64,
    device: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// A folder as it was before it was read.
pub struct Seen {
    files: Vec<Stamp>,
    at: SystemTime,
}

#[derive(Serialize, Deserialize)]
struct Note {
    program: Stamp,
    files: Vec<Stamp>,
    nodes: Vec<Kept>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    id: String,
    requires: Option<Vec<Reference>>,
    conflicts: Vec<Reference>,
    up: Sums,
    down: Option<Sums>,
    irreversible: Option<String>,
}

type Sums = ([u8; 32], [u8; 32], bool);
type Reference = (String, u32, u32, Option<String>);

/// Looks at a folder without reading its files; nothing where it holds something out of the ordinary.
#[must_use]
pub fn see(dir: &Path) -> Option<Seen> {
    let at = SystemTime::now();
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).ok()? {
        let entry = entry.ok()?;
        let name = entry.file_name().into_string().ok()?;
        let end = Path::new(&name).extension();
        if end.is_some_and(|end| end.eq_ignore_ascii_case("sql")) {
            let metadata = entry.metadata().ok()?;
            if !metadata.is_file() {
                return None;
            }
            files.push(stamp(name, &metadata));
        }
    }
    files.sort();
    Some(Seen { files, at })
}

/// What is known of a folder that has not changed since it was kept.
#[must_use]
pub fn recall(place: &JournalPlace, dir: &Path, seen: &Seen) -> Option<Vec<Node>> {
    let bytes = fs::read(path(place, dir)?).ok()?;
    let (crc, body) = bytes.strip_prefix(MAGIC)?.split_first_chunk::<4>()?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let note: Note = bincode::deserialize(body).ok()?;
    if note.program != program()? || note.files != seen.files {
        return None;
    }
    note.nodes.into_iter().map(|kept| kept.node(dir)).collect()
}

/// Keeps what was read. Best effort: without it the next command reads again.
pub fn keep(place: &JournalPlace, dir: &Path, seen: Seen, project: &Project) {
    let plain = project.diagnostics.is_empty() && !project.migrations.is_empty();
    let at_rest = seen.at.checked_sub(AT_REST).and_then(|limit| limit.duration_since(SystemTime::UNIX_EPOCH).ok());
    let Some(limit) = at_rest.and_then(|limit| i64::try_from(limit.as_secs()).ok()) else { return };
    let old = |stamp: &Stamp| stamp.modified.0 < limit && stamp.changed.0 < limit;
    if let (true, true, Some(path), Some(program)) = (plain, seen.files.iter().all(old), path(place, dir), program()) {
        let nodes = project.nodes().iter().map(Kept::of).collect();
        write(&path, &Note { program, files: seen.files, nodes }).ok();
    }
}

/// Beside the journal, where there is one; a name for each folder of migrations.
fn path(place: &JournalPlace, dir: &Path) -> Option<PathBuf> {
    let journal = place.root();
    let folder = dir.canonicalize().ok()?;
    let name = Digest::of(folder.as_os_str().as_encoded_bytes()).short();
    let beside = journal.file_name()?.to_string_lossy().into_owned();
    journal.is_dir().then(|| journal.with_file_name(format!("{beside}.folder-{name}")))
}

fn program() -> Option<Stamp> {
    let path = std::env::current_exe().ok()?;
    Some(stamp(env!("CARGO_PKG_VERSION").to_owned(), &fs::metadata(path).ok()?))
}

fn stamp(name: String, metadata: &Metadata) -> Stamp {
    Stamp {
        name,
        length: metadata.len(),
        device: metadata.dev(),
        inode: metadata.ino(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    }
}

/// Under another name first: two commands at once each leave a whole file.
fn write(path: &Path, note: &Note) -> io::Result<()> {
    let body = bincode::serialize(note).map_err(io::Error::other)?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    let written = file
        .write_all(MAGIC)
        .and_then(|()| file.write_all(&crc32c::crc32c(&body).to_le_bytes()))
        .and_then(|()| file.write_all(&body))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        fs::remove_file(&temporary).ok();
    }
    written
}

impl Kept {
    fn of(node: &Node) -> Self {
        let reference = |found: &RefText| {
            let line = found.line.as_deref().map(str::to_owned);
            (found.text.clone(), found.position.line, found.position.column, line)
        };
        let sums = |script: &Script| (*script.content.as_bytes(), *script.tokens.as_bytes(), script.transactional);
        Self {
            id: node.id.as_str().to_owned(),
            requires: match &node.requires {
                Requires::Default => None,
                Requires::Declared(list) => Some(list.iter().map(reference).collect()),
            },
            conflicts: node.conflicts.iter().map(reference).collect(),
            up: sums(&node.up),
            down: node.down.as_ref().map(sums),
            irreversible: node.irreversible_reason.clone(),
        }
    }

    fn node(self, dir: &Path) -> Option<Node> {
        let reference = |(text, line, column, whole): Reference| RefText {
            text,
            position: Position { line, column },
            line: whole.map(Arc::from),
        };
        let script = |(content, tokens, transactional)| Script {
            content: Digest::from_bytes(content),
            tokens: Digest::from_bytes(tokens),
            transactional,
        };
        Some(Node {
            file: dir.join(format!("{}.sql", self.id)).to_string_lossy().into_owned(),
            id: MigrationId::new(self.id).ok()?,
            requires: match self.requires {
                None => Requires::Default,
                Some(list) => Requires::Declared(list.into_iter().map(reference).collect()),
            },
            conflicts: self.conflicts.into_iter().map(reference).collect(),
            up: script(self.up),
            down: self.down.map(script),
            irreversible_reason: self.irreversible,
        })
    }
}
