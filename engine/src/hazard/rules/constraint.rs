//! Constraints that are added and dropped.

use super::super::context::canonical;
use super::super::facts::Cost;
use super::super::lock::{LockMode, LockOn};
use super::super::out::{Out, made_name, say};
use super::super::read::Read;
use super::super::rule::Rule;
use crate::diag::Severity;
use crate::sql::{Cursor, QualifiedName, quote_ident};

pub(super) const CHECK: Rule = Rule {
    code: "MH006",
    hazard: "check-scan",
    severity: Severity::Warning,
    title: "A new check reads the whole table",
    bad: &["ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0)", "ALTER TABLE t ADD COLUMN a int CHECK (a > 0)"],
    good: &["ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID", "ALTER TABLE t VALIDATE CONSTRAINT c"],
};

pub(super) const FOREIGN_KEY: Rule = Rule {
    code: "MH007",
    hazard: "foreign-key-scan",
    severity: Severity::Warning,
    title: "A new foreign key reads the whole table and locks both",
    bad: &[
        "ALTER TABLE t ADD CONSTRAINT c FOREIGN KEY (a) REFERENCES p (id)",
        "ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES p",
    ],
    good: &["CREATE TABLE t (a int); CREATE TABLE p (id int); ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES p"],
};

pub(super) const INDEX: Rule = Rule {
    code: "MH008",
    hazard: "blocking-index",
    severity: Severity::Warning,
    title: "A new constraint builds its index while everybody waits",
    bad: &[
        "ALTER TABLE t ADD CONSTRAINT c UNIQUE (a, b)",
        "ALTER TABLE t ADD PRIMARY KEY (id)",
        "ALTER TABLE t ADD CONSTRAINT c EXCLUDE USING gist (during WITH &&)",
        "ALTER TABLE t ADD COLUMN a int UNIQUE",
    ],
    good: &[
        "ALTER TABLE t ADD CONSTRAINT c UNIQUE USING INDEX i",
        "ALTER TABLE t ADD CONSTRAINT c PRIMARY KEY USING INDEX i",
    ],
};

pub(super) const OTHER_TABLE: Rule = Rule {
    code: "MH021",
    hazard: "lock-referenced",
    severity: Severity::Note,
    title: "A foreign key locks the table it references",
    bad: &[
        "CREATE TABLE c (p_id int REFERENCES p (id))",
        "ALTER TABLE t ADD COLUMN p_id int REFERENCES p (id)",
        "ALTER TABLE t ADD CONSTRAINT c FOREIGN KEY (a) REFERENCES p (id) NOT VALID",
    ],
    good: &["CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE c (p_id int REFERENCES p (id))"],
};

pub(super) const DROPPED: Rule = Rule {
    code: "MH035",
    hazard: "drop-constraint",
    severity: Severity::Note,
    title: "A dropped constraint no longer keeps bad data out",
    bad: &["ALTER TABLE t DROP CONSTRAINT c"],
    good: &["CREATE TABLE t (a int CHECK (a > 0)); ALTER TABLE t DROP CONSTRAINT t_a_check"],
};

/// Behind `ADD`, with or without `CONSTRAINT name`. Whether it was a constraint.
pub(super) fn add(mut at: Cursor<'_>, table: &QualifiedName, out: &mut Out<'_>) -> bool {
    let offset = at.offset();
    let name = if at.eat(&["CONSTRAINT"]) { at.column() } else { None };
    let written = at.rest().to_owned();
    let not_valid = at.has(&["NOT", "VALID"]);
    let called = |ending: &str| name.as_deref().map_or_else(|| made_name(&[&table.name, ending]), quote_ident);
    match at.eat_any(&["CHECK", "FOREIGN", "UNIQUE", "PRIMARY", "EXCLUDE", "NOT"]) {
        Some("CHECK") if not_valid => out.lock(table, LockMode::AccessExclusive),
        Some("CHECK") => check_scan(table, &called("check"), &written, offset, out),
        Some("FOREIGN") => {
            at.find(&["REFERENCES"]);
            let Some(parent) = at.name() else { return true };
            out.lock_on(table, LockMode::ShareRowExclusive, LockOn::Tree);
            out.lock(&parent, LockMode::ShareRowExclusive);
            if not_valid {
                other_table(table, &parent, offset, out);
            } else {
                foreign_key_scan(table, &parent, &called("fkey"), &written, offset, out);
            }
        }
        Some(kind @ ("UNIQUE" | "PRIMARY" | "EXCLUDE")) => {
            out.lock_on(table, LockMode::AccessExclusive, LockOn::Tree);
            if at.has(&["USING", "INDEX"]) && kind != "EXCLUDE" && !at.has(&["USING", "INDEX", "TABLESPACE"]) {
                return true;
            }
            let what = match kind {
                "UNIQUE" => "UNIQUE",
                "PRIMARY" => "PRIMARY KEY",
                _ => "EXCLUDE",
            };
            let ending = if kind == "PRIMARY" { "pkey" } else { "key" };
            at.find(&["KEY"]);
            let mut at = at;
            at.eat(&["NULLS", "NOT", "DISTINCT"]);
            let columns = at.paren_text().map_or_else(|| columns_of(&written), ToOwned::to_owned);
            index_build(table, &called(ending), what, &columns, offset, out);
        }
        Some(_) if at.eat(&["NULL"]) => {
            out.lock_on(table, LockMode::AccessExclusive, LockOn::Tree);
            if !not_valid && let Some(column) = at.column() {
                super::not_null::scan(table, &column, offset, out);
            }
        }
        _ => return name.is_some(),
    }
    true
}

/// What stands in the first parenthesis.
fn columns_of(written: &str) -> String {
    let inner = written.split_once('(').map(|(_, rest)| rest);
    inner.and_then(|rest| rest.split_once(')')).map_or("…", |(columns, _)| columns.trim()).to_owned()
}

pub(super) fn check_scan(table: &QualifiedName, name: &str, written: &str, offset: usize, out: &mut Out<'_>) {
    out.lock_on(table, LockMode::AccessExclusive, LockOn::Tree);
    let words = format!("adding the check {name} blocks reads and writes of users while it scans {table}");
    let safe = format!(
        "ALTER TABLE {table} ADD CONSTRAINT {name} {written} NOT VALID; \
         in a transaction of its own: ALTER TABLE {table} VALIDATE CONSTRAINT {name}"
    );
    out.find(&CHECK, table, None, offset, Cost::scan(LockMode::AccessExclusive), say(words, safe));
}

pub(super) fn foreign_key_scan(
    table: &QualifiedName,
    parent: &QualifiedName,
    name: &str,
    written: &str,
    offset: usize,
    out: &mut Out<'_>,
) {
    let words =
        format!("adding the foreign key {name} blocks writes of users to {table} and {parent} while it scans {table}");
    let safe = format!(
        "ALTER TABLE {table} ADD CONSTRAINT {name} {written} NOT VALID; \
         in a transaction of its own: ALTER TABLE {table} VALIDATE CONSTRAINT {name}"
    );
    let partitioned = out.context.partitioned.contains(&canonical(table)) && !out.at_least(18);
    let safe = if partitioned {
        format!(
            "before PostgreSQL 18 {table} takes no NOT VALID, being partitioned: add the key to each partition that way first"
        )
    } else {
        safe
    };
    out.find(&FOREIGN_KEY, table, None, offset, Cost::scan(LockMode::ShareRowExclusive), say(words, safe));
}

/// Tells that the parent is locked too, as long as the transaction lasts.
pub(super) fn other_table(table: &QualifiedName, parent: &QualifiedName, offset: usize, out: &mut Out<'_>) {
    if table == parent {
        return;
    }
    let words = format!("the foreign key of {table} blocks writes of users to {parent} until the transaction ends");
    let safe = format!("keep the transaction short, and change no other table in use beside {parent} in it");
    out.find(&OTHER_TABLE, parent, None, offset, Cost::lock(LockMode::ShareRowExclusive), say(words, safe));
}

pub(super) fn index_build(
    table: &QualifiedName,
    name: &str,
    what: &str,
    columns: &str,
    offset: usize,
    out: &mut Out<'_>,
) {
    out.lock_on(table, LockMode::AccessExclusive, LockOn::Tree);
    let words = format!("adding {what} to {table} blocks reads and writes of users while it builds the index");
    let safe = if what == "EXCLUDE" {
        format!(
            "no safe form: create a new table with the constraint, copy {table} into it in pieces, and swap the names"
        )
    } else {
        format!(
            "-- Transaction: false, CREATE UNIQUE INDEX CONCURRENTLY {name} ON {table} ({columns}); \
             then ALTER TABLE {table} ADD CONSTRAINT {name} {what} USING INDEX {name}"
        )
    };
    out.find(&INDEX, table, None, offset, Cost::scan(LockMode::AccessExclusive), say(words, safe));
}

/// Behind `DROP CONSTRAINT`.
pub(super) fn drop_constraint(mut at: Cursor<'_>, table: &QualifiedName, out: &mut Out<'_>) {
    let offset = at.offset();
    at.eat(&["IF", "EXISTS"]);
    let Some(name) = at.column() else { return };
    out.lock_on(table, LockMode::AccessExclusive, LockOn::Tree);
    let constraint = QualifiedName { schema: Some(table.to_string()), name: name.clone() };
    if !out.context.is_fresh(table) {
        out.lock_on(&constraint, LockMode::AccessExclusive, LockOn::OtherSideOfConstraint);
    }
    let words = format!(
        "without {} bad data can enter {table}; of a foreign key, the drop blocks reads and writes of the referenced table too",
        quote_ident(&name)
    );
    let safe = "keep the transaction short, and change no other table in it";
    out.find(&DROPPED, table, Some(&name), offset, Cost::lock(LockMode::AccessExclusive), say(words, safe));
}

/// Behind `VALIDATE CONSTRAINT`: it reads the table, and blocks nobody.
pub(super) fn validate(table: &QualifiedName, out: &mut Out<'_>) {
    out.lock_on(table, LockMode::ShareUpdateExclusive, LockOn::Tree);
    out.scans(table);
}
