//! Indexes.

use super::super::facts::Cost;
use super::super::lock::{LockMode, LockOn};
use super::super::out::{Out, made_name, say};
use super::super::read::Read;
use super::super::rule::Rule;
use crate::diag::Severity;
use crate::sql::{Cursor, TokenKind};

pub(super) const BUILD: Rule = Rule {
    code: "MH009",
    hazard: "blocking-index",
    severity: Severity::Warning,
    title: "An index is built while all writers wait",
    bad: &["CREATE INDEX i ON t (a)", "CREATE UNIQUE INDEX ON s.t USING btree (lower(a)) WHERE a IS NOT NULL"],
    good: &[
        "CREATE INDEX CONCURRENTLY i ON t (a)",
        "CREATE TABLE t (a int); CREATE INDEX i ON t (a)",
        "CREATE INDEX i ON ONLY t (a)",
    ],
};

pub(super) const REINDEX: Rule = Rule {
    code: "MH010",
    hazard: "blocking-reindex",
    severity: Severity::Warning,
    title: "An index is built anew while everybody waits",
    bad: &["REINDEX INDEX i", "REINDEX TABLE t", "REINDEX (VERBOSE) TABLE t"],
    good: &["REINDEX INDEX CONCURRENTLY i", "REINDEX (CONCURRENTLY) TABLE t"],
};

pub(super) const DROPPED: Rule = Rule {
    code: "MH011",
    hazard: "drop-index",
    severity: Severity::Note,
    title: "Dropping an index locks its table",
    bad: &["DROP INDEX i", "DROP INDEX IF EXISTS s.i, j"],
    good: &["DROP INDEX CONCURRENTLY i"],
};

pub(super) const INVALID: Rule = Rule {
    code: "MH029",
    hazard: "invalid-index",
    severity: Severity::Note,
    title: "IF NOT EXISTS is satisfied by an invalid index",
    bad: &["CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a)"],
    good: &["CREATE INDEX CONCURRENTLY i ON t (a)"],
};

/// Behind `CREATE [UNIQUE] INDEX`.
pub(super) fn create(mut at: Cursor<'_>, unique: bool, out: &mut Out<'_>) -> bool {
    let offset = at.offset();
    let concurrently = at.eat(&["CONCURRENTLY"]);
    let if_not_exists = at.eat(&["IF", "NOT", "EXISTS"]);
    let name = if at.eat(&["ON"]) {
        None
    } else {
        let name = at.name();
        at.eat(&["ON"]);
        name
    };
    let only = at.eat(&["ONLY"]);
    let Some(table) = at.name() else { return false };
    if only {
        // On the parent of partitions this makes an empty, invalid index. On any other table ONLY is an error.
        out.lock(&table, LockMode::Share);
        return true;
    }
    let body = at.rest();
    let named = name.as_ref().map_or_else(|| made_name(&[&table.name, "idx"]), ToString::to_string);
    if concurrently {
        out.lock(&table, LockMode::ShareUpdateExclusive);
        out.scans(&table);
        if if_not_exists {
            let words = format!("if an earlier attempt left {named} behind as invalid, this does nothing and succeeds");
            let safe = format!(
                "DROP INDEX CONCURRENTLY IF EXISTS {named}; then CREATE INDEX CONCURRENTLY without IF NOT EXISTS"
            );
            out.find(&INVALID, &table, None, offset, Cost::default(), say(words, safe));
        }
        return true;
    }
    out.lock_on(&table, LockMode::Share, LockOn::Tree);
    let words = format!("building {named} blocks writes of users to {table} until the transaction ends");
    let unique = if unique { "UNIQUE " } else { "" };
    let safe = if out.context.partitioned.contains(&super::super::context::canonical(&table)) {
        format!(
            "CREATE {unique}INDEX {named} ON ONLY {table} {body}; CREATE INDEX CONCURRENTLY on each partition; \
             ALTER INDEX {named} ATTACH PARTITION each of them"
        )
    } else {
        format!("-- Transaction: false, CREATE {unique}INDEX CONCURRENTLY {named} ON {table} {body}")
    };
    out.find(&BUILD, &table, None, offset, Cost::scan(LockMode::Share), say(words, safe));
    true
}

/// Behind `DROP INDEX`.
pub(super) fn drop(mut at: Cursor<'_>, out: &mut Out<'_>) -> bool {
    let concurrently = at.eat(&["CONCURRENTLY"]);
    at.eat(&["IF", "EXISTS"]);
    let offset = at.offset();
    let names = at.names();
    for index in &names {
        let mode = if concurrently { LockMode::ShareUpdateExclusive } else { LockMode::AccessExclusive };
        out.lock_on(index, mode, LockOn::TableOfIndex);
        if !concurrently {
            let words =
                format!("dropping {index} blocks reads and writes of users of its table until the transaction ends");
            let safe = format!("-- Transaction: false, DROP INDEX CONCURRENTLY {index}");
            out.find(&DROPPED, index, None, offset, Cost::lock(LockMode::AccessExclusive), say(words, safe));
        }
    }
    !names.is_empty()
}

/// Behind `REINDEX`. Reads wait too, because planning a query locks each index of its tables.
pub(super) fn reindex(mut at: Cursor<'_>, out: &mut Out<'_>) -> bool {
    let mut concurrently = false;
    if at.peek().is_some_and(|token| token.kind == TokenKind::LParen) {
        let options = at.parenthesized().unwrap_or_default();
        concurrently = options.iter().any(|word| word == "CONCURRENTLY") && !options.iter().any(|word| word == "OFF");
    }
    let Some(kind) = at.eat_any(&["INDEX", "TABLE", "SCHEMA", "DATABASE", "SYSTEM"]) else { return false };
    concurrently |= at.eat(&["CONCURRENTLY"]);
    let offset = at.offset();
    let Some(object) = at.name() else { return false };
    let on = if kind == "INDEX" { LockOn::TableOfIndex } else { LockOn::Tree };
    let mode = if concurrently { LockMode::ShareUpdateExclusive } else { LockMode::Share };
    if !matches!(kind, "INDEX" | "TABLE") {
        return false;
    }
    out.lock_on(&object, mode, on);
    out.scans(&object);
    if !concurrently {
        let words = format!(
            "REINDEX {kind} {object} blocks writes of users while it builds, and reads too, as planning a query locks the index"
        );
        let safe = format!("-- Transaction: false, REINDEX {kind} CONCURRENTLY {object}");
        out.find(&REINDEX, &object, None, offset, Cost::scan(LockMode::AccessExclusive), say(words, safe));
    }
    true
}
