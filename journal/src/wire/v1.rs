//! Payloads of format 1, frozen: a released field, number or order is never edited here. A change is a `v2` beside it.
//!
//! bincode 1.3.3, fixed-width integers, bounded, no bytes left over. Every number below is written by hand, because
//! an enum's own order would turn an inserted variant into a silent misreading of old records.

use bincode::Options;
use migengine_engine::id::{Digest, Epoch, MigrationId, Timestamp};
use migengine_engine::run::event::{DatabaseIdentity, Event, EventKind, PlannedStep, RunStarted};
use migengine_engine::run::failure::Failure;
use migengine_engine::run::state::{Manner, Rest, RestReason, RunKind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{IGNORABLE, MAX_PAYLOAD, WireError};

/// The stored number of a kind of event.
#[must_use]
pub const fn kind_number(kind: EventKind) -> u16 {
    match kind {
        EventKind::RunStarted => 1,
        EventKind::Locked => 2,
        EventKind::Reconciled => 3,
        EventKind::StepIntent => 4,
        EventKind::PartDone => 5,
        EventKind::StepApplied => 6,
        EventKind::StepFailed => 7,
        EventKind::StepInDoubt => 8,
        EventKind::StepCleared => 9,
        EventKind::UnwindStarted => 10,
        EventKind::UndoIntent => 11,
        EventKind::StepUndone => 12,
        EventKind::UndoFailed => 13,
        EventKind::StepsDone => 14,
        EventKind::Rested => 15,
        EventKind::Resumed => 16,
        EventKind::Resolved => 17,
        EventKind::RunCommitted => 18,
        EventKind::RunRolledBack => 19,
        EventKind::Noted => 20 | IGNORABLE,
        EventKind::MannerChosen => 40,
    }
}

const fn reason_number(reason: RestReason) -> u8 {
    match reason {
        RestReason::Interrupted => 1,
        RestReason::Failed => 2,
        RestReason::InDoubt => 3,
        RestReason::Diverged => 4,
        RestReason::Stuck => 5,
    }
}

fn reason(number: u8) -> Result<RestReason, WireError> {
    Ok(match number {
        1 => RestReason::Interrupted,
        2 => RestReason::Failed,
        3 => RestReason::InDoubt,
        4 => RestReason::Diverged,
        5 => RestReason::Stuck,
        other => return Err(newer("rest reason", other.into())),
    })
}

const fn manner_number(manner: Manner) -> u8 {
    match manner {
        Manner::StepByStep => 1,
        Manner::AtOnce => 2,
    }
}

fn manner(number: u8) -> Result<Manner, WireError> {
    Ok(match number {
        1 => Manner::StepByStep,
        2 => Manner::AtOnce,
        other => return Err(newer("manner", other.into())),
    })
}

const fn run_kind_number(kind: RunKind) -> u8 {
    match kind {
        RunKind::Apply => 1,
        RunKind::Rollback => 2,
    }
}

fn run_kind(number: u8) -> Result<RunKind, WireError> {
    Ok(match number {
        1 => RunKind::Apply,
        2 => RunKind::Rollback,
        other => return Err(newer("run kind", other.into())),
    })
}

fn newer(what: &str, number: u16) -> WireError {
    WireError::Newer { found: format!("{what} {number}"), known: format!("those of format {}", super::FORMAT) }
}

#[derive(Serialize, Deserialize)]
struct Started {
    kind: u8,
    steps: Vec<Step>,
    plan_hash: [u8; 32],
    database: Database,
    engine: String,
    actor: String,
    unwind_on_failure: bool,
}

#[derive(Serialize, Deserialize)]
struct Step {
    id: String,
    requires: Vec<u32>,
    content: [u8; 32],
    tokens: [u8; 32],
    transactional: bool,
    reversible: bool,
}

#[derive(Serialize, Deserialize)]
struct Database {
    uuid: String,
    system: u64,
    name: String,
    host: String,
}

#[derive(Serialize, Deserialize)]
struct Locked {
    epoch: u64,
    pid: i32,
    backend_start: i64,
}

/// `StepIntent` and `UndoIntent`.
#[derive(Serialize, Deserialize)]
struct Intent {
    step: u32,
    attempt: u32,
    content: [u8; 32],
    tokens: [u8; 32],
}

#[derive(Serialize, Deserialize)]
struct PartDone {
    step: u32,
    parts_done: u32,
}

/// `StepApplied` and `StepUndone`. A label of the recovery table is its Unicode number.
#[derive(Serialize, Deserialize)]
struct Effect {
    step: u32,
    duration_us: u64,
    adopted: Option<u32>,
}

/// `StepFailed` and `UndoFailed`.
#[derive(Serialize, Deserialize)]
struct Failed {
    step: u32,
    code: String,
    message: String,
    sqlstate: Option<String>,
    detail: Option<String>,
    hint: Option<String>,
    context: Option<String>,
    objects: [String; 4],
    file: Option<String>,
    line: Option<u32>,
    column: Option<u32>,
    statement: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct InDoubt {
    step: u32,
    message: String,
}

#[derive(Serialize, Deserialize)]
struct Cleared {
    step: u32,
    label: u32,
}

#[derive(Serialize, Deserialize)]
struct Rested {
    reason: u8,
    step: Option<u32>,
    message: String,
}

#[derive(Serialize, Deserialize)]
struct Resolved {
    step: u32,
    applied: bool,
    reason: String,
    actor: String,
}

#[derive(Serialize, Deserialize)]
struct Noted {
    step: Option<u32>,
    topic: String,
    message: String,
}

fn options() -> impl Options {
    bincode::DefaultOptions::new().with_fixint_encoding().with_limit(MAX_PAYLOAD as u64).reject_trailing_bytes()
}

fn write<T: Serialize>(value: &T) -> Result<Vec<u8>, WireError> {
    options().serialize(value).map_err(|_| WireError::TooLarge {
        bytes: bincode::DefaultOptions::new().with_fixint_encoding().serialized_size(value).unwrap_or(u64::MAX),
    })
}

fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<T, WireError> {
    options().deserialize(payload).map_err(|error| WireError::Damaged(format!("its payload cannot be read: {error}")))
}

fn read_nothing(payload: &[u8], event: Event) -> Result<Event, WireError> {
    if payload.is_empty() {
        Ok(event)
    } else {
        Err(WireError::Damaged("bytes are left over in its payload".to_owned()))
    }
}

/// The number and the payload of an event.
///
/// # Errors
/// [`WireError::TooLarge`].
pub fn encode(event: &Event) -> Result<(u16, Vec<u8>), WireError> {
    Ok((kind_number(event.kind()), payload(event)?))
}

fn payload(event: &Event) -> Result<Vec<u8>, WireError> {
    match event {
        Event::RunStarted(started) => write(&Started::from(&**started)),
        Event::MannerChosen(manner) => write(&manner_number(*manner)),
        Event::Locked { epoch, pid, backend_start } => {
            write(&Locked { epoch: epoch.0, pid: *pid, backend_start: backend_start.0 })
        }
        Event::StepIntent { step, attempt, content, tokens } | Event::UndoIntent { step, attempt, content, tokens } => {
            let (content, tokens) = (*content.as_bytes(), *tokens.as_bytes());
            write(&Intent { step: *step, attempt: *attempt, content, tokens })
        }
        Event::PartDone { step, parts_done } => write(&PartDone { step: *step, parts_done: *parts_done }),
        Event::StepApplied { step, duration_us, adopted } | Event::StepUndone { step, duration_us, adopted } => {
            write(&Effect { step: *step, duration_us: *duration_us, adopted: adopted.map(u32::from) })
        }
        Event::StepFailed { step, failure } | Event::UndoFailed { step, failure } => {
            write(&Failed::new(*step, failure))
        }
        Event::StepInDoubt { step, message } => write(&InDoubt { step: *step, message: message.clone() }),
        Event::StepCleared { step, label } => write(&Cleared { step: *step, label: u32::from(*label) }),
        Event::UnwindStarted { reason } => write(reason),
        Event::Rested(Rest { reason, step, message }) => {
            write(&Rested { reason: reason_number(*reason), step: *step, message: message.clone() })
        }
        Event::Resumed { actor } => write(actor),
        Event::Resolved { step, applied, reason, actor } => {
            write(&Resolved { step: *step, applied: *applied, reason: reason.clone(), actor: actor.clone() })
        }
        Event::Noted { step, topic, message } => {
            write(&Noted { step: *step, topic: topic.clone(), message: message.clone() })
        }
        Event::Reconciled | Event::StepsDone | Event::RunCommitted | Event::RunRolledBack => Ok(Vec::new()),
    }
}

/// The event of a number and a payload.
///
/// # Errors
/// [`WireError::Damaged`] or [`WireError::Newer`].
pub fn decode(kind: u16, payload: &[u8]) -> Result<Event, WireError> {
    let Some(kind) = EventKind::ALL.into_iter().find(|known| kind_number(*known) == kind) else {
        if kind & IGNORABLE == 0 {
            return Err(newer("event kind", kind));
        }
        let message = format!("a newer migengine noted something of kind {}", kind & !IGNORABLE);
        return Ok(Event::Noted { step: None, topic: "unknown".to_owned(), message });
    };
    Ok(match kind {
        EventKind::RunStarted => Event::RunStarted(Box::new(read::<Started>(payload)?.try_into()?)),
        EventKind::MannerChosen => Event::MannerChosen(manner(read(payload)?)?),
        EventKind::Locked => {
            let Locked { epoch, pid, backend_start } = read(payload)?;
            Event::Locked { epoch: Epoch(epoch), pid, backend_start: Timestamp(backend_start) }
        }
        EventKind::StepIntent => {
            let (step, attempt, content, tokens) = intent(payload)?;
            Event::StepIntent { step, attempt, content, tokens }
        }
        EventKind::UndoIntent => {
            let (step, attempt, content, tokens) = intent(payload)?;
            Event::UndoIntent { step, attempt, content, tokens }
        }
        EventKind::PartDone => {
            let PartDone { step, parts_done } = read(payload)?;
            Event::PartDone { step, parts_done }
        }
        EventKind::StepApplied => {
            let (step, duration_us, adopted) = effect(payload)?;
            Event::StepApplied { step, duration_us, adopted }
        }
        EventKind::StepUndone => {
            let (step, duration_us, adopted) = effect(payload)?;
            Event::StepUndone { step, duration_us, adopted }
        }
        EventKind::StepFailed => {
            let (step, failure) = read::<Failed>(payload)?.split();
            Event::StepFailed { step, failure }
        }
        EventKind::UndoFailed => {
            let (step, failure) = read::<Failed>(payload)?.split();
            Event::UndoFailed { step, failure }
        }
        EventKind::StepInDoubt => {
            let InDoubt { step, message } = read(payload)?;
            Event::StepInDoubt { step, message }
        }
        EventKind::StepCleared => {
            let Cleared { step, label } = read(payload)?;
            Event::StepCleared { step, label: letter(label)? }
        }
        EventKind::UnwindStarted => Event::UnwindStarted { reason: read(payload)? },
        EventKind::Rested => {
            let Rested { reason: number, step, message } = read(payload)?;
            Event::Rested(Rest { reason: reason(number)?, step, message })
        }
        EventKind::Resumed => Event::Resumed { actor: read(payload)? },
        EventKind::Resolved => {
            let Resolved { step, applied, reason, actor } = read(payload)?;
            Event::Resolved { step, applied, reason, actor }
        }
        EventKind::Noted => {
            let Noted { step, topic, message } = read(payload)?;
            Event::Noted { step, topic, message }
        }
        EventKind::Reconciled => read_nothing(payload, Event::Reconciled)?,
        EventKind::StepsDone => read_nothing(payload, Event::StepsDone)?,
        EventKind::RunCommitted => read_nothing(payload, Event::RunCommitted)?,
        EventKind::RunRolledBack => read_nothing(payload, Event::RunRolledBack)?,
    })
}

fn intent(payload: &[u8]) -> Result<(u32, u32, Digest, Digest), WireError> {
    let Intent { step, attempt, content, tokens } = read(payload)?;
    Ok((step, attempt, Digest::from_bytes(content), Digest::from_bytes(tokens)))
}

fn effect(payload: &[u8]) -> Result<(u32, u64, Option<char>), WireError> {
    let Effect { step, duration_us, adopted } = read(payload)?;
    Ok((step, duration_us, adopted.map(letter).transpose()?))
}

fn letter(number: u32) -> Result<char, WireError> {
    char::from_u32(number).ok_or_else(|| WireError::Damaged(format!("{number} is no letter")))
}

impl From<&RunStarted> for Started {
    fn from(started: &RunStarted) -> Self {
        let DatabaseIdentity { uuid, system, name, host } = started.database.clone();
        Self {
            kind: run_kind_number(started.kind),
            steps: started.steps.iter().map(Step::from).collect(),
            plan_hash: *started.plan_hash.as_bytes(),
            database: Database { uuid, system, name, host },
            engine: started.engine.clone(),
            actor: started.actor.clone(),
            unwind_on_failure: started.unwind_on_failure,
        }
    }
}

impl TryFrom<Started> for RunStarted {
    type Error = WireError;

    fn try_from(started: Started) -> Result<Self, WireError> {
        let Database { uuid, system, name, host } = started.database;
        Ok(Self {
            kind: run_kind(started.kind)?,
            steps: started.steps.into_iter().map(PlannedStep::try_from).collect::<Result<_, _>>()?,
            plan_hash: Digest::from_bytes(started.plan_hash),
            database: DatabaseIdentity { uuid, system, name, host },
            engine: started.engine,
            actor: started.actor,
            unwind_on_failure: started.unwind_on_failure,
        })
    }
}

impl From<&PlannedStep> for Step {
    fn from(step: &PlannedStep) -> Self {
        Self {
            id: step.id.as_str().to_owned(),
            requires: step.requires.clone(),
            content: *step.content.as_bytes(),
            tokens: *step.tokens.as_bytes(),
            transactional: step.transactional,
            reversible: step.reversible,
        }
    }
}

impl TryFrom<Step> for PlannedStep {
    type Error = WireError;

    fn try_from(step: Step) -> Result<Self, WireError> {
        Ok(Self {
            id: MigrationId::new(step.id).map_err(|error| WireError::Damaged(error.to_string()))?,
            requires: step.requires,
            content: Digest::from_bytes(step.content),
            tokens: Digest::from_bytes(step.tokens),
            transactional: step.transactional,
            reversible: step.reversible,
        })
    }
}

impl Failed {
    fn new(step: u32, failure: &Failure) -> Self {
        let Failure { code, message, sqlstate, detail, hint, context, objects, file, line, column, statement } =
            failure.clone();
        Self { step, code, message, sqlstate, detail, hint, context, objects, file, line, column, statement }
    }

    fn split(self) -> (u32, Box<Failure>) {
        let Self { step, code, message, sqlstate, detail, hint, context, objects, file, line, column, statement } =
            self;
        let failure =
            Failure { code, message, sqlstate, detail, hint, context, objects, file, line, column, statement };
        (step, Box::new(failure))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_number_of_its_own() {
        let mut numbers: Vec<u16> = EventKind::ALL.into_iter().map(kind_number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), EventKind::ALL.len());
        assert!(!numbers.contains(&0));
    }

    #[test]
    fn only_notes_may_be_skipped() {
        let skippable: Vec<_> = EventKind::ALL.into_iter().filter(|kind| kind_number(*kind) & IGNORABLE != 0).collect();
        assert_eq!(skippable, [EventKind::Noted]);
    }

    #[test]
    fn numbers_read_back() {
        for kind in [RunKind::Apply, RunKind::Rollback] {
            assert_eq!(run_kind(run_kind_number(kind)), Ok(kind));
        }
        for rest in
            [RestReason::Interrupted, RestReason::Failed, RestReason::InDoubt, RestReason::Diverged, RestReason::Stuck]
        {
            assert_eq!(reason(reason_number(rest)), Ok(rest));
        }
        assert!(matches!(reason(6), Err(WireError::Newer { .. })));
        assert!(matches!(run_kind(0), Err(WireError::Newer { .. })));
        assert!(matches!(letter(0xD800), Err(WireError::Damaged(_))));
    }
}
