//! The schema as a file: `pg_dump --schema-only` of a version that fits the server, without what differs from one call
//! to the next, written all at once or not at all.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use migengine_engine::pg::layout::quote_identifier;
use migengine_engine::pg::target::{Host, RootCert, Target};

use super::{process, settings::Export};
use crate::embedded::find::{Version, is_program, places};
use crate::error::CommandError;

/// The comments of pg_dump that name versions.
const VERSION_COMMENTS: [&str; 2] = ["-- Dumped from database version ", "-- Dumped by pg_dump version "];

/// How long pg_dump waits for its locks, which conflict with those of a schema change only.
const LOCK_WAIT: &str = "--lock-wait-timeout=10s";

/// How long pg_dump may take. It reads catalogs only.
const TIMEOUT: Duration = Duration::from_secs(300);

/// The longest schema that is taken for one, in bytes.
const LONGEST: usize = 256 << 20;

/// What to export.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The database.
    pub target: Target,
    /// `server_version_num` of the server.
    pub server: i32,
    /// The engine's schema, which is left out.
    pub engine_schema: String,
    /// How, by the configuration.
    pub settings: Export,
}

/// Exports the schema as text that is the same for the same schema.
///
/// # Errors
/// ME750 to ME752: no pg_dump, none that is new enough, or one that failed.
pub fn dump(wanted: &Wanted) -> Result<String, CommandError> {
    let major = u32::try_from(wanted.server / 10_000).unwrap_or_default();
    let program = match &wanted.settings.pg_dump {
        Some(named) => vec![named.clone()],
        None => candidates(),
    };
    let program = choose(&probe(&program), major)?;
    let mut command = Command::new(&program);
    command.args(["--schema-only", "--no-password", LOCK_WAIT]);
    command.arg(format!("--exclude-schema={}", quote_identifier(&wanted.engine_schema)));
    command.args(&wanted.settings.options);
    connection(&mut command, &wanted.target);
    let shown = program.display();
    let failed = |why: String| {
        CommandError::refused("ME752", format!("{shown} did not export the schema: {why}")).next("migengine export")
    };
    let done = process::run(command, b"", TIMEOUT, LONGEST).map_err(|error| failed(error.to_string()))?;
    if !done.success || done.stdout.len() >= LONGEST {
        return Err(failed(super::hook::last_line(&done.stderr).unwrap_or(done.verdict)));
    }
    let text = String::from_utf8(done.stdout).map_err(|_| failed("what it wrote is no UTF-8".to_owned()))?;
    Ok(normalise(&text))
}

/// Connection parameters travel in the environment: arguments are visible to everybody on the machine.
fn connection(command: &mut Command, target: &Target) {
    let diverting = std::env::vars_os().map(|(key, _)| key).filter(|key| key.as_encoded_bytes().starts_with(b"PG"));
    for key in diverting {
        command.env_remove(key);
    }
    let join = |field: &dyn Fn(&migengine_engine::pg::target::Server) -> String| {
        target.servers.iter().map(field).collect::<Vec<_>>().join(",")
    };
    command.env(
        "PGHOST",
        join(&|server| match &server.host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(dir) => dir.display().to_string(),
        }),
    );
    command.env("PGPORT", join(&|server| server.port.to_string()));
    if target.servers.iter().any(|server| server.address.is_some()) {
        let address = |server: &migengine_engine::pg::target::Server| {
            server.address.map(|address| address.to_string()).unwrap_or_default()
        };
        command.env("PGHOSTADDR", join(&address));
    }
    command.env("PGUSER", &target.user).env("PGDATABASE", &target.dbname);
    command.env("PGSSLMODE", target.tls.mode.as_str()).env("PGCLIENTENCODING", "UTF8");
    command.env("PGAPPNAME", "migengine:export").env("LC_ALL", "C");
    match &target.tls.root {
        Some(RootCert::File(path)) => drop(command.env("PGSSLROOTCERT", path)),
        Some(RootCert::System) => drop(command.env("PGSSLROOTCERT", "system")),
        None => {}
    }
    if let Some((certificate, key)) = &target.tls.client {
        command.env("PGSSLCERT", certificate).env("PGSSLKEY", key);
    }
    if let Some(options) = &target.options {
        command.env("PGOPTIONS", options);
    }
    if let Some(password) = target.servers.iter().find_map(|server| server.password.as_ref()) {
        command.env("PGPASSWORD", password.expose());
    }
}

/// Where a pg_dump may be; only that of `MIGENGINE_PG_BIN` where it is set.
fn candidates() -> Vec<PathBuf> {
    let named = std::env::var_os("MIGENGINE_PG_BIN").filter(|value| !value.is_empty());
    let folders = named.map_or_else(places, |folder| vec![PathBuf::from(folder)]);
    folders.into_iter().map(|folder| folder.join("pg_dump")).filter(|path| is_program(path)).collect()
}

/// Asks each program for its version.
fn probe(programs: &[PathBuf]) -> Vec<(PathBuf, Version)> {
    let version = |path: &PathBuf| {
        let output = Command::new(path).arg("--version").env("LC_ALL", "C").output().ok()?;
        Some((path.clone(), Version::parse(&String::from_utf8_lossy(&output.stdout))?))
    };
    programs.iter().filter_map(version).collect()
}

/// The program of the server's own version, or the next newer one: pg_dump refuses servers newer than itself, and what
/// it writes differs from one major version to the next.
fn choose(found: &[(PathBuf, Version)], major: u32) -> Result<PathBuf, CommandError> {
    let fitting = found.iter().filter(|(_, version)| version.major >= major).min_by_key(|(_, version)| version.major);
    if let Some((path, _)) = fitting {
        return Ok(path.clone());
    }
    let next =
        format!("install the client programs of PostgreSQL {major}, or name one: pg_dump = \"PATH\" in [export]");
    if found.is_empty() {
        return Err(CommandError::refused("ME750", "there is no pg_dump on this machine").next(next));
    }
    let old: Vec<String> = found.iter().map(|(path, version)| format!("{version} in {}", path.display())).collect();
    let what = format!("the server is PostgreSQL {major}, and every pg_dump here is older: {}", old.join(", "));
    Err(CommandError::refused("ME751", what).next(next))
}

/// Takes out what differs between two calls: the key of `\restrict`, and the comments with versions before the first
/// statement. Bodies of functions are left alone.
fn normalise(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut key: Option<&str> = None;
    let mut head = true;
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end();
        if head && let Some(found) = bare.strip_prefix("\\restrict ") {
            key = Some(found);
            continue;
        }
        if key.is_some() && bare.strip_prefix("\\unrestrict ") == key {
            continue;
        }
        if head && VERSION_COMMENTS.iter().any(|comment| bare.starts_with(comment)) {
            continue;
        }
        head = head && (bare.is_empty() || bare.starts_with("--"));
        // What was taken out leaves one empty line where there were two.
        if head && bare.is_empty() && out.ends_with("\n\n") {
            continue;
        }
        out.push_str(line);
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// Writes the file all at once: beside it first, on disk, then in its place. Returns whether that changed anything.
///
/// # Errors
/// ME753; the old file is as it was.
pub fn write(path: &Path, text: &str) -> Result<bool, CommandError> {
    if std::fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(false);
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let beside = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = std::fs::File::create(&beside).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    });
    written.map(|()| true).map_err(|error| {
        // Whether the remains can be removed changes nothing about the old file.
        std::fs::remove_file(&beside).ok();
        let what = format!("{} cannot be written: {error}; the old one is as it was", path.display());
        CommandError::refused("ME753", what).next("make room or mend the permissions, then: migengine export")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_pg_dump_itself_put_there_is_taken_out() {
        let text = "--\n-- PostgreSQL database dump\n--\n\n\\restrict k3y\n\n-- Dumped from database version 15.18\n\
                    -- Dumped by pg_dump version 15.18\n\nSET x = 1;\n\nAS $$\n-- Dumped from database version 9\n\
                    \\restrict k3y\n$$;\n\n\\unrestrict k3y\n\n";
        let clean = "--\n-- PostgreSQL database dump\n--\n\nSET x = 1;\n\nAS $$\n-- Dumped from database version 9\n\
                     \\restrict k3y\n$$;\n";
        assert_eq!(normalise(text), clean);
        assert_eq!(normalise(clean), clean);
    }

    #[test]
    fn the_version_of_the_server_is_preferred_and_an_older_one_refused() {
        let found: Vec<(PathBuf, Version)> = [("/a", "17.1"), ("/b", "15.3"), ("/c", "16.0")]
            .map(|(path, version)| {
                let version = Version::parse(&format!("pg_dump (PostgreSQL) {version}")).unwrap();
                (PathBuf::from(path), version)
            })
            .to_vec();
        assert_eq!(choose(&found, 15).unwrap(), Path::new("/b"));
        assert_eq!(choose(&found, 14).unwrap(), Path::new("/b"));
        let error = choose(&found, 18).unwrap_err();
        assert_eq!(error.code, "ME751");
        assert!(error.what.contains("15.3 in /b"), "{}", error.what);
        assert_eq!(choose(&[], 15).unwrap_err().code, "ME750");
    }
}
