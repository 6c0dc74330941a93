//! Settings that disarm the engine's guard, and code that only the server can look into.

use super::super::facts::Cost;
use super::super::out::{Out, say};
use super::super::rule::Rule;
use crate::diag::Severity;
use crate::sql::{Cursor, QualifiedName, TokenKind};

pub(super) const TIMEOUT: Rule = Rule {
    code: "MH027",
    hazard: "no-lock-timeout",
    severity: Severity::Warning,
    title: "A script waits for locks without a limit",
    bad: &[
        "SET lock_timeout = 0",
        "SET LOCAL lock_timeout TO '0'",
        "SET SESSION lock_timeout = DEFAULT",
        "RESET lock_timeout",
    ],
    good: &["SET lock_timeout = '2s'", "SET LOCAL lock_timeout = 100"],
};

pub(super) const DYNAMIC: Rule = Rule {
    code: "MH030",
    hazard: "dynamic-sql",
    severity: Severity::Note,
    title: "Code that cannot be looked into",
    bad: &["DO $$ BEGIN EXECUTE 'DROP TABLE t'; END $$", "CALL cleanup()"],
    good: &["SELECT 1"],
};

/// `SET` and `RESET`, behind these words.
pub(super) fn set(mut at: Cursor<'_>, reset: bool, out: &mut Out<'_>) -> bool {
    let offset = at.peek().map_or(0, |token| token.span.range().start);
    at.eat_any(&["LOCAL", "SESSION"]);
    if !at.eat(&["LOCK_TIMEOUT"]) {
        return true;
    }
    at.eat(&["TO"]);
    at.eat_kind(TokenKind::Operator);
    let value = at.next().map(|token| token.span.of(at.text()).trim_matches('\'').to_ascii_lowercase());
    let digits = |value: &str| value.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ').to_owned();
    let off = value.is_some_and(|value| value == "default" || digits(&value) == "0");
    if off || reset {
        let name = QualifiedName { schema: None, name: "lock_timeout".to_owned() };
        let words = "everybody queues behind a statement that waits for its lock, for as long as it waits";
        let safe = "leave lock_timeout alone: migengine sets it; or say `-- Lock-timeout: 2s` in the header";
        out.find(&TIMEOUT, &name, None, offset, Cost::default(), say(words, safe));
    }
    true
}

/// `DO` and `CALL`.
pub(super) fn dynamic(at: &Cursor<'_>, what: &str, out: &mut Out<'_>) {
    let offset = at.peek().map_or(0, |token| token.span.range().start);
    let name = QualifiedName { schema: None, name: what.to_ascii_lowercase() };
    let words = format!("what {what} does to tables cannot be told from its text");
    let safe = "write statements on tables out as plain SQL, or try the migration on a copy first";
    out.find(&DYNAMIC, &name, None, offset, Cost::default(), say(words, safe));
}
