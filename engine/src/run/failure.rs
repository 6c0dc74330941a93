//! Why a step failed, with everything the server said. Kept in the journal, so a later version must still read it.

/// A failure of one step, certain to have had no effect (beyond the parts recorded before it).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Failure {
    /// Our code, `ME4xx`.
    pub code: String,
    /// What happened, one sentence.
    pub message: String,
    /// PostgreSQL's five-character code, where the server raised the error.
    pub sqlstate: Option<String>,
    /// The server's DETAIL.
    pub detail: Option<String>,
    /// The server's HINT.
    pub hint: Option<String>,
    /// The server's CONTEXT (its call stack).
    pub context: Option<String>,
    /// Schema, table, column and constraint named by the server, in that order; empty where it named none.
    pub objects: [String; 4],
    /// The file, as shown to people.
    pub file: Option<String>,
    /// Line, from 1.
    pub line: Option<u32>,
    /// Column in characters, from 1.
    pub column: Option<u32>,
    /// The statement, cut to a readable length.
    pub statement: Option<String>,
}

impl Failure {
    /// A failure of our own finding.
    #[must_use]
    pub fn own(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), ..Self::default() }
    }
}
