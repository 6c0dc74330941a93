//! `migengine.lock`: one line for each migration, in the order of application, made to be committed and merged.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::verdict::{HeldLock, Rollback};
use crate::id::{Digest, MigrationId};

/// What was proven of one migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The migration.
    pub id: MigrationId,
    /// Everything that was applied before it, and itself: see [`links`].
    pub chain: Digest,
    /// Token checksum of the forward script.
    pub up: Digest,
    /// Token checksum of the reverse script.
    pub down: Option<Digest>,
    /// Fingerprint of the schema after it.
    pub schema: Digest,
    /// What the reverse script did.
    pub rollback: Rollback,
    /// Whether the way back and the way forward again are proven.
    pub proven: bool,
    /// The lock of the forward script that hinders users most, as it was measured.
    pub worst: Option<HeldLock>,
    /// Major version of the server it was rehearsed on.
    pub server: u32,
}

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LockFile {
    /// In the order of application.
    pub entries: Vec<Entry>,
}

/// A line that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct BadLock {
    /// From 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

const HEAD: &str = "# Written by `migengine rehearse`: what was proven of each migration. Commit it with the migrations.\n\
                    # After a merge conflict keep the lines of both sides and rehearse again.\n";

impl LockFile {
    /// Reads the text. Lines that begin with `#` are comments.
    ///
    /// # Errors
    /// A line that is not understood, a conflict marker among them, or a migration that comes twice.
    pub fn parse(text: &str) -> Result<Self, BadLock> {
        let mut entries: Vec<Entry> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line_text = line.trim();
            if line_text.is_empty() || line_text.starts_with('#') {
                continue;
            }
            let bad = |why: String| BadLock { line: index + 1, why };
            if ["<<<<<<<", "=======", ">>>>>>>"].iter().any(|marker| line_text.starts_with(marker)) {
                return Err(bad("a merge conflict was not resolved; keep the lines of both sides".to_owned()));
            }
            let entry = parse_line(line_text).map_err(bad)?;
            if entries.iter().any(|known| known.id == entry.id) {
                return Err(bad(format!("{} comes twice", entry.id)));
            }
            entries.push(entry);
        }
        Ok(Self { entries })
    }

    /// The text.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = HEAD.to_owned();
        for entry in &self.entries {
            let worst = entry
                .worst
                .as_ref()
                .map_or_else(|| "-".to_owned(), |lock| escaped(&format!("{}:{}", lock.mode, lock.object)));
            let down = entry.down.map_or_else(|| "-".to_owned(), |down| down.to_string());
            // Writing to a string cannot go wrong.
            let _ignored = writeln!(
                text,
                "{} rollback={} proven={} lock={worst} schema={} up={} down={down} chain={} server={}",
                escaped(entry.id.as_str()),
                entry.rollback.as_str(),
                if entry.proven { "yes" } else { "no" },
                entry.schema,
                entry.up,
                entry.chain,
                entry.server,
            );
        }
        text
    }

    /// The line of a migration.
    #[must_use]
    pub fn get(&self, id: &MigrationId) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.id == *id)
    }
}

/// A name may hold blanks; the line is cut at blanks.
fn escaped(id: &str) -> String {
    id.replace('%', "%25").replace(' ', "%20")
}

fn unescaped(word: &str) -> String {
    word.replace("%20", " ").replace("%25", "%")
}

fn parse_line(line: &str) -> Result<Entry, String> {
    let mut words = line.split_whitespace();
    let id = MigrationId::new(unescaped(words.next().unwrap_or_default())).map_err(|error| error.to_string())?;
    let mut fields: BTreeMap<&str, &str> = BTreeMap::new();
    for word in words {
        let (key, value) = word.split_once('=').ok_or_else(|| format!("`{word}` is no field"))?;
        fields.insert(key, value);
    }
    let field = |name: &str| fields.get(name).copied().ok_or_else(|| format!("the field `{name}` is missing"));
    let digest = |name: &str| field(name).and_then(|text| parse_digest(text).ok_or_else(|| wrong(name, text)));
    let rollback = field("rollback")?;
    let server = field("server")?;
    let worst = field("lock")?;
    Ok(Entry {
        id,
        chain: digest("chain")?,
        up: digest("up")?,
        down: if field("down")? == "-" { None } else { Some(digest("down")?) },
        schema: digest("schema")?,
        rollback: Rollback::from_word(rollback).ok_or_else(|| wrong("rollback", rollback))?,
        proven: match field("proven")? {
            "yes" => true,
            "no" => false,
            other => return Err(wrong("proven", other)),
        },
        worst: match unescaped(worst).split_once(':') {
            Some((mode, object)) => Some(HeldLock { object: object.to_owned(), mode: mode.to_owned() }),
            None if worst == "-" => None,
            None => return Err(wrong("lock", worst)),
        },
        server: server.parse().map_err(|_| wrong("server", server))?,
    })
}

fn wrong(name: &str, value: &str) -> String {
    format!("`{name}={value}` is not understood")
}

/// Reads 64 hexadecimal digits.
pub(super) fn parse_digest(text: &str) -> Option<Digest> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let bytes: Option<Vec<u8>> =
        (0..32).map(|at| text.get(at * 2..at * 2 + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok())).collect();
    Digest::from_slice(&bytes?)
}

/// One migration in the order of application, as far as the lock file knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The migration.
    pub id: MigrationId,
    /// Token checksum of the forward script.
    pub up: Digest,
    /// Token checksum of the reverse script.
    pub down: Option<Digest>,
    /// Digest over the link before, the id and `up`. The schema after a migration depends on all of these, and on
    /// nothing else in the folder.
    pub chain: Digest,
}

/// Chains migrations that are given in the order of application: id, token checksums of both scripts.
#[must_use]
pub fn links(migrations: impl IntoIterator<Item = (MigrationId, Digest, Option<Digest>)>) -> Vec<Link> {
    let mut chain = Digest::ZERO;
    let mut links = Vec::new();
    for (id, up, down) in migrations {
        chain = Digest::of_all([chain.as_bytes().as_slice(), id.as_str().as_bytes(), up.as_bytes().as_slice()]);
        links.push(Link { id, up, down, chain });
    }
    links
}

/// Why a line of the lock file, or its absence, does not fit the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stale {
    /// The folder has the migration, the file does not.
    Unrehearsed(MigrationId),
    /// The forward script is another.
    Forward(MigrationId),
    /// The reverse script is another.
    Reverse(MigrationId),
    /// The scripts are the same; what comes before them is not.
    Before(MigrationId),
    /// The file has the migration, the folder does not.
    Gone(MigrationId),
}

impl std::fmt::Display for Stale {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unrehearsed(id) => write!(f, "{id} was never rehearsed"),
            Self::Forward(id) => write!(f, "{id} was changed since it was rehearsed"),
            Self::Reverse(id) => write!(f, "the reverse script of {id} was changed since it was rehearsed"),
            Self::Before(id) => write!(f, "{id} was rehearsed on top of other migrations"),
            Self::Gone(id) => write!(f, "{id} was rehearsed, and its file is gone"),
        }
    }
}

/// Holds the lock file against the folder. Of a run of migrations that only stand on something else, the first is
/// told.
#[must_use]
pub fn stale(lock: &LockFile, links: &[Link]) -> Vec<Stale> {
    let mut found = Vec::new();
    let mut moved = false;
    for link in links {
        let id = link.id.clone();
        match lock.get(&link.id) {
            None => found.push(Stale::Unrehearsed(id)),
            Some(entry) if entry.up != link.up => found.push(Stale::Forward(id)),
            Some(entry) if entry.down != link.down => found.push(Stale::Reverse(id)),
            Some(entry) if entry.chain != link.chain && !moved => {
                moved = true;
                found.push(Stale::Before(id));
            }
            Some(_) => {}
        }
    }
    let gone = lock.entries.iter().filter(|entry| !links.iter().any(|link| link.id == entry.id));
    found.extend(gone.map(|entry| Stale::Gone(entry.id.clone())));
    found
}
