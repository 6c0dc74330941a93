//! Sets of migrations to measure with.

use std::io;
use std::path::Path;

/// Writes `count` small migrations, a table and an index each, with reverse scripts.
///
/// # Errors
/// The folder cannot be written.
pub fn small(dir: &Path, count: usize) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    for number in 1..=count {
        let up = format!(
            "-- Migration: {number:05}_table\n-- Description: a table and an index\n\n\
             CREATE TABLE t{number} (id bigint PRIMARY KEY, name text NOT NULL, at timestamptz DEFAULT now());\n\
             CREATE INDEX t{number}_name ON t{number} (name);\n"
        );
        std::fs::write(dir.join(format!("{number:05}_table.sql")), up)?;
        std::fs::write(dir.join(format!("{number:05}_table_rollback.sql")), format!("DROP TABLE t{number};\n"))?;
    }
    Ok(())
}
