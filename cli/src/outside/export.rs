//! The schema as a file: `pg_dump --schema-only` of a version that fits the server, without what differs from one call
//! to the next, written all at once or not at all.

use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use migengine_engine::pg::layout::quote_identifier;
use migengine_engine::pg::target::Target;

use super::{process, settings::Export};
use crate::error::CommandError;
use crate::pg_dump::{self, Unfit};

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
    let program = pg_dump::find(major, wanted.settings.pg_dump.as_deref()).map_err(|unfit| absent(&unfit, major))?;
    let mut command = Command::new(&program);
    command.args(["--schema-only", "--no-password", LOCK_WAIT]);
    command.arg(format!("--exclude-schema={}", quote_identifier(&wanted.engine_schema)));
    command.args(&wanted.settings.options);
    pg_dump::connect(&mut command, &wanted.target, "migengine:export");
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

fn absent(unfit: &Unfit, major: u32) -> CommandError {
    let code = match unfit {
        Unfit::Missing => "ME750",
        Unfit::Older { .. } => "ME751",
    };
    CommandError::refused(code, unfit.to_string())
        .next(format!("install the client programs of PostgreSQL {major}, or name one: pg_dump = \"PATH\" in [export]"))
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

/// Writes the file all at once: beside it first, on disk, then in its place. A new one is its owner's alone; one that was
/// there keeps its mode. Returns whether that changed anything.
///
/// # Errors
/// ME753; the old file is as it was.
pub fn write(path: &Path, text: &str) -> Result<bool, CommandError> {
    if std::fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(false);
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let beside = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let mode = std::fs::metadata(path).map_or(0o600, |old| old.permissions().mode() & 0o777);
    let opened = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside);
    let written = opened.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
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
}
