//! Migrations and graphs of any size.

use std::fs::{create_dir_all, write};
use std::io;
use std::path::Path;

use migengine_engine::diag::Position;
use migengine_engine::id::{Digest, MigrationId, RunId, Timestamp};
use migengine_engine::migration::{Migration, merge, read_file};
use migengine_engine::plan::{Applied, History, Node, RefText, Requires, Script};

/// Writes `count` small migrations, a table and an index each, with reverse scripts, one after the other.
///
/// # Errors
/// The folder cannot be written.
pub fn small(dir: &Path, count: usize) -> io::Result<()> {
    create_dir_all(dir)?;
    for n in 1..=count {
        let head = format!("-- Migration: {n:05}_table\n-- Description: a table and an index\n\n");
        let up = format!(
            "CREATE TABLE t{n} (id bigint PRIMARY KEY, name text NOT NULL, at timestamptz DEFAULT now());\n\
             CREATE INDEX t{n}_name ON t{n} (name);\n"
        );
        write(dir.join(format!("{n:05}_table.sql")), head + &up)?;
        write(dir.join(format!("{n:05}_table_rollback.sql")), format!("DROP TABLE t{n};\n"))?;
    }
    Ok(())
}

/// `count` small migrations with reverse scripts, read, lexed and hashed.
#[must_use]
pub fn read(count: usize) -> Vec<Migration> {
    let mut files = Vec::new();
    for n in 1..=count {
        let up = format!("-- Description: a table\n\nCREATE TABLE t{n} (id bigint PRIMARY KEY, name text NOT NULL);\n");
        files.push(read_file(&format!("{n:05}_t.sql"), Ok(up.clone().into_bytes())));
        files.push(read_file(&format!("{n:05}_t_rollback.sql"), Ok(format!("DROP TABLE t{n};\n").into_bytes())));
    }
    merge(files).0
}

/// The planner's view of a migration that follows the one before it.
#[must_use]
pub fn node(migration: &Migration) -> Node {
    let script = &migration.up;
    Node {
        id: migration.id.clone(),
        file: script.file.clone(),
        requires: Requires::Default,
        conflicts: Vec::new(),
        up: Script { content: script.content, tokens: script.tokens, transactional: script.transactional() },
        down: None,
        irreversible_reason: None,
    }
}

/// A history in which the first `applied` migrations are in effect.
#[must_use]
pub fn history(migrations: &[Migration], applied: usize) -> History {
    let past = |(migration, seq): (&Migration, i64)| Applied {
        id: migration.id.clone(),
        content: migration.up.content,
        tokens: migration.up.tokens,
        applied_at: Timestamp(seq),
        seq,
        requires: Vec::<MigrationId>::new(),
        reverse: None,
        run: RunId::from_bytes([0; 16]),
    };
    History::new(migrations.iter().take(applied).zip(1..).map(past))
}

/// `count` nodes, each of which requires three earlier ones: the one before, and those at a half and a third of the way.
#[must_use]
pub fn mesh(count: usize) -> Vec<Node> {
    let name = |n: usize| format!("{n:06}_m");
    let script = Script { content: Digest::of(b"content"), tokens: Digest::of(b"tokens"), transactional: true };
    let requires = |n: usize| {
        let mut before: Vec<usize> = [n.wrapping_sub(1), n / 2, n / 3].into_iter().filter(|other| *other < n).collect();
        before.dedup();
        before
    };
    let node = |n: usize| {
        Some(Node {
            id: MigrationId::new(name(n)).ok()?,
            file: format!("{}.sql", name(n)),
            requires: Requires::Declared(
                requires(n)
                    .into_iter()
                    .map(|other| RefText { text: name(other), position: Position::START, line: None })
                    .collect(),
            ),
            conflicts: Vec::new(),
            up: script,
            down: None,
            irreversible_reason: None,
        })
    };
    (0..count).filter_map(node).collect()
}
