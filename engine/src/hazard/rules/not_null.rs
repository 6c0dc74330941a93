//! `ALTER COLUMN … SET NOT NULL`.

use super::super::context::canonical;
use super::super::facts::Cost;
use super::super::lock::LockMode;
use super::super::out::{Out, made_name, say};
use super::super::rule::Rule;
use crate::diag::Severity;
use crate::sql::{QualifiedName, quote_ident};

pub(super) const RULE: Rule = Rule {
    code: "MH005",
    hazard: "not-null-scan",
    severity: Severity::Warning,
    title: "Forbidding nulls reads the whole table",
    bad: &[
        "ALTER TABLE t ALTER COLUMN a SET NOT NULL",
        "ALTER TABLE t ADD CONSTRAINT c CHECK (a IS NOT NULL) NOT VALID; ALTER TABLE t ALTER a SET NOT NULL",
    ],
    good: &[
        "ALTER TABLE t ADD CONSTRAINT c CHECK (a IS NOT NULL) NOT VALID; ALTER TABLE t VALIDATE CONSTRAINT c; \
         ALTER TABLE t ALTER COLUMN a SET NOT NULL",
        "CREATE TABLE t (a int); ALTER TABLE t ALTER COLUMN a SET NOT NULL",
    ],
};

/// The scan is skipped where a valid check proves the point (PostgreSQL 12).
pub(super) fn scan(table: &QualifiedName, column: &str, offset: usize, out: &mut Out<'_>) {
    let key = (canonical(table), column.to_owned());
    if out.context.never_null.contains(&key) || out.context.not_null.contains(&key) {
        return;
    }
    let written = quote_ident(column);
    let name = made_name(&[&table.name, column, "not_null"]);
    let words = format!("SET NOT NULL on {written} blocks reads and writes of users while it scans {table}");
    let safe = if out.at_least(18) {
        format!(
            "ALTER TABLE {table} ADD CONSTRAINT {name} NOT NULL {written} NOT VALID; \
             in a transaction of its own: ALTER TABLE {table} VALIDATE CONSTRAINT {name}"
        )
    } else {
        format!(
            "ALTER TABLE {table} ADD CONSTRAINT {name} CHECK ({written} IS NOT NULL) NOT VALID; in a transaction of its own: \
             ALTER TABLE {table} VALIDATE CONSTRAINT {name}; then ALTER TABLE {table} ALTER COLUMN {written} SET NOT NULL, \
             ALTER TABLE {table} DROP CONSTRAINT {name}"
        )
    };
    out.find(&RULE, table, Some(column), offset, Cost::scan(LockMode::AccessExclusive), say(words, safe));
}
