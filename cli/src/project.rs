//! The migrations folder: read, in parallel, and turned into what the planner wants.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use migengine_engine::diag::{Diagnostic, Severity};
use migengine_engine::id::MigrationId;
use migengine_engine::migration::{Migration, ReadFile, Script, merge, read_file};
use migengine_engine::plan;

use crate::error::CommandError;

/// A folder that was read.
pub struct Project {
    /// Its migrations in (number, id) order, those without errors.
    pub migrations: Vec<Migration>,
    /// Everything found in the files.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads the folder. Files of other kinds and folders inside it are left alone.
///
/// # Errors
/// There is no such folder, it is a file, or it cannot be listed. What is wrong with single files stands in
/// [`Project::diagnostics`].
pub fn load(dir: &Path) -> Result<Project, CommandError> {
    let names = entries(dir)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let chunk = names.len().div_ceil(threads).max(1);
    let read: Vec<ReadFile> = std::thread::scope(|scope| {
        let workers: Vec<_> = names.chunks(chunk).map(|names| scope.spawn(move || read_all(dir, names))).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    let (migrations, diagnostics) = merge(read);
    Ok(Project { migrations, diagnostics })
}

/// The SQL files of a folder, by name.
///
/// # Errors
/// There is no such folder, it is a file, or it cannot be listed.
pub fn list(dir: &Path) -> Result<Vec<PathBuf>, CommandError> {
    Ok(entries(dir)?.into_iter().map(|entry| dir.join(entry.name)).collect())
}

/// A file of the folder. Whether it is a link comes with the listing, without asking for each file.
struct Entry {
    name: OsString,
    is_link: bool,
}

fn entries(dir: &Path) -> Result<Vec<Entry>, CommandError> {
    let shown = dir.display();
    let refused = |what: String| {
        CommandError::refused("ME004", what)
            .next("name the folder with --dir, or write a first migration: migengine new NAME")
    };
    let listing = std::fs::read_dir(dir).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => refused(format!("there is no folder {shown}")),
        std::io::ErrorKind::NotADirectory => refused(format!("{shown} is a file, not a folder of migrations")),
        _ => refused(format!("the folder {shown} cannot be read: {error}")),
    })?;
    let mut found = Vec::new();
    for entry in listing {
        let entry = entry.map_err(|error| refused(format!("the folder {shown} cannot be read: {error}")))?;
        let kind = entry.file_type().ok();
        let name = entry.file_name();
        let is_sql = Path::new(&name).extension().is_some_and(|end| end.eq_ignore_ascii_case("sql"));
        if is_sql && !kind.is_some_and(|kind| kind.is_dir()) {
            found.push(Entry { name, is_link: kind.is_none_or(|kind| kind.is_symlink()) });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn read_all(dir: &Path, entries: &[Entry]) -> Vec<ReadFile> {
    entries
        .iter()
        .map(|entry| {
            let path = dir.join(&entry.name);
            let shown = path.to_string_lossy();
            let read =
                if entry.is_link { read_link(dir, &path) } else { std::fs::read(&path).map_err(|e| e.to_string()) };
            match read {
                Ok(bytes) => read_file(&shown, Ok(&bytes)),
                Err(why) => read_file(&shown, Err(&why)),
            }
        })
        .collect()
}

/// Reads a link, unless it leads out of the folder: what runs must be what was reviewed.
fn read_link(dir: &Path, path: &Path) -> Result<Vec<u8>, String> {
    let root = dir.canonicalize().map_err(|error| error.to_string())?;
    let target = path.canonicalize().map_err(|error| format!("it is a link that leads nowhere ({error})"))?;
    if !target.starts_with(root) {
        return Err(format!("it is a link that leaves the folder, to {}", target.display()));
    }
    std::fs::read(path).map_err(|error| error.to_string())
}

impl Project {
    /// The project, if none of its files has an error.
    ///
    /// # Errors
    /// All findings.
    pub fn checked(self) -> Result<Self, CommandError> {
        if self.diagnostics.iter().any(|found| found.severity == Severity::Error) {
            return Err(CommandError::files(self.diagnostics));
        }
        Ok(self)
    }

    /// A migration by id.
    #[must_use]
    pub fn get(&self, id: &MigrationId) -> Option<&Migration> {
        let at = self.migrations.binary_search_by(|migration| migration.id.cmp(id)).ok()?;
        self.migrations.get(at)
    }

    /// The planner's view.
    #[must_use]
    pub fn nodes(&self) -> Vec<plan::Node> {
        self.migrations.iter().map(node).collect()
    }
}

/// The planner's view of a script.
#[must_use]
pub fn plan_script(script: &Script) -> plan::Script {
    plan::Script { content: script.content, tokens: script.tokens, transactional: script.transactional() }
}

fn node(migration: &Migration) -> plan::Node {
    let header = &migration.up.header;
    let reference = |found: &migengine_engine::migration::Located<migengine_engine::migration::MigrationRef>| {
        let line = migration.up.text.lines().nth(found.position.line as usize - 1);
        plan::RefText { text: found.value.as_str().to_owned(), position: found.position, line: line.map(Arc::from) }
    };
    plan::Node {
        id: migration.id.clone(),
        file: migration.up.file.clone(),
        requires: match &header.requires {
            None => plan::Requires::Default,
            Some(list) => plan::Requires::Declared(list.iter().map(reference).collect()),
        },
        conflicts: header.conflicts.iter().map(reference).collect(),
        up: plan_script(&migration.up),
        down: migration.down.as_ref().map(plan_script),
        irreversible_reason: header.irreversible.clone(),
    }
}
