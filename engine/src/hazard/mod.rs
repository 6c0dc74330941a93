//! What a statement does to the users of the tables it touches, told from its text: locks, rewrites, scans, data loss,
//! names that vanish; and what to write instead.
//!
//! The classifier is tolerant: what it does not know is `classified: false`, never an error. What the text cannot
//! tell, such as the old type of a column, it learns from the scripts before ([`learn()`]). Its claims are held against
//! measurements on a real server by `tests/lint.rs`.

mod context;
mod facts;
mod kind;
mod learn;
mod lock;
mod out;
pub(crate) mod read;
mod refuse;
mod report;
mod rule;
mod rules;
mod sarif;
mod script;
mod ties;

#[cfg(test)]
mod tests;

pub use context::Context;
pub use facts::{Cost, Finding, StatementFacts};
pub use learn::learn;
pub use lock::{Blocks, LockMode, LockOn, ObjectLock};
pub use refuse::{refusals, refusals_of};
pub use report::{Entry, Report};
pub use rule::Rule;
pub use rules::ALL as RULES;
pub use script::{ScriptFacts, look};
pub use ties::{Tied, untied};

use crate::sql::{Cursor, Statement, TokenKind};
use out::Out;

/// Classifies one statement. `text` is the whole file. Does not look at the statements around it; [`look`] does.
#[must_use]
pub fn classify(text: &str, statement: &Statement, context: &Context) -> StatementFacts {
    let at = Cursor::new(statement.tokens(text));
    let chunked = statement
        .comment_lines(text)
        .any(|(_, line)| line.split_once(':').is_some_and(|(key, _)| key.trim().eq_ignore_ascii_case("chunk")));
    let facts = StatementFacts { verb: verb(&at), ..StatementFacts::default() };
    let mut out = Out { context, facts };
    let classified = rules::statement(at, chunked, &mut out);
    let mut facts = out.facts;
    facts.classified = classified;
    facts.locks.sort();
    facts
}

/// The first words, up to three, as long as they are words that say what is done.
fn verb(at: &Cursor<'_>) -> String {
    const MORE: &[&str] = &[
        "TABLE",
        "INDEX",
        "VIEW",
        "UNIQUE",
        "CONCURRENTLY",
        "MATERIALIZED",
        "TYPE",
        "DOMAIN",
        "FUNCTION",
        "PROCEDURE",
        "SCHEMA",
        "SEQUENCE",
        "TRIGGER",
        "EXTENSION",
        "INTO",
        "FROM",
        "ON",
        "LOCAL",
        "OR",
        "REPLACE",
        "POLICY",
        "RULE",
        "COLUMN",
        "FULL",
        "TEMPORARY",
        "TEMP",
        "UNLOGGED",
        "ROLE",
        "STATISTICS",
        "PUBLICATION",
        "DATABASE",
    ];
    let mut at = at.clone();
    let mut words: Vec<String> = Vec::new();
    while let Some(token) = at.next().filter(|token| token.kind == TokenKind::Word) {
        let word = token.span.of(at.text()).to_ascii_uppercase();
        if words.len() >= 4 || (!words.is_empty() && !MORE.contains(&word.as_str())) {
            break;
        }
        words.push(word);
    }
    words.join(" ")
}
