//! `VACUUM`, `CLUSTER`, `REFRESH MATERIALIZED VIEW`, and statements that lock a table for little.

use super::super::facts::Cost;
use super::super::lock::{LockMode, LockOn};
use super::super::out::{Out, say};
use super::super::read::Read;
use super::super::rule::Rule;
use crate::diag::Severity;
use crate::sql::{Cursor, QualifiedName, TokenKind};

pub(super) const FULL: Rule = Rule {
    code: "MH003",
    hazard: "rewrite",
    severity: Severity::Warning,
    title: "A table is packed by writing it anew",
    bad: &["VACUUM FULL t", "VACUUM (FULL, ANALYZE) t", "CLUSTER t USING i", "CLUSTER VERBOSE t"],
    good: &["VACUUM t", "VACUUM (ANALYZE) t", "VACUUM (FULL false) t", "ANALYZE t"],
};

pub(super) const REFRESH: Rule = Rule {
    code: "MH025",
    hazard: "refresh",
    severity: Severity::Warning,
    title: "A materialized view is filled while its readers wait",
    bad: &["REFRESH MATERIALIZED VIEW m"],
    good: &["REFRESH MATERIALIZED VIEW CONCURRENTLY m", "REFRESH MATERIALIZED VIEW m WITH NO DATA"],
};

pub(super) const LOCK: Rule = Rule {
    code: "MH031",
    hazard: "lock-table",
    severity: Severity::Warning,
    title: "A table is locked by hand",
    bad: &["LOCK TABLE t", "LOCK t, u IN SHARE ROW EXCLUSIVE MODE"],
    good: &["LOCK TABLE t IN SHARE UPDATE EXCLUSIVE MODE", "CREATE TABLE t (a int); LOCK TABLE t"],
};

/// Behind `VACUUM`.
pub(super) fn vacuum(mut at: Cursor<'_>, out: &mut Out<'_>) -> bool {
    let mut full = false;
    if at.peek().is_some_and(|token| token.kind == TokenKind::LParen) {
        let options = at.parenthesized().unwrap_or_default();
        let value = options.iter().position(|word| word == "FULL").map(|index| options.get(index + 1));
        full = value.is_some_and(|value| !value.is_some_and(|value| matches!(value.as_str(), "FALSE" | "OFF" | "0")));
    }
    while let Some(word) = at.eat_any(&["FULL", "FREEZE", "VERBOSE", "ANALYZE", "ANALYSE"]) {
        full |= word == "FULL";
    }
    each_table(at, out, |table, offset, out| {
        let mode = if full { LockMode::AccessExclusive } else { LockMode::ShareUpdateExclusive };
        out.lock(table, mode);
        if full {
            packed(table, "VACUUM FULL", offset, out);
        }
    })
}

fn packed(table: &QualifiedName, verb: &str, offset: usize, out: &mut Out<'_>) {
    let words = format!("{verb} blocks reads and writes of users while it rewrites {table}");
    let safe = format!("VACUUM {table}, which blocks nobody; to give space back, pg_repack or pg_squeeze on {table}");
    out.find(&FULL, table, None, offset, Cost::rewrite(), say(words, safe));
}

/// Behind `CLUSTER`.
pub(super) fn cluster(mut at: Cursor<'_>, out: &mut Out<'_>) -> bool {
    at.parenthesized();
    at.eat(&["VERBOSE"]);
    let offset = at.offset();
    let Some(table) = at.name() else { return false };
    out.lock(&table, LockMode::AccessExclusive);
    packed(&table, "CLUSTER", offset, out);
    true
}

/// Behind `ANALYZE`.
pub(super) fn analyze(mut at: Cursor<'_>, out: &mut Out<'_>) -> bool {
    at.parenthesized();
    at.eat(&["VERBOSE"]);
    each_table(at, out, |table, _, out| out.lock_on(table, LockMode::ShareUpdateExclusive, LockOn::Itself))
}

fn each_table(mut at: Cursor<'_>, out: &mut Out<'_>, act: impl Fn(&QualifiedName, usize, &mut Out<'_>)) -> bool {
    let items = at.items();
    for mut item in items {
        let offset = item.offset();
        item.eat(&["ONLY"]);
        if let Some(table) = item.name() {
            act(&table, offset, out);
        }
    }
    true
}

/// Behind `REFRESH MATERIALIZED VIEW`.
pub(super) fn refresh(mut at: Cursor<'_>, out: &mut Out<'_>) -> bool {
    let concurrently = at.eat(&["CONCURRENTLY"]);
    let offset = at.offset();
    let Some(view) = at.name() else { return false };
    let empty = at.has(&["NO", "DATA"]);
    out.lock(&view, if concurrently { LockMode::Exclusive } else { LockMode::AccessExclusive });
    if !empty {
        out.scans(&view);
    }
    if !concurrently && !empty {
        let words = format!("REFRESH blocks readers of {view} while it runs the view's query");
        let safe = format!("REFRESH MATERIALIZED VIEW CONCURRENTLY {view}; it needs a unique index on {view}");
        out.find(&REFRESH, &view, None, offset, Cost::rewrite(), say(words, safe));
    }
    true
}

/// Behind `LOCK`.
pub(super) fn lock_table(mut at: Cursor<'_>, out: &mut Out<'_>) -> bool {
    at.eat(&["TABLE"]);
    let offset = at.offset();
    let mut mode = at.clone();
    let mode = if mode.find(&["IN"]) {
        let words = mode.until(&["MODE"]).rest().to_ascii_uppercase();
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        LockMode::ALL.into_iter().find(|mode| mode.as_sql() == words)
    } else {
        Some(LockMode::AccessExclusive)
    };
    let Some(mode) = mode else { return false };
    let tables = at.until(&["IN", "NOWAIT"]).items();
    for mut item in tables {
        item.eat(&["ONLY"]);
        let Some(table) = item.name() else { return false };
        out.lock_on(&table, mode, LockOn::Tree);
        if mode >= LockMode::Share {
            let words = format!("LOCK {} users of {table} until the transaction ends", mode.blocks());
            let safe = format!(
                "leave it to the statement that needs it; else LOCK TABLE {table} IN the weakest MODE that does"
            );
            out.find(&LOCK, &table, None, offset, Cost::lock(mode), say(words, safe));
        }
    }
    true
}
