//! pg_dump: which one fits a server, and how it is told where to connect.

use std::path::{Path, PathBuf};
use std::process::Command;

use migengine_engine::pg::target::{Host, RootCert, Server, Target};

use crate::embedded::find::{Version, is_program, places};

/// Why there is none to use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// There is none at all.
    #[error("there is no pg_dump on this machine")]
    Missing,
    /// A pg_dump refuses servers newer than itself.
    #[error("the server is PostgreSQL {server}, and every pg_dump here is older: {found}")]
    Older {
        /// Major version of the server.
        server: u32,
        /// What there is: version and place, by commas.
        found: String,
    },
}

/// The one to use for a server of that major version: the one named, or the best of those on this machine.
///
/// # Errors
/// None fits.
pub fn find(major: u32, named: Option<&Path>) -> Result<PathBuf, Unfit> {
    choose(&probe(&named.map_or_else(candidates, |path| vec![path.to_owned()])), major)
}

/// Connection parameters travel in the environment: arguments are visible to everybody on the machine. `application` is
/// what `pg_stat_activity` shows.
pub fn connect(command: &mut Command, target: &Target, application: &str) {
    for (key, _) in std::env::vars_os().filter(|(key, _)| key.as_encoded_bytes().starts_with(b"PG")) {
        command.env_remove(key);
    }
    let join = |field: &dyn Fn(&Server) -> String| target.servers.iter().map(field).collect::<Vec<_>>().join(",");
    command.env("PGHOST", join(&host)).env("PGPORT", join(&|server| server.port.to_string()));
    if target.servers.iter().any(|server| server.address.is_some()) {
        let address = |server: &Server| server.address.map(|address| address.to_string()).unwrap_or_default();
        command.env("PGHOSTADDR", join(&address));
    }
    command.env("PGUSER", &target.user).env("PGDATABASE", &target.dbname);
    command.env("PGSSLMODE", target.tls.mode.as_str()).env("PGCLIENTENCODING", "UTF8");
    command.env("PGAPPNAME", application).env("LC_ALL", "C");
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

/// A server's host, as libpq wants it: a name, or the folder of its socket.
#[must_use]
pub fn host(server: &Server) -> String {
    match &server.host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(dir) => dir.display().to_string(),
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
fn choose(found: &[(PathBuf, Version)], major: u32) -> Result<PathBuf, Unfit> {
    let fitting = found.iter().filter(|(_, version)| version.major >= major).min_by_key(|(_, version)| version.major);
    if let Some((path, _)) = fitting {
        return Ok(path.clone());
    }
    if found.is_empty() {
        return Err(Unfit::Missing);
    }
    let old: Vec<String> = found.iter().map(|(path, version)| format!("{version} in {}", path.display())).collect();
    Err(Unfit::Older { server: major, found: old.join(", ") })
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(matches!(&error, Unfit::Older { server: 18, found } if found.contains("15.3 in /b")), "{error}");
        assert_eq!(choose(&[], 15).unwrap_err(), Unfit::Missing);
    }
}
