//! `ALTER TABLE … ADD COLUMN`.

use super::super::facts::Cost;
use super::super::kind::{TypeName, type_name, volatile_call};
use super::super::lock::LockMode;
use super::super::out::{Out, made_name, say};
use super::super::read::Read;
use super::super::rule::Rule;
use super::constraint;
use crate::diag::Severity;
use crate::sql::{Cursor, QualifiedName, quote_ident};

pub(super) const REWRITE: Rule = Rule {
    code: "MH001",
    hazard: "rewrite",
    severity: Severity::Warning,
    title: "A new column writes the whole table anew",
    bad: &[
        "ALTER TABLE t ADD COLUMN a uuid DEFAULT gen_random_uuid()",
        "ALTER TABLE t ADD a timestamptz NOT NULL DEFAULT clock_timestamp()",
        "ALTER TABLE t ADD COLUMN a bigserial",
        "ALTER TABLE t ADD COLUMN a bigint GENERATED ALWAYS AS IDENTITY",
        "ALTER TABLE t ADD COLUMN a int GENERATED ALWAYS AS (b * 2) STORED",
        "CREATE DOMAIN positive AS int CHECK (VALUE > 0); ALTER TABLE t ADD COLUMN a positive",
        "ALTER TABLE t ADD COLUMN a int DEFAULT my_function()",
    ],
    good: &[
        "ALTER TABLE t ADD COLUMN a int",
        "ALTER TABLE t ADD COLUMN IF NOT EXISTS a timestamptz NOT NULL DEFAULT now()",
        "ALTER TABLE t ADD COLUMN a character varying(10) DEFAULT 'x'::character varying(10)",
        "ALTER TABLE t ADD COLUMN a numeric(10, 2) DEFAULT 0, ADD COLUMN b jsonb NOT NULL DEFAULT '{}'",
        "CREATE TABLE t (b int); ALTER TABLE t ADD COLUMN a bigserial",
        "ALTER TABLE t ADD COLUMN a int DEFAULT CAST(1 AS int)",
    ],
};

pub(super) const REQUIRED: Rule = Rule {
    code: "MH017",
    hazard: "required-column",
    severity: Severity::Warning,
    title: "A new column without a default may not be null",
    bad: &["ALTER TABLE t ADD COLUMN a int NOT NULL"],
    good: &[
        "ALTER TABLE t ADD COLUMN a int NOT NULL DEFAULT 0",
        "CREATE TABLE t (b int); ALTER TABLE t ADD a int NOT NULL",
    ],
};

pub(super) const JSON: Rule = Rule {
    code: "MH033",
    hazard: "json-column",
    severity: Severity::Note,
    title: "The type json has no equality",
    bad: &["ALTER TABLE t ADD COLUMN a json"],
    good: &["ALTER TABLE t ADD COLUMN a jsonb"],
};

/// Behind `ADD [COLUMN]`.
pub(super) fn add_column(mut at: Cursor<'_>, table: &QualifiedName, out: &mut Out<'_>) {
    let offset = at.offset();
    at.eat(&["IF", "NOT", "EXISTS"]);
    let Some(column) = at.column() else { return };
    let Some(kind) = type_name(&mut at) else { return };
    let written = quote_ident(&column);
    if let Some(why) = rewrites(&at, &kind, out) {
        let base = match kind.base.as_str() {
            "serial" => "int",
            "bigserial" => "bigint",
            "smallserial" => "smallint",
            other => other,
        };
        let words =
            format!("adding {written} to {table} blocks reads and writes of users while it rewrites the table: {why}");
        let safe = if at.has(&["STORED"]) {
            format!(
                "ALTER TABLE {table} ADD COLUMN {written} {base}; keep it filled by a trigger; \
                 then fill the old rows in pieces (`-- chunk:`)"
            )
        } else {
            format!(
                "ALTER TABLE {table} ADD COLUMN {written} {base}; ALTER TABLE {table} ALTER COLUMN {written} SET DEFAULT …; \
                 then fill the old rows in pieces (`-- chunk:`)"
            )
        };
        out.find(&REWRITE, table, None, offset, Cost::rewrite(), say(words, safe));
    }
    let default = at.has(&["DEFAULT"]) || at.has(&["GENERATED"]) || kind.base.ends_with("serial");
    let key = at.has(&["PRIMARY", "KEY"]);
    if (at.has(&["NOT", "NULL"]) || key) && !default {
        let words = format!("adding {written} fails when {table} holds a row: it may not be null and has no default");
        let safe = format!(
            "ALTER TABLE {table} ADD COLUMN {written} …; fill it in pieces; then forbid nulls as MH005 says, \
             or give it a constant DEFAULT, which costs nothing"
        );
        out.find(&REQUIRED, table, Some(&column), offset, Cost::lock(LockMode::AccessExclusive), say(words, safe));
    }
    if kind.base == "json" && !kind.array {
        let words = format!("{written} of type json has no `=`: DISTINCT, GROUP BY and UNION over it fail");
        let safe = format!("ALTER TABLE {table} ADD COLUMN {written} jsonb");
        out.find(&JSON, table, Some(&column), offset, Cost::default(), say(words, safe));
    }
    inline(&at, table, &column, out);
}

fn rewrites(at: &Cursor<'_>, kind: &TypeName, out: &Out<'_>) -> Option<String> {
    if kind.base.ends_with("serial") {
        return Some("each row gets a number of its sequence".to_owned());
    }
    if at.has(&["AS", "IDENTITY"]) {
        return Some("each row gets an identity".to_owned());
    }
    if at.has(&["STORED"]) {
        return Some("each row gets its generated value".to_owned());
    }
    if out.context.checked_domains.contains(&super::super::context::canonical(&kind.name())) {
        return Some("a domain with a constraint is checked row by row".to_owned());
    }
    let mut default = at.clone();
    if !default.find(&["DEFAULT"]) {
        return None;
    }
    let expression =
        default.until(&["NOT", "NULL", "CONSTRAINT", "CHECK", "UNIQUE", "PRIMARY", "REFERENCES", "COLLATE"]);
    let (function, known) = volatile_call(&expression)?;
    Some(if known {
        format!("{function}() gives each row a value of its own")
    } else {
        format!("{function}() is volatile unless it is declared STABLE or IMMUTABLE")
    })
}

/// The constraints behind a new column's type.
fn inline(at: &Cursor<'_>, table: &QualifiedName, column: &str, out: &mut Out<'_>) {
    let offset = at.offset();
    let mut check = at.clone();
    if check.find(&["CHECK"]) {
        let name = made_name(&[&table.name, column, "check"]);
        let written = check.paren_text().unwrap_or("…").to_owned();
        constraint::check_scan(table, &name, &format!("CHECK ({written})"), offset, out);
    }
    for (words, what, ending) in [(&["UNIQUE"][..], "UNIQUE", "key"), (&["PRIMARY", "KEY"], "PRIMARY KEY", "pkey")] {
        if at.has(words) {
            let name = made_name(&[&table.name, column, ending]);
            constraint::index_build(table, &name, what, &quote_ident(column), offset, out);
        }
    }
    let mut reference = at.clone();
    if reference.find(&["REFERENCES"])
        && let Some(parent) = reference.name()
    {
        // Without a default all rows are null, and nothing is looked up.
        out.lock(&parent, LockMode::ShareRowExclusive);
        if at.has(&["DEFAULT"]) && !at.has(&["DEFAULT", "NULL"]) {
            let column = quote_ident(column);
            let name = made_name(&[&table.name, &column, "fkey"]);
            let written = format!("FOREIGN KEY ({column}) REFERENCES {parent}");
            constraint::foreign_key_scan(table, &parent, &name, &written, offset, out);
        } else {
            constraint::other_table(table, &parent, offset, out);
        }
    }
}
