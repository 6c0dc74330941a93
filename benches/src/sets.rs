//! The same set of migrations, in each tool's own form.

use std::fs::{create_dir_all, write};
use std::io;
use std::path::Path;

fn up(n: usize) -> String {
    format!(
        "CREATE TABLE t{n} (id bigint PRIMARY KEY, name text NOT NULL, at timestamptz DEFAULT now());\n\
         CREATE INDEX t{n}_name ON t{n} (name);\n"
    )
}

fn down(n: usize) -> String {
    format!("DROP TABLE t{n};\n")
}

/// `count` small migrations, a table and an index each, with reverse scripts, one after the other.
///
/// # Errors
/// The folder cannot be written. So for all below.
pub fn small(dir: &Path, count: usize) -> io::Result<()> {
    create_dir_all(dir)?;
    for n in 1..=count {
        let head = format!("-- Migration: {n:05}_table\n-- Description: a table and an index\n\n");
        write(dir.join(format!("{n:05}_table.sql")), head + &up(n))?;
        write(dir.join(format!("{n:05}_table_rollback.sql")), down(n))?;
    }
    Ok(())
}

/// The same on two branches.
///
/// # Errors
/// As above.
pub fn two_branches(dir: &Path, count: usize) -> io::Result<()> {
    create_dir_all(dir)?;
    for n in 1..=count {
        let head =
            if n <= 2 { "-- Requires: none\n\n".to_owned() } else { format!("-- Requires: {:05}_table\n\n", n - 2) };
        write(dir.join(format!("{n:05}_table.sql")), head + &up(n))?;
        write(dir.join(format!("{n:05}_table_rollback.sql")), down(n))?;
    }
    Ok(())
}

/// dbmate: both directions in one file.
pub(crate) fn dbmate(dir: &Path, count: usize) -> io::Result<()> {
    marked(dir, count, "-- migrate:up\n", "-- migrate:down\n", |n| format!("2024{n:010}_table.sql"))
}

/// node-pg-migrate: both directions in one file.
pub(crate) fn node(dir: &Path, count: usize) -> io::Result<()> {
    marked(dir, count, "-- Up Migration\n", "-- Down Migration\n", |n| format!("17000000{n:05}_table.sql"))
}

/// sql-migrate: both directions in one file, and a configuration that names the database by an environment variable.
pub(crate) fn sql_migrate(dir: &Path, count: usize) -> io::Result<()> {
    let files = dir.join("files");
    marked(&files, count, "-- +migrate Up\n", "-- +migrate Down\n", |n| format!("{n:05}_table.sql"))?;
    let text = format!("bench:\n  dialect: postgres\n  datasource: ${{BENCH_URL}}\n  dir: {}\n", files.display());
    write(dir.join("dbconfig.yml"), text)
}

fn marked(dir: &Path, count: usize, first: &str, second: &str, name: impl Fn(usize) -> String) -> io::Result<()> {
    create_dir_all(dir)?;
    (1..=count).try_for_each(|n| write(dir.join(name(n)), format!("{first}{}\n{second}{}", up(n), down(n))))
}

/// sqlx-cli: forward only.
pub(crate) fn sqlx(dir: &Path, count: usize) -> io::Result<()> {
    create_dir_all(dir)?;
    (1..=count).try_for_each(|n| write(dir.join(format!("{n}_table.sql")), up(n)))
}

/// refinery: forward only.
pub(crate) fn refinery(dir: &Path, count: usize) -> io::Result<()> {
    create_dir_all(dir)?;
    (1..=count).try_for_each(|n| write(dir.join(format!("V{n}__table.sql")), up(n)))
}

/// yoyo: a file for each direction.
pub(crate) fn yoyo(dir: &Path, count: usize) -> io::Result<()> {
    create_dir_all(dir)?;
    for n in 1..=count {
        let depends = if n == 1 { String::new() } else { format!("-- depends: {:05}_table\n", n - 1) };
        write(dir.join(format!("{n:05}_table.sql")), depends + &up(n))?;
        write(dir.join(format!("{n:05}_table.rollback.sql")), down(n))?;
    }
    Ok(())
}

/// alembic: Python, one transaction for each migration.
pub(crate) fn alembic(dir: &Path, count: usize) -> io::Result<()> {
    let versions = dir.join("versions");
    create_dir_all(&versions)?;
    write(dir.join("alembic.ini"), format!("[alembic]\nscript_location = {}\n", dir.display()))?;
    write(
        dir.join("env.py"),
        "import os\nfrom alembic import context\nfrom sqlalchemy import create_engine\n\
         engine = create_engine(os.environ['BENCH_URL'].replace('postgresql://', 'postgresql+psycopg2://'))\n\
         with engine.connect() as connection:\n    context.configure(connection=connection, transaction_per_migration=True)\n    \
         with context.begin_transaction():\n        context.run_migrations()\n",
    )?;
    for n in 1..=count {
        let before = if n == 1 { "None".to_owned() } else { format!("'{:05}'", n - 1) };
        let text = format!(
            "from alembic import op\nrevision = '{n:05}'\ndown_revision = {before}\n\n\
             def upgrade():\n    op.execute('''{}''')\n\ndef downgrade():\n    op.execute('''{}''')\n",
            up(n),
            down(n)
        );
        write(versions.join(format!("{n:05}_table.py")), text)?;
    }
    Ok(())
}

/// sqitch: a plan and a script for each direction.
pub(crate) fn sqitch(dir: &Path, count: usize) -> io::Result<()> {
    create_dir_all(dir.join("deploy"))?;
    create_dir_all(dir.join("revert"))?;
    let mut plan = "%syntax-version=1.0.0\n%project=bench\n\n".to_owned();
    for n in 1..=count {
        plan += &format!("t{n} 2024-01-01T00:00:00Z Bench <bench@example.org> # a table\n");
        write(dir.join(format!("deploy/t{n}.sql")), format!("BEGIN;\n{}COMMIT;\n", up(n)))?;
        write(dir.join(format!("revert/t{n}.sql")), format!("BEGIN;\n{}COMMIT;\n", down(n)))?;
    }
    write(dir.join("sqitch.conf"), "[core]\n\tengine = pg\n")?;
    write(dir.join("sqitch.plan"), plan)
}
