//! How a run ended or why it rests: the report, the JSON, and the exit code.

use migengine_engine::run::failure::Failure;
use migengine_engine::run::figures::Figures;
use migengine_engine::run::state::{RestReason, RunKind, RunSnapshot, RunState, StepState};
use serde_json::{Value, json};

use crate::error::{CommandError, Exit};
use crate::outside::post::Remark;

/// What the user asked for, which decides whether "rolled back" is a success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Apply.
    Apply,
    /// Reverse.
    Rollback,
}

/// The command that takes a run up again in the direction in which it was going.
#[must_use]
pub fn resume_command(run: &RunSnapshot) -> &'static str {
    match (run.started.kind, run.direction) {
        (RunKind::Apply, migengine_engine::run::state::Direction::Forward) => "migengine apply --resume",
        _ => "migengine rollback --resume",
    }
}

/// The command that goes on with a run, fit to be typed.
#[must_use]
pub fn next_command(run: &RunSnapshot) -> Option<String> {
    let rest = run.rest.as_ref()?;
    Some(match rest.reason {
        RestReason::Interrupted | RestReason::InDoubt | RestReason::Failed => resume_command(run).to_owned(),
        RestReason::Diverged => format!("migengine journal show {}", run.run),
        RestReason::Stuck if of_reverse(run) => "migengine rollback --resume".to_owned(),
        RestReason::Stuck => format!(
            "migengine resolve {} --as applied|rolled-back --reason \"...\"",
            rest.step.map_or("STEP", |step| run.step_name(step))
        ),
    })
}

/// What people are told to do next, one thing a line.
#[must_use]
pub fn next_lines(run: &RunSnapshot) -> Vec<String> {
    let (Some(rest), Some(command)) = (&run.rest, next_command(run)) else { return Vec::new() };
    let back = format!("or take the run back: migengine rollback --run {}", run.run);
    let turned = run.direction == migengine_engine::run::state::Direction::Unwinding;
    match rest.reason {
        RestReason::Failed if turned => vec![format!("mend the reverse script, then: {command}")],
        RestReason::Failed => vec![format!("mend the file, then: {command}"), back],
        RestReason::Interrupted | RestReason::InDoubt if turned => vec![command],
        RestReason::Interrupted | RestReason::InDoubt => vec![command, back],
        RestReason::Diverged => vec![
            command,
            "compare that with: migengine status, and with: migengine audit show".to_owned(),
            format!(
                "if the database was restored and is right as it is: migengine journal rebuild --accept-database, then: {}",
                resume_command(run)
            ),
            format!("if somebody changed the history by hand: put it back as it was, then: {}", resume_command(run)),
        ],
        RestReason::Stuck if of_reverse(run) => vec![format!("mend the reverse script, then: {command}")],
        RestReason::Stuck => vec![format!("say what happened: {command}"), format!("then: {}", resume_command(run))],
    }
}

/// Whether a run is stuck because a reverse script failed, and not because an effect cannot be told.
fn of_reverse(run: &RunSnapshot) -> bool {
    run.steps_in(StepState::UndoFailed).next().is_some()
}

/// The exit code of a run as it stands.
#[must_use]
pub fn exit(run: &RunSnapshot, asked: Asked) -> Exit {
    match (run.state, &run.rest) {
        (RunState::Committed, _) => Exit::Done,
        (RunState::RolledBack, _) if asked == Asked::Rollback || run.started.kind == RunKind::Rollback => Exit::Done,
        (RunState::RolledBack, _) => Exit::RolledBack,
        (_, Some(rest)) => match rest.reason {
            RestReason::Interrupted | RestReason::Failed => Exit::Stopped,
            RestReason::InDoubt | RestReason::Diverged | RestReason::Stuck => Exit::Person,
        },
        (_, None) => Exit::Stopped,
    }
}

/// The object of the JSON interface. `error` overrides the run's own failure.
#[must_use]
pub fn json(run: &RunSnapshot, error: Option<&CommandError>) -> Value {
    json!({
        "run_id": run.run.to_string(),
        "kind": run.started.kind.name(),
        "state": run.state.name(),
        "rest": rest_json(run),
        "steps": steps_json(run),
        "error": error.map_or_else(|| failure(run).map(failure_json), |error| Some(error_json(error))),
    })
}

/// What went wrong around a run, beside its own object: hooks, notifications, the export.
#[must_use]
pub fn with_remarks(mut object: Value, remarks: &[Remark]) -> Value {
    let troubles = remarks.iter().filter(|remark| remark.trouble);
    let list: Vec<Value> = troubles.map(|remark| json!({ "topic": remark.topic, "message": remark.message })).collect();
    if let Some(map) = object.as_object_mut() {
        map.insert("remarks".to_owned(), list.into());
    }
    object
}

/// The result behind the events of `--events`, told from them by its `type`.
#[must_use]
pub fn as_last_line(mut object: Value) -> Value {
    if let Some(map) = object.as_object_mut() {
        map.insert("type".to_owned(), "result".into());
    }
    object
}

/// Why a run stands still.
#[must_use]
pub fn rest_json(run: &RunSnapshot) -> Option<Value> {
    let rest = run.rest.as_ref()?;
    Some(json!({
        "reason": rest.reason.name(),
        "step": rest.step.map(|step| run.step_name(step)),
        "message": rest.message,
        "next": next_command(run),
    }))
}

/// The steps of a run.
#[must_use]
pub fn steps_json(run: &RunSnapshot) -> Vec<Value> {
    let steps = run.started.steps.iter().zip(&run.steps);
    steps
        .map(|(planned, step)| {
            json!({
                "id": planned.id.as_str(),
                "state": step.state.public_name(),
                "attempts": step.attempts,
                "duration_ms": step.duration_us.map(|us| us / 1000),
                "figures": step.figures.as_ref().map(Figures::to_json).and_then(|json| serde_json::from_str::<Value>(&json).ok()),
                "recovered": step.recovered.map(String::from),
            })
        })
        .collect()
}

/// The object for "nothing to do".
#[must_use]
pub fn nothing_json(kind: RunKind) -> Value {
    json!({"run_id": null, "kind": kind.name(), "state": null, "rest": null, "steps": [], "error": null})
}

/// The object for a command that was refused before there was a run.
#[must_use]
pub fn refused_json(kind: RunKind, error: &CommandError) -> Value {
    json!({"run_id": null, "kind": kind.name(), "state": null, "rest": null, "steps": [], "error": error_json(error)})
}

/// The failure a run is about: that of the step it rests at, else the first one of any step. A run that rests because
/// journal and history contradict each other is about that, whatever failed before.
#[must_use]
pub fn failure(run: &RunSnapshot) -> Option<&Failure> {
    if let Some(rest) = &run.rest {
        if rest.reason == RestReason::Diverged {
            return None;
        }
        if let Some(step) = rest.step {
            return run.steps.get(step as usize).and_then(|step| step.failure.as_ref());
        }
    }
    let failed = |step: &&migengine_engine::run::state::StepSnapshot| {
        matches!(step.state, StepState::Failed | StepState::UndoFailed)
    };
    run.steps.iter().find(failed).and_then(|step| step.failure.as_ref())
}

/// A failure as JSON, with everything the server said.
#[must_use]
pub fn failure_json(failure: &Failure) -> Value {
    let named = |index: usize| failure.objects.get(index).filter(|name| !name.is_empty());
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
        "context": failure.context,
        "schema": named(0), "table": named(1), "object_column": named(2), "constraint": named(3),
        "advice": migengine_engine::pg::sqlstate::advice(failure),
    })
}

/// A finding in a file as JSON.
#[must_use]
pub fn finding_json(found: &migengine_engine::diag::Diagnostic) -> Value {
    json!({
        "code": found.code,
        "severity": format!("{:?}", found.severity).to_lowercase(),
        "message": found.message,
        "file": Some(&found.file).filter(|file| !file.is_empty()),
        "line": found.position.map(|at| at.line),
        "column": found.position.map(|at| at.column),
        "help": found.help,
    })
}

/// A refusal as JSON. Several findings in files stand in `findings`; the first error's place at the top.
#[must_use]
pub fn error_json(error: &CommandError) -> Value {
    if let Some(failure) = &error.failure {
        return failure_json(failure);
    }
    let findings: Vec<Value> = error.diagnostics.iter().map(finding_json).collect();
    let first = error.diagnostics.iter().find(|found| found.severity == migengine_engine::diag::Severity::Error);
    json!({
        "code": error.code,
        "sqlstate": null,
        "message": first.map_or(&error.what, |found| &found.message),
        "file": first.map(|found| &found.file).filter(|file| !file.is_empty()),
        "line": first.and_then(|found| found.position).map(|at| at.line),
        "column": first.and_then(|found| found.position).map(|at| at.column),
        "state": error.state,
        "next": error.next,
        "findings": findings,
    })
}

/// "001_a and 002_b are in effect" and the like: the state of the database by what is known of the run.
#[must_use]
pub fn database_state(run: &RunSnapshot) -> String {
    let named = |states: &[StepState]| -> Vec<&str> {
        let steps = run.started.steps.iter().zip(&run.steps);
        steps.filter(|(_, step)| states.contains(&step.state)).map(|(planned, _)| planned.id.as_str()).collect()
    };
    let applied = named(&[StepState::Applied, StepState::UndoFailed]);
    let doubtful = named(&[StepState::Intent, StepState::InDoubt, StepState::UndoIntent]);
    // How far the step came at which a run is stuck is what nobody knows.
    let unknown = run.rest.as_ref().filter(|rest| rest.reason == RestReason::Stuck && !of_reverse(run));
    let unknown = unknown.and_then(|rest| rest.step).map(|step| run.step_name(step));
    let mut sentences = vec![match applied.as_slice() {
        [] if unknown.is_some() => "Nothing else of this run is in effect.".to_owned(),
        [] => "Nothing of this run is in effect.".to_owned(),
        [one] => format!("Of this run {one} is in effect."),
        [.., last] if applied.len() > 5 => {
            format!("{} of {} steps of this run are in effect, up to {last}.", applied.len(), run.steps.len())
        }
        [init @ .., last] => format!("Of this run {} and {last} are in effect.", init.join(", ")),
    }];
    if !doubtful.is_empty() {
        let more = doubtful.len().saturating_sub(3);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let first: Vec<&str> = doubtful.into_iter().take(3).collect();
        sentences.push(format!("Whether {}{more} took effect is not known.", first.join(", ")));
    }
    sentences.extend(unknown.map(|step| format!("How far {step} came is not known.")));
    let partial = run
        .steps
        .iter()
        .zip(&run.started.steps)
        .filter(|(step, _)| step.parts_done > 0 && !matches!(step.state, StepState::Applied | StepState::Undone));
    for (step, planned) in partial {
        sentences.push(format!("{} is in effect up to part {}.", planned.id, step.parts_done));
    }
    sentences.join(" ")
}
