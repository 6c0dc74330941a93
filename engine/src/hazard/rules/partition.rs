//! Partitions that come and go.

use super::super::facts::Cost;
use super::super::lock::{LockMode, LockOn};
use super::super::out::{Out, say};
use super::super::read::Read;
use super::super::rule::Rule;
use crate::diag::Severity;
use crate::sql::{Cursor, QualifiedName};

pub(super) const CREATE: Rule = Rule {
    code: "MH018",
    hazard: "lock-parent-partition",
    severity: Severity::Warning,
    title: "A new partition locks the whole partitioned table",
    bad: &["CREATE TABLE p_1 PARTITION OF p FOR VALUES IN (1)"],
    good: &["CREATE TABLE p (a int) PARTITION BY LIST (a); CREATE TABLE p_1 PARTITION OF p FOR VALUES IN (1)"],
};

pub(super) const ATTACH: Rule = Rule {
    code: "MH019",
    hazard: "attach-partition",
    severity: Severity::Warning,
    title: "Attaching a partition reads it whole",
    bad: &["ALTER TABLE p ATTACH PARTITION p_1 FOR VALUES FROM (1) TO (2)"],
    good: &[
        "CREATE TABLE p_1 (a int); ALTER TABLE p ATTACH PARTITION p_1 FOR VALUES IN (1)",
        "ALTER TABLE p_1 ADD CONSTRAINT c CHECK (a >= 1 AND a < 2 AND a IS NOT NULL) NOT VALID; \
         ALTER TABLE p_1 VALIDATE CONSTRAINT c; ALTER TABLE p ATTACH PARTITION p_1 FOR VALUES FROM (1) TO (2)",
    ],
};

pub(super) const DETACH: Rule = Rule {
    code: "MH020",
    hazard: "detach-partition",
    severity: Severity::Note,
    title: "Detaching a partition locks the whole partitioned table",
    bad: &["ALTER TABLE p DETACH PARTITION p_1"],
    good: &["ALTER TABLE p DETACH PARTITION p_1 CONCURRENTLY"],
};

/// `CREATE TABLE child PARTITION OF`, behind these words.
pub(super) fn of_parent(mut at: Cursor<'_>, child: &QualifiedName, offset: usize, out: &mut Out<'_>) {
    let Some(parent) = at.name() else { return };
    out.lock(&parent, LockMode::AccessExclusive);
    let bounds = at.until(&["PARTITION", "WITH", "TABLESPACE"]);
    let words = format!(
        "creating {child} as a partition blocks reads and writes of users of all of {parent} until the transaction ends"
    );
    let safe = format!(
        "CREATE TABLE {child} (LIKE {parent} INCLUDING ALL); ALTER TABLE {parent} ATTACH PARTITION {child} {}, \
         which blocks neither reads nor writes of {parent}",
        bounds.rest()
    );
    out.find(&CREATE, &parent, None, offset, Cost::lock(LockMode::AccessExclusive), say(words, safe));
}

/// `ALTER TABLE parent`, behind `ATTACH PARTITION`.
pub(super) fn attach(mut at: Cursor<'_>, parent: &QualifiedName, offset: usize, out: &mut Out<'_>) {
    let Some(child) = at.name() else { return };
    out.lock(parent, LockMode::ShareUpdateExclusive);
    out.lock(&child, LockMode::AccessExclusive);
    if out.context.validated_checks.contains(&super::super::context::canonical(&child)) {
        return;
    }
    let bounds = at.rest();
    let words = format!(
        "attaching blocks reads and writes of users of {child}, and of the default partition of {parent}, while both are scanned"
    );
    let safe = format!(
        "ALTER TABLE {child} ADD CONSTRAINT … CHECK (what {bounds} means, and the key IS NOT NULL) NOT VALID; VALIDATE it in a \
         transaction of its own; then attach, and drop it"
    );
    out.find(&ATTACH, &child, None, offset, Cost::scan(LockMode::AccessExclusive), say(words, safe));
}

/// `ALTER TABLE parent`, behind `DETACH PARTITION`.
pub(super) fn detach(mut at: Cursor<'_>, parent: &QualifiedName, offset: usize, out: &mut Out<'_>) {
    let Some(child) = at.name() else { return };
    let concurrently = at.eat_any(&["CONCURRENTLY", "FINALIZE"]).is_some();
    out.lock(parent, if concurrently { LockMode::ShareUpdateExclusive } else { LockMode::AccessExclusive });
    out.lock_on(&child, LockMode::AccessExclusive, LockOn::Tree);
    if !concurrently {
        let words =
            format!("detaching {child} blocks reads and writes of users of all of {parent} until the transaction ends");
        let safe = format!("-- Transaction: false, ALTER TABLE {parent} DETACH PARTITION {child} CONCURRENTLY");
        out.find(&DETACH, parent, None, offset, Cost::lock(LockMode::AccessExclusive), say(words, safe));
    }
}
