//! What people and programs get to see of a rehearsal.

use std::time::Duration;

use migengine_engine::hazard::{Blocks, LockMode};
use migengine_engine::id::MigrationId;
use migengine_engine::rehearse::{
    Apply, Found, HeldLock, Reapply, Rehearsal, Rollback, StatementCost, Trial, worst_lock,
};
use serde_json::{Value, json};

use super::scale::Scale;
use super::{Outcome, cost};
use crate::args::Format;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::render;

/// With more migrations than this, those without a finding are only counted.
const FEW: usize = 50;

/// Prints it and says how the command ends.
///
/// # Errors
/// None; the signature is that of a command.
pub(super) fn show(context: &Context, outcome: &Outcome, took: Duration) -> Result<Exit, CommandError> {
    let count = |test: fn(&Rehearsal) -> bool| outcome.rehearsals.iter().filter(|one| test(one)).count();
    let (proven, excused, broken) = (count(Rehearsal::proven), count(Rehearsal::excused), count(Rehearsal::broken));
    let scale = outcome.scale.as_ref();
    match context.look.format {
        Format::Json => {
            let migrations: Vec<Value> = outcome.rehearsals.iter().map(|one| one_json(one, scale)).collect();
            let object = json!({
                "migrations": migrations,
                "proven": proven,
                "broken": broken,
                "excused": excused,
                "cached": outcome.cached,
                "server": outcome.major,
                "other_order": outcome.other_order,
                "stub_roles": outcome.stubs,
                "suggested_requires": outcome.requires.as_ref().map(|list| requires_json(list)),
                "scale": scale.map(Scale::json),
            });
            render::data(&object.to_string());
        }
        Format::Text => {
            let all = outcome.rehearsals.len() <= FEW || context.look.verbose > 0;
            let held = |one: &Rehearsal| scale.is_some_and(|scale| !scale.holds(one).is_empty());
            let worth = |one: &&Rehearsal| !one.proven() || one.rollback != Rollback::Exact || held(one);
            for one in outcome.rehearsals.iter().filter(|one| all || worth(one)) {
                render::data(&line(one, scale, context.look.verbose));
            }
        }
    }
    if let (Some(list), Format::Text) = (&outcome.requires, context.look.format) {
        list.iter().for_each(|(id, requires)| render::data(&format!("{id}: -- Requires: {}", named(requires))));
    }
    if let Some(scale) = scale {
        context.tell(&scale.model());
    }
    if !outcome.stubs.is_empty() {
        context.tell(&format!("roles made for the time of the rehearsal: {}", outcome.stubs.join(", ")));
    }
    let known = if outcome.cached > 0 { format!(", {} known before", outcome.cached) } else { String::new() };
    let took = render::duration(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    context.tell(&format!(
        "{proven} proven, {excused} excused, {broken} broken{known} (PostgreSQL {}, {took})",
        outcome.major
    ));
    if let Some(message) = outcome.other_order.get("message").and_then(Value::as_str) {
        let error = CommandError::refused("ME621", message)
            .exit(Exit::Differs)
            .state("Only scratch databases were used; they are gone.")
            .next("add what is missing to `-- Requires:`, then: migengine rehearse");
        render::line(render::error_text(&error, context.look.color).trim_end());
    }
    if broken == 0 {
        return Ok(if outcome.other_order.is_null() { Exit::Done } else { Exit::Differs });
    }
    let what = format!("{broken} of {} migrations are not proven", outcome.rehearsals.len());
    let error = CommandError::refused("ME609", what)
        .exit(Exit::Differs)
        .state("Only scratch databases were used; they are gone.")
        .next("mend the scripts named above, then: migengine rehearse")
        .next("or accept it in the header: -- Allow: unfaithful-rollback(reason), or -- Irreversible: reason");
    render::line(render::error_text(&error, context.look.color).trim_end());
    Ok(Exit::Differs)
}

/// One migration for people: a line, and one more for each finding; with `verbose` also for what each statement cost.
#[must_use]
pub(super) fn line(one: &Rehearsal, scale: Option<&Scale>, verbose: u8) -> String {
    let (word, what) = verdict(one);
    let worst = worst_lock(&one.locks).filter(|lock| hinders(lock));
    let worst = worst.map(|lock| format!(" [{} on {}]", lock.mode, lock.object)).unwrap_or_default();
    let mut text = format!("{word:<8} {}{what}{worst}", one.id);
    if let Some(error) = &one.error {
        let place = match (&error.file, error.line, error.column) {
            (Some(file), Some(line), Some(column)) => format!("{file}:{line}:{column}: "),
            (Some(file), _, _) => format!("{file}: "),
            _ => String::new(),
        };
        let state = error.sqlstate.as_ref().map(|code| format!(" (SQLSTATE {code})")).unwrap_or_default();
        text.push_str(&format!("\n           {place}[{}] {}{state}", error.code, error.message));
        for more in [&error.detail, &error.hint].into_iter().flatten() {
            text.push_str(&format!("\n             {}", more.replace('\n', "\n             ")));
        }
    }
    let when = if one.rollback == Rollback::Exact { "after applying again" } else { "after rollback" };
    for found in &one.diff {
        text.push_str(&format!("\n           {}", sentence(found, when)));
    }
    for hold in scale.iter().flat_map(|scale| scale.holds(one).into_iter().take(MOST).map(|hold| scale.line(&hold))) {
        text.push_str(&format!("\n           {hold}"));
    }
    if let Some(trial) = &one.trial {
        text.push_str(&trial_lines(trial, verbose));
    }
    let told = |cost: &&StatementCost| verbose > 0 || cost.lint.is_some() || !cost.rewrites.is_empty();
    let costs: Vec<StatementCost> = one.statements.iter().filter(told).cloned().collect();
    for line in cost::lines(&costs) {
        text.push_str(&format!("\n           {line}"));
    }
    text
}

/// As a header writes it.
fn named(requires: &[MigrationId]) -> String {
    let names: Vec<&str> = requires.iter().map(MigrationId::as_str).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn requires_json(list: &[(MigrationId, Vec<MigrationId>)]) -> Vec<Value> {
    let names = |ids: &[MigrationId]| ids.iter().map(|id| id.as_str().to_owned()).collect::<Vec<_>>();
    list.iter().map(|(id, requires)| json!({"id": id.as_str(), "requires": names(requires)})).collect()
}

/// So many of the longest locks of a migration are told; JSON has them all.
const MOST: usize = 5;

fn one_json(one: &Rehearsal, scale: Option<&Scale>) -> Value {
    let mut object = one.to_json();
    if let (Some(scale), Some(fields)) = (scale, object.as_object_mut()) {
        let holds = scale.holds(one).into_iter();
        let holds: Vec<Value> =
            holds.map(|hold| json!({"object": hold.object, "mode": hold.mode, "ms": hold.micros / 1000})).collect();
        fields.insert("holds".to_owned(), holds.into());
    }
    object
}

/// What rows in the tables showed.
fn trial_lines(trial: &Trial, verbose: u8) -> String {
    let mut lines = Vec::new();
    if let Some(error) = &trial.error {
        let place = match (&error.file, error.line) {
            (Some(file), Some(line)) => format!("{file}:{line}: "),
            _ => String::new(),
        };
        let hope = if trial.fails_for_any_rows() { "" } else { "; real rows may have other values" };
        lines.push(format!("with rows: {place}[{}] {}{hope}", error.code, error.message));
    }
    for lost in &trial.lost {
        let what = match &lost.column {
            Some(column) => format!("values of {}.{column}", lost.table),
            None => format!("rows of {}", lost.table),
        };
        lines.push(format!("lost by rolling back: {} {what}", lost.rows));
    }
    for (table, reason) in trial.unseeded.iter().filter(|_| verbose > 0) {
        lines.push(format!("no rows could be made up for {table}: {reason}"));
    }
    lines.iter().map(|line| format!("\n           {line}")).collect()
}

/// Whether anybody waits for it: reading and changing rows beside it goes on otherwise.
fn hinders(lock: &HeldLock) -> bool {
    LockMode::from_sql(&lock.mode).is_some_and(|mode| mode.blocks() != Blocks::None)
}

fn sentence(found: &Found, when: &str) -> String {
    let place = found.at.as_ref().map(|(file, line)| format!("{file}:{line}: ")).unwrap_or_default();
    format!("{place}{} {when}", found.change)
}

fn verdict(one: &Rehearsal) -> (&'static str, String) {
    if one.proven() {
        let order = one.rollback == Rollback::Order || one.reapply == Reapply::Order;
        return ("proven", if order { ": back, but for the order of columns".to_owned() } else { String::new() });
    }
    if one.excused() {
        let reason = one.excuse.as_deref().unwrap_or_default();
        let what = if one.rollback == Rollback::Irreversible { "irreversible" } else { "does not restore the schema" };
        return ("excused", format!(": {what} ({reason})"));
    }
    let what = match (one.apply, one.rollback, one.reapply) {
        (Apply::Failed, _, _) => "does not apply",
        _ if one.fails_with_rows() => "fails with rows in the tables",
        (_, Rollback::Failed, _) => "its reverse script fails",
        (_, Rollback::Missing, _) => "has no reverse script, and does not say `-- Irreversible: reason`",
        (_, Rollback::Differs, Reapply::Failed) => {
            "its reverse script does not restore the schema, nor can it be applied again"
        }
        (_, Rollback::Differs, _) => "its reverse script does not restore the schema",
        (_, _, Reapply::Failed) => "cannot be applied again after its rollback",
        _ => "gives another schema when it is applied again",
    };
    ("BROKEN", format!(": {what}"))
}
