//! Runs to write, and a way to wait for a future.

use std::future::Future;
use std::path::Path;

use migengine_engine::id::{Digest, Epoch, MigrationId, RunId, Timestamp};
use migengine_engine::run::event::{DatabaseIdentity, Event, PlannedStep, Recorded, RunStarted};
use migengine_engine::run::failure::Failure;
use migengine_engine::run::journal::Sealed;
use migengine_engine::run::state::{Manner, Rest, RestReason, RunKind};
use migengine_journal::SledJournal;

pub(crate) const RUN: RunId = RunId::from_bytes([0x11; 16]);

pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

pub(crate) fn open(path: &Path) -> SledJournal {
    let opened = SledJournal::open(path).unwrap();
    assert_eq!(opened.note, None);
    opened.journal
}

/// Events with times one microsecond apart.
pub(crate) fn timed(events: Vec<Event>) -> Vec<(Timestamp, Event)> {
    (1_700_000_000_000_000..).map(Timestamp).zip(events).collect()
}

pub(crate) fn note(message: impl ToString) -> Event {
    Event::Noted { step: None, topic: "test".to_owned(), message: message.to_string() }
}

pub(crate) fn notes(count: usize) -> Vec<(Timestamp, Event)> {
    timed((0..count).map(note).collect())
}

/// The messages of notes, for comparing.
pub(crate) fn messages(records: &[(Recorded, Sealed)]) -> Vec<String> {
    records
        .iter()
        .map(|(recorded, _)| match &recorded.event {
            Event::Noted { message, .. } => message.clone(),
            other => panic!("{other:?} is no note"),
        })
        .collect()
}

pub(crate) fn started(kind: RunKind, steps: u32) -> Event {
    let steps = (0..steps)
        .map(|index| PlannedStep {
            id: MigrationId::new(format!("{:05}_step_with_a_name", index + 1)).unwrap(),
            requires: index.checked_sub(1).into_iter().collect(),
            content: Digest::of(&index.to_le_bytes()),
            tokens: Digest::of(&index.to_be_bytes()),
            transactional: index != 1,
            reversible: true,
        })
        .collect();
    Event::RunStarted(Box::new(RunStarted {
        kind,
        steps,
        plan_hash: Digest::of(b"plan"),
        database: DatabaseIdentity {
            uuid: "6a2f41a3-c54c-fce8-32d2-0324e1c32e22".to_owned(),
            system: 7_300_000_000_000_000_001,
            name: "shop".to_owned(),
            host: "db.example:5432".to_owned(),
        },
        engine: "0.1.0".to_owned(),
        actor: "ada@build-7".to_owned(),
        unwind_on_failure: kind == RunKind::Rollback,
    }))
}

fn failure() -> Box<Failure> {
    Box::new(Failure {
        code: "ME401".to_owned(),
        message: "column \"prix\" does not exist — perhaps \"price\"".to_owned(),
        sqlstate: Some("42703".to_owned()),
        detail: None,
        hint: Some("Perhaps you meant \"products.price\".".to_owned()),
        context: Some("SQL function \"total\" statement 1".to_owned()),
        objects: ["public".to_owned(), "products".to_owned(), "prix".to_owned(), String::new()],
        file: Some("migrations/00002_step_with_a_name.sql".to_owned()),
        line: Some(7),
        column: Some(12),
        statement: Some("UPDATE products SET prix = 1".to_owned()),
    })
}

fn locked(epoch: u64) -> Event {
    Event::Locked { epoch: Epoch(epoch), pid: 4711, backend_start: Timestamp(1_699_999_999_999_999) }
}

fn intent(step: u32, attempt: u32) -> Event {
    Event::StepIntent { step, attempt, content: Digest::of(b"script"), tokens: Digest::of(b"tokens") }
}

fn undo(step: u32, attempt: u32) -> Event {
    Event::UndoIntent { step, attempt, content: Digest::of(b"reverse"), tokens: Digest::of(b"reverse tokens") }
}

fn applied(step: u32) -> Event {
    Event::StepApplied { step, duration_us: 1500, adopted: None }
}

fn rested(reason: RestReason, step: Option<u32>) -> Event {
    Event::Rested(Rest { reason, step, message: format!("it rests: {}", reason.name()) })
}

/// The scenarios kept as golden files. Together they hold every kind of event.
pub(crate) fn scenarios() -> Vec<(&'static str, Vec<Event>)> {
    let begin = |kind| vec![started(kind, 3), locked(4), Event::Reconciled];
    let resumed = || vec![Event::Resumed { actor: "grace@laptop".to_owned() }, locked(5), Event::Reconciled];
    let failed = [
        begin(RunKind::Apply),
        vec![intent(0, 1), applied(0), intent(1, 1), Event::PartDone { step: 1, parts_done: 1 }],
        vec![Event::StepFailed { step: 1, failure: failure() }],
    ]
    .concat();
    let in_doubt = [
        begin(RunKind::Apply),
        vec![intent(0, 1), Event::StepInDoubt { step: 0, message: "the connection was lost".to_owned() }],
        vec![rested(RestReason::InDoubt, Some(0))],
    ]
    .concat();
    let unwinding = [
        failed.clone(),
        vec![Event::UnwindStarted { reason: "a step failed".to_owned() }, undo(0, 1)],
        vec![rested(RestReason::Interrupted, None)],
    ]
    .concat();
    let stuck = [
        begin(RunKind::Rollback),
        vec![undo(2, 1), Event::UndoFailed { step: 2, failure: failure() }, rested(RestReason::Stuck, Some(2))],
        resumed(),
        vec![Event::Resolved {
            step: 2,
            applied: false,
            reason: "dropped by hand".to_owned(),
            actor: "ada@build-7".to_owned(),
        }],
        vec![rested(RestReason::Diverged, None)],
    ]
    .concat();
    let rolled_back = [
        unwinding.clone(),
        resumed(),
        vec![Event::StepUndone { step: 0, duration_us: 0, adopted: Some('M') }, Event::StepsDone, Event::RunRolledBack],
    ]
    .concat();
    let committed = [
        in_doubt.clone(),
        resumed(),
        vec![Event::StepCleared { step: 0, label: 'E' }, intent(0, 2)],
        vec![Event::StepApplied { step: 0, duration_us: 0, adopted: Some('D') }],
        vec![Event::Noted {
            step: Some(1),
            topic: "notice".to_owned(),
            message: "relation exists, skipping".to_owned(),
        }],
        vec![intent(1, 1), applied(1), intent(2, 1), applied(2), Event::StepsDone, Event::RunCommitted],
    ]
    .concat();
    let at_once = [
        vec![started(RunKind::Apply, 2), Event::MannerChosen(Manner::AtOnce), locked(4), Event::Reconciled],
        vec![intent(0, 1), intent(1, 1), applied(0), applied(1), Event::StepsDone, Event::RunCommitted],
    ]
    .concat();
    vec![
        ("committed", committed),
        ("failed", [failed, vec![rested(RestReason::Failed, Some(1))]].concat()),
        ("in-doubt", in_doubt.clone()),
        ("unwinding", unwinding),
        ("rolled-back", rolled_back),
        ("stuck", stuck),
        ("torn-tail", in_doubt),
        ("at-once", at_once),
    ]
}
