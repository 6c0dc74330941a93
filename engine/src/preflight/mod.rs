//! What is looked at before a run: a list of named checks, each decided by a pure function over facts that the shell
//! gathered. `migengine doctor` shows the whole list; `apply` and `rollback` look at those that cost next to nothing.

pub mod asks;
pub mod backup;
pub mod data;
mod facts;
mod rights;
mod server;

pub use facts::{Archiver, Facts, History, LongTransaction, Prepared, Slot, Standby, TableFacts, Tls, history_tables};
pub use rights::{own_schema, rights};
pub use server::{Clock, Disk, server_checks, traffic};

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Could not be looked at, or has nothing to look at.
    Skipped,
    /// Goes ahead; somebody should look.
    Warn,
    /// Nothing runs before this is mended.
    Fail,
}

impl Verdict {
    /// The word used in JSON and for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One check, done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its name, that of one of [`KINDS`].
    pub name: &'static str,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found, one sentence without a final full stop.
    pub says: String,
    /// What to do about it: a command where there is one.
    pub next: Option<String>,
    /// Microseconds until it was decided. Facts that were gathered together share their time.
    pub took_us: u64,
}

impl Check {
    /// As it should be.
    #[must_use]
    pub fn ok(name: &'static str, says: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, says: says.into(), next: None, took_us: 0 }
    }

    /// Could not be looked at.
    #[must_use]
    pub fn skipped(name: &'static str, says: impl Into<String>) -> Self {
        Self { verdict: Verdict::Skipped, ..Self::ok(name, says) }
    }

    /// Somebody should look.
    #[must_use]
    pub fn warn(name: &'static str, says: impl Into<String>, next: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warn, next: Some(next.into()), ..Self::ok(name, says) }
    }

    /// In the way.
    #[must_use]
    pub fn fail(name: &'static str, says: impl Into<String>, next: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, ..Self::warn(name, says, next) }
    }
}

/// Who tells of a check's warnings. What is in the way of a run is told by whoever finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// `doctor` alone.
    ByDoctor,
    /// `apply` and `rollback` too.
    ByRuns,
}

/// A check that there is.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// What it looks at.
    pub about: &'static str,
    /// Who tells of its warnings.
    pub told: Told,
    /// The code of a run that it stops.
    pub code: &'static str,
}

const fn kind(name: &'static str, code: &'static str, told: Told, about: &'static str) -> Kind {
    Kind { name, about, told, code }
}

/// Every check in the order in which `doctor` shows them.
pub const KINDS: &[Kind] = {
    use Told::{ByDoctor, ByRuns};
    &[
        kind("configuration", "ME710", ByRuns, "options, environment variables and migengine.toml"),
        kind("programs", "ME715", ByRuns, "hooks, notifications, the dump and the export find their programs"),
        kind("connection", "ME710", ByRuns, "the server can be reached, its version, and how the line is protected"),
        kind("primary", "ME325", ByRuns, "the server takes changes: no standby, not read-only"),
        kind("direct-connection", "ME710", ByRuns, "no pooler that changes the session between two statements"),
        kind("protection", "ME701", ByRuns, "whether changes need a person's word, and whether they should"),
        kind("window", "ME703", ByRuns, "the maintenance windows of the environment"),
        kind("files", "ME710", ByRuns, "the syntax of all files, and that they can be planned"),
        kind("history", "ME147", ByRuns, "files that were changed, or are gone, after they were applied"),
        kind("unfinished-run", "ME410", ByRuns, "no run stands half-way"),
        kind("settings", "ME710", ByDoctor, "server settings under which steps behave as they were written"),
        kind("clock", "ME710", ByRuns, "the clocks of this machine and of the server agree"),
        kind("disk", "ME714", ByRuns, "free space on the server against what the pending steps write"),
        kind("replication", "ME710", ByRuns, "slots that keep WAL, and standbys that lag"),
        kind("transactions", "ME710", ByRuns, "long transactions and prepared ones, which keep locks"),
        kind("leftovers", "ME710", ByDoctor, "invalid indexes, and constraints that were never validated"),
        kind("other-tools", "ME710", ByDoctor, "history tables of other migration tools"),
        kind("traffic", "ME710", ByRuns, "sessions of applications in a database that nothing protects"),
        kind("engine-schema", "ME335", ByRuns, "the engine's own schema is there, or can be made"),
        kind("rights", "ME712", ByRuns, "what the pending steps need: ownership of tables, CREATE on schemas"),
        kind("hazards", "ME433", ByRuns, "what a protected environment refuses"),
        kind("reverse", "ME710", ByDoctor, "a reverse script for every pending step, and whether it was proven"),
        kind("drift", "ME612", ByDoctor, "the schema is what was rehearsed"),
        kind("backup", "ME713", ByRuns, "a backup that is young enough"),
        kind("data", "ME711", ByRuns, "rows that would break pending constraints and types"),
    ]
};

/// The kind of a check.
#[must_use]
pub fn kind_of(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

/// Bytes for people: `12 MB`.
#[must_use]
pub fn bytes(count: i64) -> String {
    match count {
        ..1_048_576 => format!("{} kB", count / 1024),
        1_048_576..1_073_741_824 => format!("{} MB", count / 1_048_576),
        _ => format!("{}.{} GB", count / 1_073_741_824, count % 1_073_741_824 * 10 / 1_073_741_824),
    }
}

/// Seconds for people: `90 s`, `12 min`, `5 h`, `3 days`.
#[must_use]
pub fn age(seconds: i64) -> String {
    match seconds {
        ..=120 => format!("{seconds} s"),
        121..=7_200 => format!("{} min", seconds / 60),
        7_201..=172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// The first few of a list, and how many more there are.
#[must_use]
pub(crate) fn some(items: &[String]) -> String {
    const SHOWN: usize = 5;
    let more = items.len().saturating_sub(SHOWN);
    let shown = items.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}
