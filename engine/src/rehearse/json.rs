//! Rehearsals as JSON: what `rehearse --format json` prints, and what the cache holds.

use serde_json::{Value, json};

use super::lock::parse_digest;
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
    /// "duration_ms","schema","excuse"}`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let diff: Vec<Value> = self.diff.iter().map(found_json).collect();
        let locks: Vec<Value> =
            self.locks.iter().map(|lock| json!({"object": lock.object, "mode": lock.mode})).collect();
        json!({
            "id": self.id.as_str(),
            "apply": self.apply.as_str(),
            "rollback": self.rollback.as_str(),
            "reapply": self.reapply.as_str(),
            "diff": diff,
            "error": self.error.as_ref().map(failure_json),
            "locks": locks,
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
        locks: list("locks")?
            .iter()
            .map(|lock| Some(HeldLock { object: text(lock, "object")?, mode: text(lock, "mode")? }))
            .collect::<Option<_>>()?,
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
