//! Statements that change rows.

use super::super::facts::Cost;
use super::super::lock::{LockMode, LockOn};
use super::super::out::{Out, say};
use super::super::read::Read;
use super::super::rule::Rule;
use crate::diag::Severity;
use crate::sql::Cursor;

pub(super) const TRUNCATE: Rule = Rule {
    code: "MH015",
    hazard: "truncate",
    severity: Severity::Warning,
    title: "All rows of a table are thrown away",
    bad: &["TRUNCATE t", "TRUNCATE TABLE ONLY s.t, u RESTART IDENTITY CASCADE"],
    good: &["CREATE TABLE t (a int); TRUNCATE t"],
};

pub(super) const WHOLE: Rule = Rule {
    code: "MH022",
    hazard: "whole-table-update",
    severity: Severity::Warning,
    title: "All rows of a table are changed at once",
    bad: &["UPDATE t SET a = 1", "DELETE FROM t", "UPDATE ONLY s.t AS x SET a = (SELECT b FROM u WHERE u.id = x.id)"],
    good: &[
        "UPDATE t SET a = 1 WHERE id = 7",
        "DELETE FROM t WHERE a < 7",
        "-- chunk: t by id\nUPDATE t SET a = 1",
        "CREATE TABLE t (a int); UPDATE t SET a = 1",
    ],
};

/// Behind `UPDATE` or `DELETE FROM`.
pub(super) fn change(mut at: Cursor<'_>, delete: bool, chunked: bool, out: &mut Out<'_>) -> bool {
    at.eat(&["ONLY"]);
    let offset = at.offset();
    let Some(table) = at.name() else { return false };
    out.lock_on(&table, LockMode::RowExclusive, LockOn::Tree);
    if at.has(&["WHERE"]) || chunked {
        return true;
    }
    let safe = format!(
        "`-- chunk: {} by …` above it, which runs it in pieces over a key, each with a short transaction of its own",
        table.name
    );
    let cost = Cost { data_loss: delete, ..Cost::scan(LockMode::RowExclusive) };
    let words = if delete {
        format!(
            "all rows of {table} are deleted in one transaction, and other writers of these rows wait until it ends"
        )
    } else {
        format!(
            "all rows of {table} are written again in one transaction, and other writers of these rows wait until it ends"
        )
    };
    out.find(&WHOLE, &table, None, offset, cost, say(words, safe));
    true
}

/// Behind `TRUNCATE`.
pub(super) fn truncate(mut at: Cursor<'_>, out: &mut Out<'_>) -> bool {
    at.eat(&["TABLE"]);
    let offset = at.offset();
    let cascade = at.has(&["CASCADE"]);
    let items = at.until(&["RESTART", "CONTINUE", "CASCADE", "RESTRICT"]).items();
    let known = !items.is_empty();
    for mut item in items {
        let only = item.eat(&["ONLY"]);
        let Some(table) = item.name() else { return false };
        out.lock_on(&table, LockMode::AccessExclusive, if only { LockOn::Itself } else { LockOn::Tree });
        if cascade {
            out.lock_on(&table, LockMode::AccessExclusive, LockOn::Referencing);
        }
        let also = if cascade { ", and those of every table that references it," } else { "" };
        let words = format!(
            "all rows of {table}{also} are gone; reads and writes of users are blocked until the transaction ends"
        );
        let safe = format!("DELETE FROM {table} in pieces, with `-- chunk: {} by …` above it", table.name);
        let cost = Cost { breaks_application: false, ..Cost::loss() };
        out.find(&TRUNCATE, &table, None, offset, cost, say(words, safe));
    }
    known
}

/// `INSERT INTO`, `MERGE INTO` and `COPY`, behind these words: a lock that hinders nobody.
pub(super) fn insert(mut at: Cursor<'_>, out: &mut Out<'_>) -> bool {
    at.eat(&["ONLY"]);
    let Some(table) = at.name() else { return true };
    out.lock(&table, LockMode::RowExclusive);
    true
}

/// Behind `COPY`.
pub(super) fn copy(mut at: Cursor<'_>, out: &mut Out<'_>) -> bool {
    let Some(table) = at.name() else { return true };
    at.parenthesized();
    if at.eat(&["FROM"]) {
        out.lock(&table, LockMode::RowExclusive);
    } else {
        out.scans(&table);
    }
    true
}
