//! What is measured: whole processes, each as its documentation says it is run best.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sets;

/// One way to apply a set of migrations to a database.
pub struct Peer {
    /// Its name in the table.
    pub name: &'static str,
    /// The program; the name alone where it is looked up in `PATH`.
    program: &'static str,
    /// The script below `benches/peers` that installs it, for those that are not part of PostgreSQL or of this project.
    pub installer: Option<&'static str>,
    /// Writes the set in its own form into a folder of its own.
    pub prepare: fn(&Path, usize) -> io::Result<()>,
    /// Adds the arguments for that folder and a database.
    arguments: fn(&mut Command, &Path, &str),
}

/// All of them; psql, one transaction each, comes first and is what the others are compared with.
pub const ALL: &[Peer] = &[
    Peer {
        name: "psql, one transaction each",
        program: "psql",
        installer: None,
        prepare: sets::small,
        arguments: psql_each,
    },
    Peer { name: "psql, one transaction", program: "psql", installer: None, prepare: sets::small, arguments: psql_one },
    Peer {
        name: "migengine",
        program: "target/release/migengine",
        installer: None,
        prepare: sets::small,
        arguments: migengine,
    },
    Peer {
        name: "migengine --atomic",
        program: "target/release/migengine",
        installer: None,
        prepare: sets::small,
        arguments: atomic,
    },
    Peer {
        name: "sqlx-cli",
        program: "target/peers/sqlx/bin/sqlx",
        installer: Some("sqlx"),
        prepare: sets::sqlx,
        arguments: |command, dir, url| {
            command.args(["migrate", "run", "--source"]).arg(dir).args(["--database-url", url]);
        },
    },
    Peer {
        name: "refinery",
        program: "target/peers/refinery/bin/refinery",
        installer: Some("refinery"),
        prepare: sets::refinery,
        arguments: |command, dir, _| {
            command.args(["migrate", "-e", "BENCH_URL", "-p"]).arg(dir);
        },
    },
    Peer {
        name: "dbmate",
        program: "target/peers/dbmate/node_modules/.bin/dbmate",
        installer: Some("dbmate"),
        prepare: sets::dbmate,
        arguments: |command, dir, url| {
            command.args(["--url", url, "--no-dump-schema", "--migrations-dir"]).arg(dir).arg("migrate");
        },
    },
    Peer {
        name: "node-pg-migrate",
        program: "target/peers/node-pg-migrate/node_modules/.bin/node-pg-migrate",
        installer: Some("node-pg-migrate"),
        prepare: sets::node,
        arguments: |command, dir, _| {
            command.args(["up", "--database-url-var", "BENCH_URL", "--migrations-dir"]).arg(dir);
        },
    },
    Peer {
        name: "sql-migrate",
        program: "target/peers/sql-migrate/usr/bin/sql-migrate",
        installer: Some("sql-migrate"),
        prepare: sets::sql_migrate,
        arguments: |command, dir, _| {
            command.args(["up", "-env=bench"]).arg(format!("-config={}", dir.join("dbconfig.yml").display()));
        },
    },
    Peer {
        name: "yoyo",
        program: "target/peers/yoyo/bin/yoyo",
        installer: Some("yoyo"),
        prepare: sets::yoyo,
        arguments: |command, dir, url| {
            // It does not know the parameter.
            let url = url.replace("?sslmode=disable", "");
            command.args(["apply", "--batch", "--no-config-file", "--database", &url]).arg(dir);
        },
    },
    Peer {
        name: "alembic",
        program: "target/peers/alembic/bin/alembic",
        installer: Some("alembic"),
        prepare: sets::alembic,
        arguments: |command, dir, _| {
            command.arg("-c").arg(dir.join("alembic.ini")).args(["upgrade", "head"]);
        },
    },
    Peer {
        name: "sqitch",
        program: "sqitch",
        installer: Some("sqitch"),
        prepare: sets::sqitch,
        arguments: |command, dir, url| {
            command.current_dir(dir).args(["deploy", "--no-verify"]).arg(url.replace("postgresql://", "db:pg://"));
        },
    },
];

impl Peer {
    /// Whether it can be run here.
    #[must_use]
    pub fn is_here(&self) -> bool {
        let in_path = || {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).any(|folder| folder.join(self.program).is_file())
        };
        if self.program.contains('/') { Path::new(self.program).exists() } else { in_path() }
    }

    /// The command for its own folder and a database. No tool reads anybody's configuration.
    #[must_use]
    pub fn command(&self, dir: &Path, url: &str) -> Command {
        let program = match self.program.contains('/') {
            true => std::fs::canonicalize(self.program).unwrap_or_else(|_| self.program.into()),
            false => PathBuf::from(self.program),
        };
        let mut command = Command::new(program);
        command.env("BENCH_URL", url);
        (self.arguments)(&mut command, dir, url);
        command
    }
}

fn forward_files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let forward = |path: &PathBuf| !path.to_string_lossy().ends_with("_rollback.sql");
    let mut files: Vec<_> = entries.map(|entry| entry.path()).filter(forward).collect();
    files.sort();
    files
}

/// One psql process; each file between BEGIN and COMMIT.
fn psql_each(command: &mut Command, dir: &Path, url: &str) {
    command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url]);
    for file in forward_files(dir) {
        command.args(["-c", "BEGIN", "-f"]).arg(file).args(["-c", "COMMIT"]);
    }
}

fn psql_one(command: &mut Command, dir: &Path, url: &str) {
    command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url, "-1"]);
    for file in forward_files(dir) {
        command.arg("-f").arg(file);
    }
}

/// The journal lies beside the folder of migrations.
fn migengine(command: &mut Command, dir: &Path, url: &str) {
    command.args(["apply", "--quiet", "--yes", "--database-url", url, "--dir"]).arg(dir);
    command.arg("--journal").arg(dir.with_extension("journal"));
}

fn atomic(command: &mut Command, dir: &Path, url: &str) {
    migengine(command, dir, url);
    command.arg("--atomic");
}
