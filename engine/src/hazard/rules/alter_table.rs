//! `ALTER TABLE`: each of its actions goes to its own rule; what is left takes a lock and nothing else.

use super::super::context::canonical;
use super::super::facts::Cost;
use super::super::lock::{LockMode, LockOn};
use super::super::out::{Out, say};
use super::super::read::Read;
use super::super::rule::Rule;
use super::{add_column, column_type, constraint, drop, not_null, partition, rename};
use crate::diag::Severity;
use crate::sql::{Cursor, QualifiedName};

pub(super) const STORAGE: Rule = Rule {
    code: "MH004",
    hazard: "rewrite",
    severity: Severity::Warning,
    title: "A table moves, and is written anew",
    bad: &[
        "ALTER TABLE t SET UNLOGGED",
        "ALTER TABLE t SET LOGGED",
        "ALTER TABLE t SET TABLESPACE fast",
        "ALTER TABLE t SET ACCESS METHOD heap2",
    ],
    good: &["ALTER TABLE t SET (fillfactor = 70)", "ALTER INDEX i SET TABLESPACE fast"],
};

/// Behind `ALTER TABLE`, `ALTER FOREIGN TABLE` or `ALTER MATERIALIZED VIEW`. Whether it was understood.
pub(super) fn alter_table(mut at: Cursor<'_>, out: &mut Out<'_>) -> bool {
    if at.eat(&["ALL", "IN", "TABLESPACE"]) {
        return false;
    }
    at.eat(&["IF", "EXISTS"]);
    let only = at.eat(&["ONLY"]);
    let Some(table) = at.name() else { return false };
    if at.peek().is_some_and(|token| token.span.of(at.text()) == "*") {
        at.next();
    }
    let actions = at.items();
    let mut known = !actions.is_empty();
    for action in actions {
        known &= one(action, &table, only, out);
    }
    known
}

fn one(mut at: Cursor<'_>, table: &QualifiedName, only: bool, out: &mut Out<'_>) -> bool {
    let tree = if only { LockOn::Itself } else { LockOn::Tree };
    let offset = at.offset();
    let verbs = [
        "ADD", "DROP", "ALTER", "RENAME", "SET", "RESET", "VALIDATE", "ATTACH", "DETACH", "ENABLE", "DISABLE",
        "CLUSTER", "OWNER", "REPLICA", "INHERIT", "NO", "FORCE", "OF", "NOT",
    ];
    match at.eat_any(&verbs).unwrap_or_default() {
        "ADD" => return add(at, table, tree, out),
        "DROP" if at.eat(&["CONSTRAINT"]) => constraint::drop_constraint(at, table, out),
        "DROP" => {
            at.eat(&["COLUMN"]);
            out.lock_on(table, LockMode::AccessExclusive, tree);
            drop::column(at, table, offset, out);
        }
        "ALTER" if at.eat(&["CONSTRAINT"]) => {
            out.lock_on(table, LockMode::AccessExclusive, tree);
        }
        "ALTER" => return alter_column(at, table, tree, out),
        "RENAME" => rename::in_table(at, table, offset, out),
        "SET" => return set(at, table, tree, offset, out),
        "RESET" | "CLUSTER" => out.lock(table, LockMode::ShareUpdateExclusive),
        "VALIDATE" => constraint::validate(table, out),
        "ATTACH" if at.eat(&["PARTITION"]) => partition::attach(at, table, offset, out),
        "DETACH" if at.eat(&["PARTITION"]) => partition::detach(at, table, offset, out),
        "ENABLE" | "DISABLE" => return switch(at, table, out),
        "INHERIT" | "NO" => {
            at.eat(&["INHERIT"]);
            out.lock(table, LockMode::AccessExclusive);
            if let Some(parent) = at.name() {
                out.lock(&parent, LockMode::ShareUpdateExclusive);
            }
        }
        "" => return false,
        _ => out.lock(table, LockMode::AccessExclusive),
    }
    true
}

fn add(mut at: Cursor<'_>, table: &QualifiedName, tree: LockOn, out: &mut Out<'_>) -> bool {
    if at.eat(&["COLUMN"]) {
        out.lock_on(table, LockMode::AccessExclusive, tree);
        add_column::add_column(at, table, out);
        return true;
    }
    if constraint::add(at.clone(), table, out) {
        return true;
    }
    out.lock_on(table, LockMode::AccessExclusive, tree);
    add_column::add_column(at, table, out);
    true
}

fn alter_column(mut at: Cursor<'_>, table: &QualifiedName, tree: LockOn, out: &mut Out<'_>) -> bool {
    at.eat(&["COLUMN"]);
    let offset = at.offset();
    let Some(column) = at.column() else { return false };
    let statistics = at.clone().eat(&["SET", "STATISTICS"]);
    let options = (at.clone().eat(&["SET"]) || at.clone().eat(&["RESET"])) && {
        let mut ahead = at.clone();
        ahead.next();
        ahead.peek().is_some_and(|token| token.kind == crate::sql::TokenKind::LParen)
    };
    if statistics || options {
        out.lock_on(table, LockMode::ShareUpdateExclusive, tree);
        return true;
    }
    out.lock_on(table, LockMode::AccessExclusive, tree);
    if at.eat(&["SET", "NOT", "NULL"]) {
        not_null::scan(table, &column, offset, out);
    } else if at.eat(&["TYPE"]) || at.eat(&["SET", "DATA", "TYPE"]) {
        column_type::alter_type(at, table, &column, out);
    } else {
        let known = [
            &["SET", "DEFAULT"][..],
            &["DROP", "DEFAULT"],
            &["DROP", "NOT", "NULL"],
            &["SET", "STORAGE"],
            &["SET", "COMPRESSION"],
            &["ADD", "GENERATED"],
            &["DROP", "IDENTITY"],
            &["DROP", "EXPRESSION"],
            &["SET", "GENERATED"],
            &["RESTART"],
        ];
        return known.iter().any(|words| at.clone().eat(words));
    }
    true
}

fn set(mut at: Cursor<'_>, table: &QualifiedName, tree: LockOn, offset: usize, out: &mut Out<'_>) -> bool {
    if at.peek().is_some_and(|token| token.kind == crate::sql::TokenKind::LParen) {
        out.lock(table, LockMode::ShareUpdateExclusive);
        return true;
    }
    if at.eat(&["SCHEMA"]) {
        out.lock(table, LockMode::AccessExclusive);
        let new = at.column().unwrap_or_default();
        rename::moved(table, &new, offset, out);
        return true;
    }
    let what = at.eat_any(&["UNLOGGED", "LOGGED", "TABLESPACE", "ACCESS", "WITHOUT", "EXPRESSION"]).unwrap_or_default();
    out.lock_on(table, LockMode::AccessExclusive, if what == "TABLESPACE" { LockOn::Itself } else { tree });
    if !matches!(what, "UNLOGGED" | "LOGGED" | "TABLESPACE" | "ACCESS") {
        return what == "WITHOUT";
    }
    let words = format!(
        "this blocks reads and writes of users while it rewrites {table}{}",
        if what == "UNLOGGED" { "; afterwards a crash of the server empties it" } else { "" }
    );
    let safe =
        format!("create a table of the wanted kind, copy {table} into it in pieces (`-- chunk:`), and swap the names");
    out.find(&STORAGE, table, None, offset, Cost::rewrite(), say(words, safe));
    true
}

fn switch(mut at: Cursor<'_>, table: &QualifiedName, out: &mut Out<'_>) -> bool {
    at.eat_any(&["REPLICA", "ALWAYS"]);
    let trigger = at.eat(&["TRIGGER"]);
    let mode = if trigger { LockMode::ShareRowExclusive } else { LockMode::AccessExclusive };
    out.lock_on(table, mode, if trigger { LockOn::Tree } else { LockOn::Itself });
    trigger || at.eat(&["RULE"]) || at.eat(&["ROW", "LEVEL", "SECURITY"])
}

/// `ALTER INDEX`, behind these words.
pub(super) fn alter_index(mut at: Cursor<'_>, out: &mut Out<'_>) -> bool {
    at.eat(&["IF", "EXISTS"]);
    let Some(index) = at.name() else { return false };
    let mode = if at.has(&["TABLESPACE"]) { LockMode::AccessExclusive } else { LockMode::ShareUpdateExclusive };
    out.lock(&canonical(&index), mode);
    true
}
