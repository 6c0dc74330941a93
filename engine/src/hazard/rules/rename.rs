//! Names that change under the running application.

use super::super::facts::Cost;
use super::super::lock::{LockMode, LockOn};
use super::super::out::{Out, say};
use super::super::read::Read;
use super::super::rule::Rule;
use crate::diag::Severity;
use crate::sql::{Cursor, QualifiedName, quote_ident};

pub(super) const RULE: Rule = Rule {
    code: "MH016",
    hazard: "rename",
    severity: Severity::Warning,
    title: "A name changes under the running application",
    bad: &[
        "ALTER TABLE t RENAME TO u",
        "ALTER TABLE t RENAME COLUMN a TO b",
        "ALTER TABLE t RENAME a TO b",
        "ALTER TABLE t SET SCHEMA s",
        "ALTER VIEW v RENAME TO w",
        "ALTER TYPE e RENAME VALUE 'a' TO 'b'",
        "ALTER FUNCTION f(int) RENAME TO g",
    ],
    good: &[
        "ALTER TABLE t RENAME CONSTRAINT a TO b",
        "ALTER INDEX i RENAME TO j",
        "CREATE TABLE t (a int); ALTER TABLE t RENAME TO u",
    ],
};

/// `ALTER TABLE t`, behind `RENAME`.
pub(super) fn in_table(mut at: Cursor<'_>, table: &QualifiedName, offset: usize, out: &mut Out<'_>) {
    if at.eat(&["TO"]) {
        out.lock(table, LockMode::AccessExclusive);
        let new = at.column().unwrap_or_default();
        return whole(table, &new, offset, out);
    }
    out.lock_on(table, LockMode::AccessExclusive, LockOn::Tree);
    if at.eat(&["CONSTRAINT"]) {
        return;
    }
    at.eat(&["COLUMN"]);
    let (Some(old), true, Some(new)) = (at.column(), at.eat(&["TO"]), at.column()) else { return };
    let (from, to) = (quote_ident(&old), quote_ident(&new));
    let words = format!("applications that name {from} of {table} fail from the commit on");
    let safe = format!(
        "ALTER TABLE {table} ADD COLUMN {to} …; keep both equal by a trigger; fill it in pieces; deploy; then drop {from}"
    );
    out.find(&RULE, table, Some(&old), offset, Cost::breaking(), say(words, safe));
}

fn whole(object: &QualifiedName, new: &str, offset: usize, out: &mut Out<'_>) {
    let words = format!("applications that name {object} fail from the commit on");
    let safe = format!(
        "in the same transaction: CREATE VIEW {object} AS SELECT * FROM {}; drop the view once nobody uses the old name",
        quote_ident(new)
    );
    out.find(&RULE, object, None, offset, Cost::breaking(), say(words, safe));
}

/// `SET SCHEMA`.
pub(super) fn moved(object: &QualifiedName, schema: &str, offset: usize, out: &mut Out<'_>) {
    let words =
        format!("applications that name {object} without a schema, or with the old one, fail from the commit on");
    let safe = format!(
        "in the same transaction: CREATE VIEW {object} AS SELECT * FROM {}.{}",
        quote_ident(schema),
        quote_ident(&object.name)
    );
    out.find(&RULE, object, None, offset, Cost::breaking(), say(words, safe));
}

/// `ALTER VIEW`, `ALTER TYPE`, `ALTER FUNCTION` and others, behind these words. Locks only what is a relation.
pub(super) fn other(mut at: Cursor<'_>, relation: bool, out: &mut Out<'_>) -> bool {
    at.eat(&["IF", "EXISTS"]);
    let offset = at.offset();
    let Some(object) = at.name() else { return false };
    if relation {
        out.lock(&object, LockMode::AccessExclusive);
    }
    if at.find(&["RENAME"]) {
        at.eat(&["ATTRIBUTE"]);
        if at.eat(&["VALUE"]) {
            let words = format!("applications that write or compare the old label of {object} fail from the commit on");
            let safe = format!(
                "ALTER TYPE {object} ADD VALUE the new one; move the rows in pieces; leave the old label alone"
            );
            out.find(&RULE, &object, None, offset, Cost::breaking(), say(words, safe));
            return true;
        }
        at.find(&["TO"]);
        let new = at.column().unwrap_or_default();
        whole(&object, &new, offset, out);
    } else if at.find(&["SET", "SCHEMA"]) {
        let schema = at.column().unwrap_or_default();
        moved(&object, &schema, offset, out);
    }
    true
}
