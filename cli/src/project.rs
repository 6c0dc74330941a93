//! The migrations folder: read, in parallel, and turned into what the planner wants.

use std::ffi::OsString;
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use migengine_engine::diag::{Diagnostic, Severity};
use migengine_engine::id::MigrationId;
use migengine_engine::migration::{
    Bounds, FileName, Intake, Migration, ReadFile, Script, ScriptKind, Text, merge, parse_owned, read_file,
    read_streamed,
};
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
            let allowed = if entry.is_link { inside(dir, &path) } else { Ok(()) };
            allowed.and_then(|()| read(&path, &shown)).unwrap_or_else(|why| read_file(&shown, Err(&why)))
        })
        .collect()
}

/// A file of at least so many bytes is not read at once.
const LARGE: u64 = 4 << 20;

/// Bytes read at once then.
const STRETCH: usize = 256 << 10;

fn read(path: &Path, shown: &str) -> Result<ReadFile, String> {
    let read = read_as(path, shown, |bytes| read_file(shown, Ok(bytes)), |text| read_streamed(shown, text));
    read.map_err(|error| error.to_string())
}

/// Reads a file: a large forward script without its data, every other one, and a large one that has to be, as a whole.
///
/// # Errors
/// It cannot be read.
pub fn read_as<T>(
    path: &Path,
    shown: &str,
    whole: impl FnOnce(Vec<u8>) -> T,
    streamed: impl FnOnce(Text) -> Option<T>,
) -> std::io::Result<T> {
    let mut file = std::fs::File::open(path)?;
    let size = file.metadata()?.len();
    let forward = || matches!(FileName::of(shown), FileName::Script { kind: ScriptKind::Forward, .. });
    if size >= LARGE && forward() {
        if let Some(read) = stream(&mut file, path)?.and_then(streamed) {
            return Ok(read);
        }
        file.rewind()?;
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(usize::try_from(size).unwrap_or(usize::MAX))?;
    file.read_to_end(&mut bytes)?;
    Ok(whole(bytes))
}

/// Reads a large script without holding its data. Nothing for one that has to be held.
fn stream(file: &mut std::fs::File, path: &Path) -> std::io::Result<Option<Text>> {
    let mut intake = Intake::new(Bounds::USUAL);
    let mut buffer = vec![0; STRETCH];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(intake.finish(path.to_owned()));
        }
        if !intake.take(buffer.get(..read).unwrap_or_default()) {
            return Ok(None);
        }
    }
}

/// Refuses a link that leads out of the folder: what runs must be what was reviewed.
fn inside(dir: &Path, path: &Path) -> Result<(), String> {
    let root = dir.canonicalize().map_err(|error| error.to_string())?;
    let target = path.canonicalize().map_err(|error| format!("it is a link that leads nowhere ({error})"))?;
    if !target.starts_with(root) {
        return Err(format!("it is a link that leaves the folder, to {}", target.display()));
    }
    Ok(())
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

    /// The project with every script in memory, as far as its files are still what was read.
    ///
    /// # Errors
    /// A file changed, or cannot be read again.
    pub fn held(mut self) -> Result<Self, CommandError> {
        for migration in &mut self.migrations {
            let Some(source) = migration.up.text.source() else { continue };
            let file = &migration.up.file;
            let bytes = std::fs::read(&source.path)
                .map_err(|error| CommandError::usage("ME017", format!("the file {file} cannot be read: {error}")))?;
            match parse_owned(file, bytes).0.filter(|script| script.content == migration.up.content) {
                Some(script) => migration.up = Arc::new(script),
                None => {
                    let what = format!("{file} was changed while it was looked at");
                    return Err(CommandError::refused("ME328", what).next("migengine plan --sql"));
                }
            }
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
        down: migration.down.as_deref().map(plan_script),
        irreversible_reason: header.irreversible.clone(),
    }
}
