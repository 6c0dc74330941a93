//! The secrets of the whole suite. Whatever a test is about: what the program prints, and what it leaves in a project, is
//! looked through for all of them.

use std::fs;
use std::path::Path;

/// Passwords, keys and tokens that tests hand to the program. `tests/secrets.rs` holds this list against the tests.
pub const ALL: &[&str] = &[
    "hunter2",
    "hunter-two",
    "s3cret",
    "pa55-of-the-mailbox",
    "k3y-of-the-hook",
    "pw0fTheDatabase!x",
    "pw0fNobody!x",
    "pw0fTheMailbox!x",
    "key0fTheHook!x",
    "bearer0fOtlp!x",
    "key0fSentry0x",
    "k3y0of0sentry",
    "t0ken-of-otlp",
    "path-token",
];

/// What tests themselves write into a project.
const OURS: [&str; 5] = ["migrations", "migengine.toml", "bin", "scripts", "given"];

/// Panics where one of them stands in what came from the program.
#[track_caller]
pub fn none_in(place: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for secret in ALL {
        assert!(!text.contains(secret), "a secret of the suite, {secret}, is in {place}");
    }
}

/// Looks through what the program left in a project's folder: journal, exports, dumps, what hooks were given.
pub fn none_below(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if OURS.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => none_below(&path),
            Ok(kind) if kind.is_file() => none_in(&path.display().to_string(), &fs::read(&path).unwrap_or_default()),
            _ => {}
        }
    }
}
