//! From the files of a folder to migrations. The caller lists and reads the folder; nothing here touches a disk.
//!
//! [`read_file`] handles one file and is independent of all others, so that callers may run it on several threads;
//! [`merge`] puts the results together. [`discover`] does both.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::script::{Script, parse_owned, parse_streamed};
use super::text::Text;
use crate::diag::Diagnostic;
use crate::id::MigrationId;

/// What a script is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScriptKind {
    /// `003_add_prices.sql`.
    Forward,
    /// `003_add_prices_rollback.sql`.
    Reverse,
    /// `003_add_prices_verify.sql`.
    Verify,
}

/// What the name of a file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileName {
    /// A script of a migration.
    Script { id: MigrationId, kind: ScriptKind },
    /// Not SQL, or hidden: none of our business.
    Other,
    /// SQL that would be passed over in silence; why, and what to do.
    Bad { why: String, help: String },
}

/// A migration with all its scripts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// The stem of its forward script.
    pub id: MigrationId,
    /// The forward script. Shared with the steps of a run: a thousand scripts are held once.
    pub up: Arc<Script>,
    /// The reverse script; without one the migration is irreversible.
    pub down: Option<Arc<Script>>,
    /// The checks to run after it.
    pub verify: Option<Arc<Script>>,
}

/// One file after reading.
#[derive(Debug, Clone)]
pub struct ReadFile {
    path: String,
    name: FileName,
    script: Option<Arc<Script>>,
    found: Vec<Diagnostic>,
}

impl ScriptKind {
    /// Takes a reserved suffix off a stem.
    #[must_use]
    pub fn of_stem(stem: &str) -> (&str, Self) {
        if let Some(id) = stem.strip_suffix("_rollback") {
            (id, Self::Reverse)
        } else if let Some(id) = stem.strip_suffix("_verify") {
            (id, Self::Verify)
        } else {
            (stem, Self::Forward)
        }
    }
}

impl FileName {
    /// Reads the last component of a path.
    #[must_use]
    pub fn of(path: &str) -> Self {
        let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
        if name.starts_with('.') {
            return Self::Other;
        }
        let Some(stem) = name.strip_suffix(".sql") else {
            let almost = name.to_ascii_lowercase().ends_with(".sql");
            return if almost {
                bad("the ending is not in lower case", "rename it so that it ends in `.sql`")
            } else {
                Self::Other
            };
        };
        let direction = [".up", ".down"].iter().find_map(|suffix| stem.strip_suffix(suffix));
        if let Some(rest) = direction {
            let help = format!("the forward script is `{rest}.sql`, the reverse script `{rest}_rollback.sql`");
            return bad("`.up` and `.down` are the names of other tools", &help);
        }
        let (id, kind) = ScriptKind::of_stem(stem);
        match MigrationId::new(id) {
            Ok(id) => Self::Script { id, kind },
            Err(error) => bad(&error.to_string(), "name it like `003_add_prices.sql`, or move it out of this folder"),
        }
    }
}

fn bad(why: &str, help: &str) -> FileName {
    FileName::Bad { why: why.to_owned(), help: help.to_owned() }
}

/// Reads one file. `content` is its bytes, or why they could not be read.
///
/// Codes: ME101 unreadable, ME102 no name of a migration, and those of [`parse_script`](super::parse_script).
#[must_use]
pub fn read_file(path: &str, content: Result<Vec<u8>, &str>) -> ReadFile {
    let name = FileName::of(path);
    let mut file = ReadFile { path: path.to_owned(), name, script: None, found: Vec::new() };
    match (&file.name, content) {
        (FileName::Other, _) => {}
        (FileName::Bad { why, help }, _) => {
            let message = format!("this file would not be run: {why}");
            file.found.push(Diagnostic::error("ME102", path, message).help(help.clone()));
        }
        (FileName::Script { .. }, Err(why)) => {
            file.found.push(Diagnostic::error("ME101", path, format!("cannot read the file: {why}")));
        }
        (FileName::Script { .. }, Ok(bytes)) => {
            let (script, found) = parse_owned(path, bytes);
            file.script = script.map(Arc::new);
            file.found = found;
        }
    }
    file
}

/// Reads one file of which parts are not in memory. Nothing where it has to be: see [`read_file`].
#[must_use]
pub fn read_streamed(path: &str, text: Text) -> Option<ReadFile> {
    let (script, found) = parse_streamed(path, text)?;
    Some(ReadFile { path: path.to_owned(), name: FileName::of(path), script: script.map(Arc::new), found })
}

/// Puts files together. Migrations come in (number, id) order; diagnostics in the order of the paths. A migration with
/// an error in any of its files is left out.
///
/// Codes: ME103 duplicate id, ME104 reverse script without its migration, ME105 verify script without its migration,
/// ME116 said to be irreversible, with a reverse script.
#[must_use]
pub fn merge(mut files: Vec<ReadFile>) -> (Vec<Migration>, Vec<Diagnostic>) {
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let mut found = Vec::new();
    // By the lower-case id: two names that differ only in case are one file on some systems.
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for mut file in files {
        found.append(&mut file.found);
        let FileName::Script { id, kind } = file.name else { continue };
        let group = groups.entry(id.as_str().to_lowercase()).or_default();
        let slot = match kind {
            ScriptKind::Forward => &mut group.up,
            ScriptKind::Reverse => &mut group.down,
            ScriptKind::Verify => &mut group.verify,
        };
        if let Some(first) = slot {
            let message = format!("the migration `{id}` already has this script: {}", first.path);
            found.push(Diagnostic::error("ME103", file.path, message).help("names that differ only in case are one"));
            continue;
        }
        *slot = Some(Member { id, path: file.path, script: file.script });
    }
    let mut migrations: Vec<Migration> = groups.into_values().filter_map(|group| group.build(&mut found)).collect();
    migrations.sort_by(|a, b| a.id.cmp(&b.id));
    found.sort_by(|a, b| (&a.file, a.position).cmp(&(&b.file, b.position)));
    (migrations, found)
}

/// Reads and merges, one file after the other.
#[must_use]
pub fn discover(files: Vec<(String, Result<Vec<u8>, String>)>) -> (Vec<Migration>, Vec<Diagnostic>) {
    let read = files.into_iter().map(|(path, content)| match content {
        Ok(bytes) => read_file(&path, Ok(bytes)),
        Err(why) => read_file(&path, Err(&why)),
    });
    merge(read.collect())
}

#[derive(Default)]
struct Group {
    up: Option<Member>,
    down: Option<Member>,
    verify: Option<Member>,
}

struct Member {
    id: MigrationId,
    path: String,
    script: Option<Arc<Script>>,
}

impl Group {
    fn build(self, found: &mut Vec<Diagnostic>) -> Option<Migration> {
        let Some(up) = self.up else {
            for (member, code, what) in [(self.down, "ME104", "reverse"), (self.verify, "ME105", "verify")] {
                let Some(member) = member else { continue };
                let message = format!("a {what} script without its migration `{}.sql`", member.id);
                let help = "`_rollback` and `_verify` at the end of a name are reserved for scripts of another";
                found.push(Diagnostic::error(code, member.path, message).help(help));
            }
            return None;
        };
        for member in [&self.down, &self.verify].into_iter().flatten().filter(|member| member.id != up.id) {
            let message = format!("this belongs to `{}`, whose name is written in another case", up.path);
            found.push(Diagnostic::error("ME103", member.path.clone(), message).help("write both names alike"));
        }
        let broken = [&self.down, &self.verify]
            .into_iter()
            .flatten()
            .any(|member| member.script.is_none() || member.id != up.id);
        let script = up.script.filter(|_| !broken)?;
        if let (Some(down), Some(_)) = (&self.down, &script.header.irreversible) {
            let message = format!("the header says `Irreversible`, and there is a reverse script: {}", down.path);
            found.push(Diagnostic::warning("ME116", up.path, message).help("remove one of the two"));
        }
        let take = |member: Option<Member>| member.and_then(|member| member.script);
        Some(Migration { id: up.id, up: script, down: take(self.down), verify: take(self.verify) })
    }
}
