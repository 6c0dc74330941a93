//! `DROP`, of a column, a table, and everything else.

use super::super::facts::Cost;
use super::super::lock::{LockMode, LockOn};
use super::super::out::{Out, say};
use super::super::read::Read;
use super::super::rule::Rule;
use crate::diag::Severity;
use crate::sql::{Cursor, QualifiedName, TokenKind, quote_ident};

pub(super) const COLUMN: Rule = Rule {
    code: "MH012",
    hazard: "drop-column",
    severity: Severity::Warning,
    title: "A column is dropped with its data",
    bad: &["ALTER TABLE t DROP COLUMN a", "ALTER TABLE t DROP IF EXISTS a"],
    good: &["CREATE TABLE t (a int); ALTER TABLE t DROP COLUMN a"],
};

pub(super) const TABLE: Rule = Rule {
    code: "MH013",
    hazard: "drop-table",
    severity: Severity::Warning,
    title: "A table is dropped with its data",
    bad: &["DROP TABLE t", "DROP TABLE IF EXISTS s.t, u", "DROP MATERIALIZED VIEW m"],
    good: &["CREATE TABLE t (a int); DROP TABLE t"],
};

pub(super) const CASCADE: Rule = Rule {
    code: "MH014",
    hazard: "drop-cascade",
    severity: Severity::Warning,
    title: "A drop takes along what depends on it",
    bad: &[
        "DROP SCHEMA s CASCADE",
        "DROP TYPE t CASCADE",
        "DROP OWNED BY r",
        "DROP DATABASE d",
        "DROP EXTENSION e CASCADE",
    ],
    good: &["DROP SCHEMA s"],
};

pub(super) const OTHER: Rule = Rule {
    code: "MH036",
    hazard: "drop-object",
    severity: Severity::Warning,
    title: "Something the application may use is dropped",
    bad: &[
        "DROP VIEW v",
        "DROP FUNCTION f(int)",
        "DROP SEQUENCE s",
        "DROP TRIGGER g ON t",
        "DROP TYPE y",
        "DROP POLICY p ON t",
    ],
    good: &["CREATE VIEW v AS SELECT 1; DROP VIEW v", "DROP ROLE r"],
};

/// Behind `DROP COLUMN`.
pub(super) fn column(mut at: Cursor<'_>, table: &QualifiedName, offset: usize, out: &mut Out<'_>) {
    at.eat(&["IF", "EXISTS"]);
    let Some(column) = at.column() else { return };
    let written = quote_ident(&column);
    let words = format!("the data in {written} of {table} is lost, and applications that name it fail");
    let safe = format!(
        "deploy the application without {written} first; drop its indexes with DROP INDEX CONCURRENTLY; \
         then say `-- Allow: drop-column({table}.{written})`"
    );
    out.find(&COLUMN, table, Some(&column), offset, Cost::loss(), say(words, safe));
}

/// Kinds of object whose drop somebody may notice.
const KINDS: &[&str] = &[
    "VIEW",
    "FUNCTION",
    "PROCEDURE",
    "ROUTINE",
    "AGGREGATE",
    "SEQUENCE",
    "TYPE",
    "DOMAIN",
    "TRIGGER",
    "POLICY",
    "RULE",
    "SCHEMA",
    "EXTENSION",
    "OWNED",
    "DATABASE",
    "FOREIGN",
    "OPERATOR",
    "CAST",
    "COLLATION",
    "SERVER",
    "PUBLICATION",
    "STATISTICS",
    "ROLE",
    "USER",
    "GROUP",
    "EVENT",
    "LANGUAGE",
    "TEXT",
    "SUBSCRIPTION",
    "TRANSFORM",
    "TABLESPACE",
    "ACCESS",
    "CONVERSION",
];

/// Behind `DROP`; indexes are elsewhere.
pub(super) fn drop(mut at: Cursor<'_>, out: &mut Out<'_>) -> bool {
    if at.eat(&["TABLE"]) || at.eat(&["FOREIGN", "TABLE"]) {
        return tables(at, false, out);
    }
    if at.eat(&["MATERIALIZED", "VIEW"]) {
        return tables(at, true, out);
    }
    let Some(kind) = at.eat_any(KINDS) else { return false };
    at.eat(&["BY"]);
    at.eat(&["IF", "EXISTS"]);
    let offset = at.offset();
    let cascade = at.has(&["CASCADE"]);
    if cascade || kind == "OWNED" || kind == "DATABASE" {
        let Some(object) = at.name() else { return false };
        if kind == "VIEW" {
            out.lock(&object, LockMode::AccessExclusive);
        }
        let words = format!("everything that depends on {object} goes too, data included");
        let safe = "drop each dependent by its own statement, so that the list is read by somebody".to_owned();
        out.find(&CASCADE, &object, None, offset, Cost::loss(), say(words, safe));
        return true;
    }
    match kind {
        "TRIGGER" | "POLICY" | "RULE" => on_table(at, kind, offset, out),
        "VIEW" | "FUNCTION" | "PROCEDURE" | "ROUTINE" | "AGGREGATE" | "SEQUENCE" | "TYPE" | "DOMAIN" => {
            let items = at.items();
            for mut item in items {
                let Some(object) = item.name() else { continue };
                if kind == "VIEW" {
                    out.lock(&object, LockMode::AccessExclusive);
                }
                gone(kind, &object, offset, out);
            }
            true
        }
        _ => true,
    }
}

fn gone(kind: &str, object: &QualifiedName, offset: usize, out: &mut Out<'_>) {
    let words = format!("applications that use the {} {object} fail", kind.to_ascii_lowercase());
    let safe = format!("deploy applications that do without it first; then say `-- Allow: drop-object({object})`");
    out.find(&OTHER, object, None, offset, Cost::breaking(), say(words, safe));
}

fn on_table(mut at: Cursor<'_>, kind: &str, offset: usize, out: &mut Out<'_>) -> bool {
    let Some(name) = at.column() else { return false };
    if !at.eat(&["ON"]) {
        return false;
    }
    let Some(table) = at.name() else { return false };
    out.lock(&table, LockMode::AccessExclusive);
    let words =
        format!("what the {} {} did on {table} is no longer done", kind.to_ascii_lowercase(), quote_ident(&name));
    let safe = format!(
        "make sure that nothing relies on it; then say `-- Allow: drop-object({table}.{})`",
        quote_ident(&name)
    );
    out.find(&OTHER, &table, Some(&name), offset, Cost::breaking(), say(words, safe));
    true
}

fn tables(mut at: Cursor<'_>, view: bool, out: &mut Out<'_>) -> bool {
    at.eat(&["IF", "EXISTS"]);
    let offset = at.offset();
    let cascade = at.has(&["CASCADE"]);
    let names = at.names();
    for table in &names {
        out.lock_on(table, LockMode::AccessExclusive, LockOn::Tree);
        out.lock_on(table, LockMode::AccessExclusive, LockOn::Referenced);
        out.lock_on(table, LockMode::AccessExclusive, LockOn::ParentOf);
        if cascade {
            out.lock_on(table, LockMode::AccessExclusive, LockOn::Referencing);
        }
        let words = if view {
            format!("{table} is lost, and applications that read it fail")
        } else {
            format!(
                "the data of {table} is lost, and reads and writes of users of each table that it references are blocked \
                 until the transaction ends"
            )
        };
        let safe = format!(
            "drop its foreign keys in transactions of their own; ALTER TABLE {table} RENAME TO {}; wait a while; \
             then drop that with `-- Allow: drop-table(…)`",
            quote_ident(&format!("{}_unused", table.name))
        );
        let safe = if view { format!("deploy applications that do without {table} first") } else { safe };
        out.find(&TABLE, table, None, offset, Cost::loss(), say(words, safe));
    }
    at.eat_kind(TokenKind::Comma);
    !names.is_empty()
}
