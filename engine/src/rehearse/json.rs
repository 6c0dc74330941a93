//! Rehearsals as JSON: what `rehearse --format json` prints, and what the cache holds.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::cost::{Build, Dropped, Scan, StatementCost};
use super::lock::parse_digest;
use super::requires::Footprint;
use super::trial::{Lost, Trial, Tried};
use super::verdict::{Apply, Found, HeldLock, Reapply, Rehearsal, Rollback};
use crate::id::MigrationId;
use crate::run::failure::Failure;
use crate::schema::Change;

/// A document that holds no rehearsal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not the outcome of a rehearsal")]
pub struct InvalidRehearsal;

impl Rehearsal {
    /// `{"id","apply","rollback","reapply","diff":[{"object","change","file","line"}],"error","locks":[{"object","mode"}],
    /// "statements":[…],"rollback_statements":[…],"data":null|{…},"duration_ms","schema","excuse"}`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let diff: Vec<Value> = self.diff.iter().map(found_json).collect();
        let costs = |list: &[StatementCost]| list.iter().map(cost_json).collect::<Vec<_>>();
        json!({
            "id": self.id.as_str(),
            "apply": self.apply.as_str(),
            "rollback": self.rollback.as_str(),
            "reapply": self.reapply.as_str(),
            "diff": diff,
            "error": self.error.as_ref().map(failure_json),
            "locks": locks_json(&self.locks),
            "statements": costs(&self.statements),
            "rollback_statements": costs(&self.rollback_statements),
            "footprint": {"writes": self.footprint.writes, "reads": self.footprint.reads},
            "data": self.trial.as_ref().map(trial_json),
            "duration_ms": self.duration_us / 1000,
            "schema": self.schema.map(|schema| schema.to_string()),
            "excuse": self.excuse,
        })
    }

    /// Reads what [`Self::to_json`] wrote.
    ///
    /// # Errors
    /// It did not write that.
    pub fn from_json(value: &Value) -> Result<Self, InvalidRehearsal> {
        read(value).ok_or(InvalidRehearsal)
    }
}

fn read(value: &Value) -> Option<Rehearsal> {
    let list = |name: &str| value.get(name).and_then(Value::as_array);
    let word = |name: &str| value.get(name).and_then(Value::as_str);
    let error = value.get("error")?;
    Some(Rehearsal {
        id: MigrationId::new(word("id")?).ok()?,
        apply: Apply::from_word(word("apply")?)?,
        rollback: Rollback::from_word(word("rollback")?)?,
        reapply: Reapply::from_word(word("reapply")?)?,
        diff: list("diff")?.iter().map(found).collect::<Option<_>>()?,
        error: if error.is_null() { None } else { Some(failure(error)?) },
        locks: locks(value)?,
        statements: list("statements")?.iter().map(cost).collect::<Option<_>>()?,
        rollback_statements: list("rollback_statements")?.iter().map(cost).collect::<Option<_>>()?,
        footprint: Footprint {
            writes: set(value.get("footprint")?, "writes")?,
            reads: set(value.get("footprint")?, "reads")?,
        },
        trial: match value.get("data")? {
            Value::Null => None,
            trial => Some(read_trial(trial)?),
        },
        duration_us: value.get("duration_ms")?.as_u64()?.saturating_mul(1000),
        schema: word("schema").and_then(parse_digest),
        excuse: text(value, "excuse"),
    })
}

fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name).and_then(Value::as_str).map(str::to_owned)
}

fn number(value: &Value, name: &str) -> Option<u32> {
    value.get(name).and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok())
}

fn set(value: &Value, name: &str) -> Option<BTreeSet<String>> {
    value.get(name)?.as_array()?.iter().map(|one| one.as_str().map(str::to_owned)).collect()
}

fn locks_json(locks: &[HeldLock]) -> Vec<Value> {
    locks.iter().map(|lock| json!({"object": lock.object, "mode": lock.mode})).collect()
}

fn locks(value: &Value) -> Option<Vec<HeldLock>> {
    let lock = |lock: &Value| Some(HeldLock { object: text(lock, "object")?, mode: text(lock, "mode")? });
    value.get("locks")?.as_array()?.iter().map(lock).collect()
}

/// `{"file","line","verb","part","locks":[{"object","mode"}],"rewrites":[table],"emptied":[table],"scans":[{"table",
/// "rows"}],"builds":[{"index","table"}],"dropped":[{"object","cascade"}],"wal_bytes","duration_us","lint"}`.
fn cost_json(cost: &StatementCost) -> Value {
    let scans = cost.scans.iter().map(|scan| json!({"table": scan.table, "rows": scan.rows}));
    let builds = cost.builds.iter().map(|build| json!({"index": build.index, "table": build.table}));
    let dropped = cost.dropped.iter().map(|one| json!({"object": one.object, "cascade": one.cascade}));
    json!({
        "file": cost.file,
        "line": cost.line,
        "verb": cost.verb,
        "part": cost.part,
        "locks": locks_json(&cost.locks),
        "reads": cost.reads,
        "rewrites": cost.rewrites,
        "emptied": cost.emptied,
        "scans": scans.collect::<Vec<_>>(),
        "builds": builds.collect::<Vec<_>>(),
        "dropped": dropped.collect::<Vec<_>>(),
        "wal_bytes": cost.wal_bytes,
        "duration_us": cost.duration_us,
        "lint": cost.lint,
    })
}

fn cost(value: &Value) -> Option<StatementCost> {
    let list = |name: &str| value.get(name).and_then(Value::as_array);
    let count = |value: &Value, name: &str| value.get(name).and_then(Value::as_u64);
    let names = |name: &str| list(name)?.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<_>>();
    let scan = |one: &Value| Some(Scan { table: text(one, "table")?, rows: count(one, "rows")? });
    let build = |one: &Value| Some(Build { index: text(one, "index")?, table: text(one, "table")? });
    let dropped = |one: &Value| Some(Dropped { object: text(one, "object")?, cascade: one.get("cascade")?.as_bool()? });
    Some(StatementCost {
        file: text(value, "file")?,
        line: number(value, "line")?,
        verb: text(value, "verb")?,
        part: usize::try_from(count(value, "part")?).ok()?,
        locks: locks(value)?,
        reads: names("reads")?,
        rewrites: names("rewrites")?,
        emptied: names("emptied")?,
        scans: list("scans")?.iter().map(scan).collect::<Option<_>>()?,
        builds: list("builds")?.iter().map(build).collect::<Option<_>>()?,
        dropped: list("dropped")?.iter().map(dropped).collect::<Option<_>>()?,
        wal_bytes: count(value, "wal_bytes")?,
        duration_us: count(value, "duration_us")?,
        lint: text(value, "lint"),
    })
}

/// `{"seeded":[{"table","rows"}],"unseeded":[{"table","reason"}],"apply","rollback":"ok|failed|skipped","error",
/// "rows_lost":[{"table","column","rows"}]}`.
fn trial_json(trial: &Trial) -> Value {
    let seeded = trial.seeded.iter().map(|(table, rows)| json!({"table": table, "rows": rows}));
    let unseeded = trial.unseeded.iter().map(|(table, reason)| json!({"table": table, "reason": reason}));
    let lost = trial.lost.iter().map(|lost| json!({"table": lost.table, "column": lost.column, "rows": lost.rows}));
    json!({
        "seeded": seeded.collect::<Vec<_>>(),
        "unseeded": unseeded.collect::<Vec<_>>(),
        "apply": trial.apply.as_str(),
        "rollback": trial.rollback.as_str(),
        "error": trial.error.as_ref().map(failure_json),
        "rows_lost": lost.collect::<Vec<_>>(),
    })
}

fn read_trial(value: &Value) -> Option<Trial> {
    let list = |name: &str| value.get(name).and_then(Value::as_array);
    let rows = |one: &Value| one.get("rows").and_then(Value::as_u64);
    let tried = |name: &str| value.get(name).and_then(Value::as_str).and_then(Tried::from_word);
    let lost = |one: &Value| Some(Lost { table: text(one, "table")?, column: text(one, "column"), rows: rows(one)? });
    Some(Trial {
        seeded: list("seeded")?.iter().map(|one| text(one, "table").zip(rows(one))).collect::<Option<_>>()?,
        unseeded: list("unseeded")?
            .iter()
            .map(|one| text(one, "table").zip(text(one, "reason")))
            .collect::<Option<_>>()?,
        apply: tried("apply")?,
        rollback: tried("rollback")?,
        error: match value.get("error")? {
            Value::Null => None,
            error => Some(failure(error)?),
        },
        lost: list("rows_lost")?.iter().map(lost).collect::<Option<_>>()?,
    })
}

fn found_json(found: &Found) -> Value {
    json!({
        "object": found.change.object,
        "change": found.change.change,
        "file": found.at.as_ref().map(|(file, _)| file),
        "line": found.at.as_ref().map(|(_, line)| line),
    })
}

fn found(value: &Value) -> Option<Found> {
    let change = Change { object: text(value, "object")?, change: text(value, "change")? };
    Some(Found { change, at: text(value, "file").zip(number(value, "line")) })
}

fn failure_json(failure: &Failure) -> Value {
    json!({
        "code": failure.code,
        "sqlstate": failure.sqlstate,
        "message": failure.message,
        "file": failure.file,
        "line": failure.line,
        "column": failure.column,
        "detail": failure.detail,
        "hint": failure.hint,
        "statement": failure.statement,
    })
}

fn failure(value: &Value) -> Option<Failure> {
    Some(Failure {
        code: text(value, "code")?,
        sqlstate: text(value, "sqlstate"),
        message: text(value, "message")?,
        file: text(value, "file"),
        line: number(value, "line"),
        column: number(value, "column"),
        detail: text(value, "detail"),
        hint: text(value, "hint"),
        statement: text(value, "statement"),
        ..Failure::default()
    })
}
