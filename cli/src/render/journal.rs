//! Runs and their events, as text and as JSON.

use migengine_engine::audit;
use migengine_engine::run::event::{Event, Recorded};
use migengine_engine::run::failure::Failure;
use migengine_engine::run::figures::{self, Figures};
use migengine_engine::run::state::{Manner, Rest, RunSnapshot, StepState};
use serde_json::{Map, Value, json};

use super::{duration, time};
use crate::outcome;

/// A run of `journal show`; without records, of `journal list`.
#[must_use]
pub fn run_json(run: &RunSnapshot, records: Option<&[Recorded]>) -> Value {
    let mut object = json!({
        "run_id": run.run.to_string(),
        "kind": run.started.kind.name(),
        "state": run.state.name(),
        "rest": outcome::rest_json(run),
        "started_at": time(run.started_at),
        "finished_at": run.finished_at.map(time),
        "steps": outcome::steps_json(run),
        "actor": run.started.actor,
        "engine": run.started.engine,
        "plan_hash": run.started.plan_hash.to_string(),
        "epoch": run.epoch.map(|epoch| epoch.0),
    });
    if let (Some(records), Some(map)) = (records, object.as_object_mut()) {
        let events: Vec<Value> = records.iter().map(|record| event_json(run, record)).collect();
        map.insert("events".to_owned(), events.into());
    }
    object
}

/// One event with its fields.
#[must_use]
pub fn event_json(run: &RunSnapshot, record: &Recorded) -> Value {
    let mut object = json!({
        "seq": record.seq,
        "at": time(record.at),
        "kind": record.event.kind().name(),
    });
    let step = record.event.step().map(|step| json!({ "step": run.step_name(step) }));
    for fields in [step, Some(fields(run, &record.event))].into_iter().flatten() {
        if let (Some(map), Value::Object(fields)) = (object.as_object_mut(), fields) {
            map.extend(fields);
        }
    }
    object
}

/// An event by itself, as `--events` and `journal show --follow` write it.
#[must_use]
pub fn event_line_json(run: &RunSnapshot, record: &Recorded) -> Value {
    let mut object = event_json(run, record);
    if let Some(map) = object.as_object_mut() {
        map.insert("type".to_owned(), "event".into());
        map.insert("run".to_owned(), record.run.to_string().into());
    }
    object
}

fn fields(run: &RunSnapshot, event: &Event) -> Value {
    match event {
        Event::RunStarted(started) => json!({
            "run_kind": started.kind.name(),
            "steps": started.steps.iter().map(|step| step.id.as_str()).collect::<Vec<_>>(),
            "plan_hash": started.plan_hash.to_string(),
            "database": started.database.name,
            "database_uuid": started.database.uuid,
            "host": started.database.host,
            "engine": started.engine,
            "actor": started.actor,
            "unwind_on_failure": started.unwind_on_failure,
        }),
        Event::MannerChosen(manner) => json!({ "manner": manner.name() }),
        Event::Locked { epoch, pid, backend_start } => {
            json!({ "epoch": epoch.0, "pid": pid, "backend_start": time(*backend_start) })
        }
        Event::StepIntent { attempt, content, tokens, .. } | Event::UndoIntent { attempt, content, tokens, .. } => {
            json!({ "attempt": attempt, "content": content.to_string(), "tokens": tokens.to_string() })
        }
        Event::PartDone { parts_done, .. } => json!({ "parts_done": parts_done }),
        Event::StepApplied { duration_us, adopted, .. } | Event::StepUndone { duration_us, adopted, .. } => {
            json!({ "duration_ms": duration_us / 1000, "recovered": adopted.map(String::from) })
        }
        Event::StepFailed { failure, .. } | Event::UndoFailed { failure, .. } => {
            json!({ "error": outcome::failure_json(failure) })
        }
        Event::StepInDoubt { message, .. } => json!({ "message": message }),
        Event::StepCleared { label, .. } => json!({ "recovered": label.to_string() }),
        Event::UnwindStarted { reason } => json!({ "reason": reason }),
        Event::Rested(Rest { reason, step, message }) => json!({
            "reason": reason.name(),
            "step": step.map(|step| run.step_name(step)),
            "message": message,
        }),
        Event::Resumed { actor } => json!({ "actor": actor }),
        Event::Resolved { applied, reason, actor, .. } => {
            json!({ "applied": applied, "reason": reason, "actor": actor })
        }
        Event::Noted { topic, message, .. } => json!({ "topic": topic, "message": message }),
        Event::Reconciled | Event::StepsDone | Event::RunCommitted | Event::RunRolledBack => json!({}),
    }
}

/// The line above a run's events.
#[must_use]
pub fn heading(run: &RunSnapshot) -> String {
    let rest = run.rest.as_ref().map(|rest| format!(", {}: {}", rest.reason.name(), rest.message)).unwrap_or_default();
    let steps = super::count(run.steps.len() as u64, "step");
    format!("run {} ({}, {steps}): {}{rest}", run.run, run.started.kind.name(), run.state)
}

/// The line of an event: when, which, what.
#[must_use]
pub fn event_line(run: &RunSnapshot, record: &Recorded) -> String {
    let kind = record.event.kind().name();
    let step = record.event.step().map(|step| run.step_name(step).to_owned());
    let words: Vec<String> =
        [step, Some(words(&record.event))].into_iter().flatten().filter(|text| !text.is_empty()).collect();
    format!("  {}  {:>4}  {kind:<15}  {}", time(record.at), record.seq, words.join("  ")).trim_end().to_owned()
}

fn words(event: &Event) -> String {
    let taken = |us: u64, adopted: Option<char>| match adopted {
        Some(row) => format!("found so (recovery row {row})"),
        None => duration(us),
    };
    match event {
        Event::RunStarted(started) => {
            format!("{} by {}, on {}", started.kind.name(), started.actor, started.database.name)
        }
        Event::MannerChosen(Manner::AtOnce) => "all steps in one transaction".to_owned(),
        Event::MannerChosen(Manner::StepByStep) => "each step by itself".to_owned(),
        Event::Locked { epoch, pid, .. } => format!("epoch {epoch}, backend {pid}"),
        Event::StepIntent { attempt, .. } | Event::UndoIntent { attempt, .. } => match attempt {
            0 | 1 => String::new(),
            attempt => format!("attempt {attempt}"),
        },
        Event::PartDone { parts_done, .. } => format!("part {parts_done}"),
        Event::StepApplied { duration_us, adopted, .. } | Event::StepUndone { duration_us, adopted, .. } => {
            taken(*duration_us, *adopted)
        }
        Event::StepFailed { failure, .. } | Event::UndoFailed { failure, .. } => failed(failure),
        Event::StepInDoubt { message, .. } => message.clone(),
        Event::StepCleared { label, .. } => super::cleared(*label),
        Event::UnwindStarted { reason } => reason.clone(),
        Event::Rested(rest) => format!("{}: {}", rest.reason.name(), rest.message),
        Event::Resumed { actor } => format!("by {actor}"),
        Event::Resolved { applied, reason, actor, .. } => {
            format!("{} took effect, says {actor}: {reason}", if *applied { "it" } else { "nothing of it" })
        }
        Event::Noted { topic, message, .. } => format!("{topic}: {}", note(topic, message)),
        Event::Reconciled => "journal and history agree".to_owned(),
        Event::StepsDone | Event::RunCommitted | Event::RunRolledBack => String::new(),
    }
}

/// A note in words: three topics are written for programs.
fn note(topic: &str, message: &str) -> String {
    let shown = match topic {
        audit::ORIGIN => serde_json::from_str::<Map<String, Value>>(message).ok().map(|origin| {
            let pair = |(key, value): (&String, &Value)| format!("{key} {}", value.as_str().unwrap_or_default());
            origin.iter().map(pair).collect::<Vec<_>>().join(", ")
        }),
        figures::TOPIC => Figures::parse(message).map(|figures| figures.words()),
        audit::TOPIC => audit::Anchor::parse(message)
            .map(|anchor| format!("entry {} of the audit log is {}", anchor.seq, anchor.hash.short())),
        _ => None,
    };
    shown.unwrap_or_else(|| message.to_owned())
}

fn failed(failure: &Failure) -> String {
    let sqlstate = failure.sqlstate.as_ref().map(|code| format!(" (SQLSTATE {code})")).unwrap_or_default();
    let place = match (&failure.file, failure.line, failure.column) {
        (Some(file), Some(line), Some(column)) => format!(", {file}:{line}:{column}"),
        _ => String::new(),
    };
    format!("{}{sqlstate}{place}", failure.message)
}

/// The line of a run in `journal list`.
#[must_use]
pub fn row(run: &RunSnapshot) -> Vec<String> {
    let took = run.finished_at.and_then(|end| u64::try_from(end.0 - run.started_at.0).ok());
    let done = |state| run.steps.iter().filter(|step| step.state == state).count();
    let steps = match run.steps.len() {
        all if done(StepState::Applied) == all => format!("{all} applied"),
        all if done(StepState::Undone) == all => format!("{all} reversed"),
        all => format!("{} of {all} in effect", done(StepState::Applied)),
    };
    let rest = run.rest.as_ref().map(|rest| {
        let step = rest.step.map(|step| format!(" at {}", run.step_name(step))).unwrap_or_default();
        format!("{}{step}", rest.reason.name())
    });
    vec![
        run.run.to_string(),
        run.started.kind.name().to_owned(),
        run.state.name().to_owned(),
        time(run.started_at),
        took.map(duration).unwrap_or_else(|| "-".to_owned()),
        steps,
        rest.unwrap_or_default(),
    ]
}
