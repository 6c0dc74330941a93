//! Every failure says three things: what happened, the state of the database now, and the command to run next.

use migengine_engine::diag::{Diagnostic, Severity};
use migengine_engine::drive::DriveError;
use migengine_engine::pg::connect::ConnectError;
use migengine_engine::pg::read::ReadError;
use migengine_engine::pg::target::TargetError;
use migengine_engine::run::failure::Failure;
use migengine_engine::run::journal::JournalError;

use crate::embedded::EmbeddedError;

/// The exit codes of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, or nothing to do.
    Done = 0,
    /// Failed, and nothing of the run is in effect.
    RolledBack = 1,
    /// Usage or configuration.
    Usage = 2,
    /// Check mode: something is pending, changed or drifted.
    Differs = 3,
    /// Another runner holds the lock.
    Busy = 4,
    /// Refused before any change.
    Refused = 5,
    /// A person must decide.
    Person = 6,
    /// Stopped part-way, resumable.
    Stopped = 7,
}

/// What a command answers instead of success.
#[derive(Debug)]
pub struct CommandError {
    /// How the process exits.
    pub exit: Exit,
    /// Stable code, with a page in `migengine explain`.
    pub code: String,
    /// What happened, without a final full stop.
    pub what: String,
    /// The state of the database now, a sentence.
    pub state: String,
    /// Commands, or what else to do next; one a line.
    pub next: Vec<String>,
    /// Findings in files.
    pub diagnostics: Vec<Diagnostic>,
    /// What the server said, with the place in the file.
    pub failure: Option<Box<Failure>>,
}

/// The state after a refusal.
pub const UNCHANGED: &str = "Nothing was changed.";

impl CommandError {
    /// A refusal: nothing was changed.
    pub fn refused(code: &str, what: impl Into<String>) -> Self {
        Self {
            exit: Exit::Refused,
            code: code.to_owned(),
            what: what.into(),
            state: UNCHANGED.to_owned(),
            next: Vec::new(),
            diagnostics: Vec::new(),
            failure: None,
        }
    }

    /// Wrong usage or configuration.
    pub fn usage(code: &str, what: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, ..Self::refused(code, what) }
    }

    /// Another exit.
    #[must_use]
    pub fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// Another state.
    #[must_use]
    pub fn state(mut self, state: impl Into<String>) -> Self {
        self.state = state.into();
        self
    }

    /// Adds a next step.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next.push(next.into());
        self
    }

    /// From findings in files, of which at least one is an error.
    pub fn files(diagnostics: Vec<Diagnostic>) -> Self {
        let errors = diagnostics.iter().filter(|found| found.severity == Severity::Error).count();
        let code =
            diagnostics.iter().find(|found| found.severity == Severity::Error).map_or("ME100", |found| found.code);
        let what = if errors == 1 {
            "1 problem stands in the way".to_owned()
        } else {
            format!("{errors} problems stand in the way")
        };
        let next =
            format!("mend what is named above, then the same command again; more of it: migengine explain {code}");
        Self { diagnostics, ..Self::refused(code, what).next(next) }
    }
}

/// Takes `[ME123] ` off the front of a sentence.
fn split_code(text: &str) -> (String, String) {
    match text.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((code, rest)) if code.starts_with("ME") => (code.to_owned(), rest.to_owned()),
        _ => ("ME400".to_owned(), text.to_owned()),
    }
}

/// Our sentences end with "Nothing was changed" where that is so; the state line says it.
fn without_state(text: &str) -> String {
    text.replace(". Nothing was changed", "").trim_end_matches('.').to_owned()
}

fn from_sentence(text: &str) -> CommandError {
    let (code, what) = split_code(text);
    CommandError::refused(&code, without_state(&what))
}

impl From<TargetError> for CommandError {
    fn from(error: TargetError) -> Self {
        Self::usage(error.code(), error.to_string()).next(error.next())
    }
}

impl From<ConnectError> for CommandError {
    fn from(error: ConnectError) -> Self {
        let code = error.code().to_owned();
        Self::refused(&code, error.message).next(error.next)
    }
}

impl From<EmbeddedError> for CommandError {
    fn from(error: EmbeddedError) -> Self {
        Self::refused(error.code(), error.to_string())
    }
}

impl From<ReadError> for CommandError {
    fn from(error: ReadError) -> Self {
        match &error {
            ReadError::Server(_) => from_server(&error),
            _ => from_sentence(&error.to_string()),
        }
    }
}

/// A query of ours that changes nothing failed.
fn from_server(error: &ReadError) -> CommandError {
    let (what, sqlstate) = error.server_words();
    let mut refused = CommandError::refused("ME339", format!("the database could not be read: {what}"));
    if let Some(code) = sqlstate {
        refused.what.push_str(&format!(" (SQLSTATE {code})"));
    }
    refused.next("migengine status")
}

impl From<JournalError> for CommandError {
    fn from(error: JournalError) -> Self {
        let sentence = from_sentence(&error.to_string());
        match error {
            JournalError::InUse { .. } => sentence
                .exit(Exit::Busy)
                .next("wait for the other migengine, or watch it: migengine journal show --follow"),
            JournalError::Damaged { .. } => sentence.next("migengine journal check, then: migengine journal rebuild"),
            JournalError::Newer { .. } => sentence.next("use the newer migengine"),
            JournalError::Unwritable { .. } | JournalError::Poisoned => {
                sentence.next("make room or mend the permissions of the journal's folder, then run the command again")
            }
        }
    }
}

impl From<DriveError> for CommandError {
    fn from(error: DriveError) -> Self {
        let sentence = from_sentence(&error.to_string());
        match error {
            DriveError::Busy { .. } => sentence
                .exit(Exit::Busy)
                .next("wait for it (--lock-wait-runner 5m), or watch it: migengine journal show --follow"),
            DriveError::Orphan { .. } => sentence
                .exit(Exit::Busy)
                .next("wait until it ends; if its runner is known to be gone: SELECT pg_terminate_backend(PID)"),
            DriveError::Overtaken => sentence.next("look at what is applied now: migengine status"),
            DriveError::Connect(error) => error.into(),
            DriveError::Standing { .. } => sentence.exit(Exit::Person).next("migengine journal list"),
            DriveError::Layout(_) => sentence.next("once that is mended: migengine apply"),
            DriveError::Read(error) => error.into(),
            DriveError::Journal(error) => error.into(),
            DriveError::Illegal(_) => sentence.exit(Exit::Person).next("migengine journal check"),
            DriveError::Lost(_) => sentence.exit(Exit::Stopped).next("migengine apply --resume"),
        }
    }
}
