//! `ALTER TABLE … ALTER COLUMN … TYPE`.

use super::super::facts::Cost;
use super::super::kind::{Change, TypeName, change, type_name};
use super::super::lock::LockMode;
use super::super::out::{Out, say};
use super::super::read::Read;
use super::super::rule::Rule;
use crate::diag::Severity;
use crate::sql::{Cursor, QualifiedName, quote_ident};

pub(super) const REWRITE: Rule = Rule {
    code: "MH002",
    hazard: "rewrite",
    severity: Severity::Warning,
    title: "A new type writes the whole table anew",
    bad: &[
        "ALTER TABLE t ALTER COLUMN a TYPE bigint",
        "ALTER TABLE t ALTER a SET DATA TYPE int USING a::int",
        "CREATE TABLE s (a varchar(20)); ALTER TABLE t ALTER a TYPE date",
    ],
    good: &["CREATE TABLE t (a int); ALTER TABLE t ALTER COLUMN a TYPE bigint"],
};

pub(super) const MAYBE: Rule = Rule {
    code: "MH038",
    hazard: "rewrite",
    severity: Severity::Note,
    title: "A new type may write the whole table anew",
    bad: &["ALTER TABLE t ALTER COLUMN a TYPE text", "ALTER TABLE t ALTER a TYPE varchar(200)"],
    good: &["CREATE TABLE t (a int); ALTER TABLE t ALTER COLUMN a TYPE text"],
};

/// Behind `TYPE`.
pub(super) fn alter_type(mut at: Cursor<'_>, table: &QualifiedName, column: &str, out: &mut Out<'_>) {
    let offset = at.offset();
    let Some(to) = type_name(&mut at) else { return };
    let from = out.context.column_type(table, column).cloned();
    let verdict =
        if at.has(&["USING"]) && !only_casts(&at, column, &to) { Change::Rewrite } else { change(from.as_ref(), &to) };
    let written = quote_ident(column);
    let new = shown(&to);
    let safe = format!(
        "ALTER TABLE {table} ADD COLUMN {} {new}; keep it equal by a trigger; fill it in pieces (`-- chunk:`); \
         then swap the names in one short transaction",
        quote_ident(&format!("{column}_new"))
    );
    let unless = |why: &str| format!("{written} of {table} becomes {new}: {why}");
    match verdict {
        Change::Free => {}
        Change::Rewrite => {
            let words =
                format!("changing {written} to {new} blocks reads and writes of users while it rewrites {table}");
            out.find(&REWRITE, table, None, offset, Cost::rewrite(), say(words, safe));
        }
        Change::Likely => {
            let words = unless("free from a like type; from any other the table is rewritten");
            out.find(&MAYBE, table, None, offset, Cost::lock(LockMode::AccessExclusive), say(words, safe));
        }
        Change::FreeAtUtc => {
            let words = unless("the table is rewritten unless the session's TimeZone is UTC");
            let safe = "SET LOCAL timezone = 'UTC' in the same transaction, if the old values are meant in UTC";
            out.find(&MAYBE, table, None, offset, Cost::lock(LockMode::AccessExclusive), say(words, safe));
        }
    }
}

/// `USING a::text` says nothing that the change would not do by itself.
fn only_casts(at: &Cursor<'_>, column: &str, to: &TypeName) -> bool {
    let mut at = at.clone();
    at.find(&["USING"]);
    let same = at.column().as_deref() == Some(column);
    if !same {
        return false;
    }
    match at.next() {
        None => true,
        Some(token) => {
            token.span.of(at.text()) == "::" && type_name(&mut at).as_ref() == Some(to) && at.peek().is_none()
        }
    }
}

fn shown(kind: &TypeName) -> String {
    let modifiers: Vec<String> = kind.modifiers.iter().map(u32::to_string).collect();
    let modifiers = if modifiers.is_empty() { String::new() } else { format!("({})", modifiers.join(", ")) };
    let base = match kind.base.as_str() {
        "int4" => "integer",
        "int8" => "bigint",
        "int2" => "smallint",
        "bpchar" => "char",
        "bool" => "boolean",
        other => other,
    };
    format!("{base}{modifiers}{}", if kind.array { "[]" } else { "" })
}
