//! The folder as a chain: migrations in the order of the plan, each with everything it stands on.

use std::path::{Path, PathBuf};

use migengine_engine::diag::{Diagnostic, Severity};
use migengine_engine::id::{Digest, MigrationId};
use migengine_engine::migration::Migration;
use migengine_engine::pg::rehearse::Item;
use migengine_engine::plan::{Graph, History, ReferenceError, Resolver};
use migengine_engine::rehearse::{Apply, Entry, Link, LockFile, Rehearsal, excuse, links, worst_lock};

use super::RehearseArgs;
use crate::error::{CommandError, Exit};
use crate::project::{self, Project};

/// The name of the lock file, in the folder of the migrations.
pub const LOCK: &str = "migengine.lock";

/// One migration in the chain.
pub struct Member {
    /// The files.
    pub migration: Migration,
    /// What it requires directly.
    pub requires: Vec<MigrationId>,
    /// Its place in the chain.
    pub link: Link,
}

impl Member {
    /// What the author says in excuse of a rollback that does not restore the schema.
    #[must_use]
    pub fn excuse(&self) -> Option<String> {
        let down = self.migration.down.as_ref().map(|script| &script.header);
        let headers: Vec<_> = [Some(&self.migration.up.header), down].into_iter().flatten().collect();
        excuse(&headers)
    }

    /// Whether there is no way back on purpose.
    #[must_use]
    pub fn irreversible(&self) -> bool {
        self.migration.up.header.irreversible.is_some() && self.migration.down.is_none()
    }
}

/// The whole folder.
pub struct Chain {
    /// In the order of the plan.
    pub members: Vec<Member>,
    /// Findings that do not stand in the way.
    pub warnings: Vec<Diagnostic>,
    folder: PathBuf,
}

/// What to rehearse.
pub struct Choice {
    /// Places in [`Chain::members`], ascending.
    pub wanted: Vec<usize>,
}

impl Chain {
    /// Reads the folder.
    ///
    /// # Errors
    /// Any error in any file, or none at all.
    pub fn load(folder: &Path) -> Result<Self, CommandError> {
        let project = project::load(folder)?;
        crate::commands::apply::refuse_bad_files(&project, folder)?;
        Self::of(&project, folder)
    }

    /// The folder with its lock file, where there is one that can be understood. Without one the files are not read.
    #[must_use]
    pub fn rehearsed(folder: &Path) -> Option<(Self, LockFile)> {
        let lock = lock_of(folder).ok()?;
        Some((Self::load(folder).ok()?, lock))
    }

    /// The same of a folder that was read already, leaving out files that cannot be read.
    ///
    /// # Errors
    /// The migrations are in no order.
    pub fn of(project: &Project, folder: &Path) -> Result<Self, CommandError> {
        let graph = Graph::build(project.nodes(), &History::default());
        if graph.problems().iter().any(|found| found.severity == Severity::Error) {
            return Err(CommandError::files(graph.problems().to_vec()));
        }
        let order: Vec<&Migration> = graph.in_order().filter_map(|node| project.get(&node.id)).collect();
        let triples = order.iter().map(|migration| {
            (migration.id.clone(), migration.up.tokens, migration.down.as_ref().map(|script| script.tokens))
        });
        let links = links(triples);
        let members = order.into_iter().zip(links).map(|(migration, link)| Member {
            requires: graph.requires(&migration.id),
            migration: migration.clone(),
            link,
        });
        let members = members.collect();
        let warnings = graph.problems().to_vec();
        Ok(Self { members, warnings, folder: folder.to_path_buf() })
    }

    /// Resolves what was typed.
    ///
    /// # Errors
    /// A name that names nothing, or several.
    pub fn choose(&self, args: &RehearseArgs) -> Result<Choice, CommandError> {
        if !args.targets.is_empty() {
            let mut wanted = args.targets.iter().map(|text| self.place(text)).collect::<Result<Vec<_>, _>>()?;
            wanted.sort_unstable();
            wanted.dedup();
            return Ok(Choice { wanted });
        }
        let first = args.from.as_deref().map_or(Ok(0), |text| self.place(text))?;
        let last = args.to.as_deref().map_or(Ok(self.members.len().saturating_sub(1)), |text| self.place(text))?;
        if first > last {
            let what = "--from names a migration that comes after the one of --to";
            return Err(CommandError::usage("ME618", what).next("migengine plan shows the order"));
        }
        Ok(Choice { wanted: (first..=last).collect() })
    }

    /// The place of a migration named by id, number or file.
    ///
    /// # Errors
    /// A name that names nothing, or several.
    pub fn place(&self, text: &str) -> Result<usize, CommandError> {
        let resolver = Resolver::new(self.members.iter().map(|member| &member.migration.id));
        let usage = |code: &str, error: &ReferenceError| CommandError::usage(code, error.to_string());
        match resolver.resolve(text) {
            Ok(found) => {
                let at = self.members.iter().position(|member| member.migration.id == *found.id);
                at.ok_or_else(|| CommandError::usage("ME140", format!("there is no migration `{text}`")))
            }
            Err(error @ ReferenceError::Unknown { .. }) => {
                Err(usage("ME140", &error).next("migengine list shows the migrations that exist"))
            }
            Err(error) => Err(usage("ME141", &error).next("write the whole name of the one that is meant")),
        }
    }

    /// The chain up to and including a place, for the engine.
    pub fn items(&self, last: usize, wanted: impl Fn(usize) -> bool) -> Vec<Item<'_>> {
        let members = self.members.iter().enumerate().take(last + 1);
        members
            .map(|(at, member)| Item {
                id: member.migration.id.clone(),
                requires: member.requires.clone(),
                up: &member.migration.up,
                down: member.migration.down.as_deref(),
                verify: member.migration.verify.as_deref(),
                excuse: member.excuse(),
                irreversible: member.irreversible(),
                wanted: wanted(at),
            })
            .collect()
    }

    /// A key for each member: everything that its outcome depends on. Comments in its own files count too, because
    /// outcomes name lines.
    #[must_use]
    pub fn keys(&self, major: u32, seed_rows: Option<u32>) -> Vec<Digest> {
        let key = |member: &Member| {
            let none = Digest::ZERO;
            let migration = &member.migration;
            let down = migration.down.as_ref().map_or(none, |script| script.content);
            let verify = migration.verify.as_ref().map_or(none, |script| script.content);
            Digest::of_all([
                b"migengine rehearsal 3".as_slice(),
                member.link.chain.as_bytes(),
                migration.up.content.as_bytes(),
                down.as_bytes(),
                verify.as_bytes(),
                &major.to_le_bytes(),
                &seed_rows.unwrap_or_default().to_le_bytes(),
                migration.up.file.as_bytes(),
            ])
        };
        self.members.iter().map(key).collect()
    }

    fn lock_path(&self) -> PathBuf {
        self.folder.join(LOCK)
    }

    /// The lock file.
    ///
    /// # Errors
    /// It is not there, or not understood.
    pub fn read_lock(&self) -> Result<LockFile, CommandError> {
        lock_of(&self.folder)
    }

    /// The same with the lock file, where there is one that can be understood.
    #[must_use]
    pub fn with_lock(self) -> Option<(Self, LockFile)> {
        let lock = self.read_lock().ok()?;
        Some((self, lock))
    }

    /// The lock file after a rehearsal: what was found out now, and of everything else what still holds.
    #[must_use]
    pub fn updated_lock(&self, rehearsals: &[Rehearsal], major: u32) -> LockFile {
        let old = self.read_lock().unwrap_or_default();
        let entry = |member: &Member| {
            let fresh = rehearsals.iter().find(|rehearsal| rehearsal.id == member.link.id);
            let Link { id, chain, up, down } = member.link.clone();
            match fresh {
                Some(rehearsal) if rehearsal.apply == Apply::Ok => Some(Entry {
                    id,
                    chain,
                    up,
                    down,
                    schema: rehearsal.schema?,
                    rollback: rehearsal.rollback,
                    proven: rehearsal.proven(),
                    worst: worst_lock(&rehearsal.locks).cloned(),
                    server: major,
                }),
                Some(_) => None,
                None => old.get(&id).filter(|old| old.chain == chain && old.down == down).cloned(),
            }
        };
        LockFile { entries: self.members.iter().filter_map(entry).collect() }
    }

    /// Writes the lock file, unless it is the same already.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_lock(&self, lock: &LockFile) -> Result<(), CommandError> {
        let (path, text) = (self.lock_path(), lock.render());
        if std::fs::read_to_string(&path).is_ok_and(|old| old == text) {
            return Ok(());
        }
        let beside = path.with_extension("lock.new");
        std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, &path)).map_err(|error| {
            CommandError::refused("ME611", format!("{} cannot be written: {error}", path.display()))
                .next("mend the permissions of the folder, then: migengine rehearse")
        })
    }
}

/// The lock file of a folder.
fn lock_of(folder: &Path) -> Result<LockFile, CommandError> {
    let path = folder.join(LOCK);
    let text = std::fs::read_to_string(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            CommandError::refused("ME613", format!("there is no {}: nothing was rehearsed yet", path.display()))
                .exit(Exit::Differs)
                .next("migengine rehearse")
        }
        _ => CommandError::refused("ME611", format!("{} cannot be read: {error}", path.display())),
    })?;
    LockFile::parse(&text).map_err(|error| {
        CommandError::refused("ME611", format!("{}, {error}", path.display()))
            .exit(Exit::Differs)
            .next("migengine rehearse writes it anew")
    })
}
