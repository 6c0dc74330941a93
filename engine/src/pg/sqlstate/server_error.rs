//! What the server said, and the other case: that nobody knows what it did.

use std::error::Error as _;
use std::fmt;
use std::io;

use tokio_postgres::error::{DbError, ErrorPosition, Severity};

use super::{Entry, lookup_with_message};

/// An error response or a notice of the server, all fields of the protocol that concern a user.
/// See <https://www.postgresql.org/docs/current/protocol-error-fields.html>.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerError {
    /// `ERROR`, `FATAL`, `PANIC`, or a notice's; not translated.
    pub severity: String,
    /// SQLSTATE, five characters.
    pub code: String,
    /// The message, in the server's language.
    pub message: String,
    /// More about the problem.
    pub detail: Option<String>,
    /// The server's advice.
    pub hint: Option<String>,
    /// Character in the statement as sent, from 1. Absent when the place is inside a function's body.
    pub position: Option<u32>,
    /// The call stack (CONTEXT).
    pub where_: Option<String>,
    /// Schema of the object.
    pub schema: Option<String>,
    /// Table of the object.
    pub table: Option<String>,
    /// Column of the object.
    pub column: Option<String>,
    /// Data type.
    pub datatype: Option<String>,
    /// Constraint that was broken.
    pub constraint: Option<String>,
}

impl From<&DbError> for ServerError {
    fn from(error: &DbError) -> Self {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Self {
            severity: error.parsed_severity().map_or_else(|| error.severity().to_owned(), |known| known.to_string()),
            code: error.code().code().to_owned(),
            message: error.message().to_owned(),
            detail: owned(error.detail()),
            hint: owned(error.hint()),
            position: error.position().and_then(|position| match position {
                ErrorPosition::Original(position) => Some(*position),
                ErrorPosition::Internal { .. } => None,
            }),
            where_: owned(error.where_()),
            schema: owned(error.schema()),
            table: owned(error.table()),
            column: owned(error.column()),
            datatype: owned(error.datatype()),
            constraint: owned(error.constraint()),
        }
    }
}

impl ServerError {
    /// Tells the two cases apart. `Ok` is the server's word that the statement had no effect and that the session
    /// goes on. `Err` is everything after which this is not known: a broken connection, a broken protocol, and an
    /// error with which the server ended the session. A FATAL during COMMIT is of that kind: with synchronous
    /// replication the transaction may stand although the session was terminated while it waited.
    ///
    /// # Errors
    /// [`Lost`], when the outcome is not known.
    pub fn from_pg(error: &tokio_postgres::Error) -> Result<Self, Lost> {
        let Some(db) = error.as_db_error() else { return Err(Lost::from_driver(error)) };
        Self::from(db).unless_final(db.parsed_severity())
    }

    fn unless_final(self, severity: Option<Severity>) -> Result<Self, Lost> {
        let final_severity = match severity {
            Some(severity) => matches!(severity, Severity::Fatal | Severity::Panic),
            None => matches!(self.severity.as_str(), "FATAL" | "PANIC"),
        };
        if final_severity || ends_session(&self.code) {
            let message = format!("the server ended the session: {self}");
            return Err(Lost { kind: LostKind::EndedByServer, message, server: Some(Box::new(self)) });
        }
        Ok(self)
    }

    /// What this SQLSTATE means and asks for.
    #[must_use]
    pub fn entry(&self) -> &'static Entry {
        lookup_with_message(&self.code, &self.message)
    }
}

/// Codes after which the session is gone or the outcome open, whatever the severity field says.
fn ends_session(code: &str) -> bool {
    code.starts_with("08")
        || matches!(code, "40003" | "57P01" | "57P02" | "57P03" | "57P04" | "57P05" | "25P03" | "25P04")
}

/// `message (SQLSTATE 42601)`.
impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.message, self.code)
    }
}

impl std::error::Error for ServerError {}

/// How the outcome was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostKind {
    /// The connection was closed.
    Closed,
    /// The network or the system reported an error.
    Io,
    /// The server said FATAL or PANIC.
    EndedByServer,
    /// The driver could not make sense of an answer, or of what it was asked to send.
    Protocol,
}

/// Nobody knows whether the statement took effect. Only a new session can find out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Lost {
    /// How.
    pub kind: LostKind,
    /// What is known, without a final full stop.
    pub message: String,
    /// The server's last words, if it had any.
    pub server: Option<Box<ServerError>>,
}

impl Lost {
    /// The connection ended without a word.
    #[must_use]
    pub fn closed() -> Self {
        Self { kind: LostKind::Closed, message: "the connection to the server was closed".to_owned(), server: None }
    }

    fn from_driver(error: &tokio_postgres::Error) -> Self {
        if error.is_closed() {
            return Self::closed();
        }
        let cause = error.source();
        let kind = if cause.is_some_and(|cause| cause.is::<io::Error>()) { LostKind::Io } else { LostKind::Protocol };
        let message = match cause {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        };
        Self { kind, message, server: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_that_end_the_session_leave_the_outcome_open() {
        let check = |severity: &str, code: &str, known: bool| {
            let error = ServerError { severity: severity.into(), code: code.into(), ..ServerError::default() };
            let result = error.clone().unless_final(None);
            assert_eq!(result.is_ok(), known, "{severity} {code}");
            if let Err(lost) = result {
                assert_eq!((lost.kind, lost.server.as_deref()), (LostKind::EndedByServer, Some(&error)));
            }
        };
        check("ERROR", "42601", true);
        check("ERROR", "57014", true);
        check("ERROR", "40P01", true);
        check("FATAL", "57P01", false);
        check("FEHLER", "57P01", false);
        check("FATAL", "42601", false);
        check("PANIC", "XX000", false);
        check("ERROR", "08006", false);
        check("ERROR", "08007", false);
        check("ERROR", "40003", false);
        check("FATAL", "25P03", false);
    }

    #[test]
    fn a_translated_severity_does_not_hide_a_final_error() {
        let error = ServerError { severity: "FATAL".into(), code: "53300".into(), ..ServerError::default() };
        assert!(error.unless_final(Some(Severity::Fatal)).is_err());
    }
}
