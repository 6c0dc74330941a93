use std::collections::BTreeSet;

use super::*;
use crate::id::{Digest, Epoch, MigrationId, Timestamp};
use crate::run::decide::{Next, next};
use crate::run::event::{DatabaseIdentity, PlannedStep, RunStarted};
use crate::run::state::Rest;

const RUN: RunId = RunId::from_bytes([7; 16]);

fn started(kind: RunKind, steps: usize) -> Event {
    let step = |index: usize| PlannedStep {
        id: MigrationId::new(format!("{:03}_step", index + 1)).unwrap(),
        requires: index.checked_sub(1).map(|before| vec![u32::try_from(before).unwrap()]).unwrap_or_default(),
        content: Digest::ZERO,
        tokens: Digest::ZERO,
        transactional: true,
        reversible: true,
    };
    Event::RunStarted(Box::new(RunStarted {
        kind,
        steps: (0..steps).map(step).collect(),
        plan_hash: Digest::ZERO,
        database: DatabaseIdentity::default(),
        engine: "0".into(),
        actor: "test".into(),
        unwind_on_failure: false,
    }))
}

fn run_of(kind: RunKind, events: &[Event]) -> Result<RunSnapshot, IllegalEvent> {
    let mut all = vec![started(kind, 2)];
    all.extend_from_slice(events);
    let records: Vec<Recorded> = (1..)
        .zip(all)
        .map(|(seq, event)| Recorded { run: RUN, seq, at: Timestamp(i64::try_from(seq).unwrap()), event })
        .collect();
    fold(RUN, &records).map(Option::unwrap)
}

fn locked() -> Event {
    Event::Locked { epoch: Epoch(1), pid: 1, backend_start: Timestamp(0) }
}
fn intent(step: StepIndex) -> Event {
    Event::StepIntent { step, attempt: 1, content: Digest::ZERO, tokens: Digest::ZERO }
}
fn applied(step: StepIndex) -> Event {
    Event::StepApplied { step, duration_us: 5, adopted: None }
}
fn undo_intent(step: StepIndex) -> Event {
    Event::UndoIntent { step, attempt: 1, content: Digest::ZERO, tokens: Digest::ZERO }
}
fn undone(step: StepIndex) -> Event {
    Event::StepUndone { step, duration_us: 5, adopted: None }
}
fn rested(reason: RestReason, step: Option<StepIndex>) -> Event {
    Event::Rested(Rest { reason, step, message: String::new() })
}

#[test]
fn a_run_goes_through_all_states_to_committed() {
    let run = run_of(
        RunKind::Apply,
        &[
            locked(),
            Event::Reconciled,
            intent(0),
            intent(1),
            applied(0),
            applied(1),
            Event::StepsDone,
            Event::RunCommitted,
        ],
    )
    .unwrap();
    assert_eq!(run.state, RunState::Committed);
    assert_eq!(next(&run), Next::Done);
    assert_eq!(run.finished_at, Some(Timestamp(9)));
}

#[test]
fn a_rollback_begins_applied_and_ends_rolled_back_newest_first() {
    let begun = run_of(RunKind::Rollback, &[locked(), Event::Reconciled]).unwrap();
    assert_eq!(next(&begun), Next::Undo(vec![1, 0]));
    let run = run_of(
        RunKind::Rollback,
        &[
            locked(),
            Event::Reconciled,
            undo_intent(1),
            undone(1),
            undo_intent(0),
            undone(0),
            Event::StepsDone,
            Event::RunRolledBack,
        ],
    )
    .unwrap();
    assert_eq!(run.state, RunState::RolledBack);
}

#[test]
fn a_run_cannot_end_against_its_direction() {
    let events = [locked(), Event::Reconciled, Event::StepsDone];
    for (kind, end) in [(RunKind::Apply, Event::RunRolledBack), (RunKind::Rollback, Event::RunCommitted)] {
        let mut events = events.to_vec();
        events.push(end);
        assert!(matches!(run_of(kind, &events), Err(IllegalEvent::Direction { .. })));
    }
}

#[test]
fn intents_written_ahead_are_withdrawn_by_a_rest_in_good_order() {
    let run = run_of(
        RunKind::Apply,
        &[locked(), Event::Reconciled, intent(0), intent(1), applied(0), rested(RestReason::Interrupted, None)],
    )
    .unwrap();
    assert_eq!(run.steps[1].state, StepState::Pending);
    let run = run_of(
        RunKind::Apply,
        &[locked(), Event::Reconciled, intent(0), intent(1), rested(RestReason::InDoubt, Some(0))],
    )
    .unwrap();
    assert_eq!((run.steps[0].state, run.steps[1].state), (StepState::Intent, StepState::Intent));
}

#[test]
fn a_crash_leaves_intents_in_doubt_until_reconciled() {
    let run = run_of(RunKind::Apply, &[locked(), Event::Reconciled, intent(0)]).unwrap();
    assert_eq!(next(&run), Next::InDoubt(0));
    let run = run_of(RunKind::Apply, &[locked(), Event::Reconciled, intent(0), locked()]).unwrap();
    assert_eq!(next(&run), Next::Reconcile);
}

#[test]
fn every_pair_of_state_and_event_is_either_declared_or_refused() {
    for state in RunState::ALL {
        for kind in EventKind::ALL {
            let arrows = ARROWS.iter().filter(|arrow| arrow.from == state && arrow.on == kind).count();
            let quiet = QUIET.iter().filter(|(event, states)| *event == kind && states.contains(&state)).count();
            assert!(arrows + quiet <= 1, "{state} on {} is declared twice", kind.name());
            let declared_while_final = state.is_final() && (arrows > 0 || (quiet > 0 && kind != EventKind::Noted));
            assert!(!declared_while_final, "{state} is final");
        }
    }
}

#[test]
fn every_step_event_has_one_meaning_in_each_state() {
    for state in StepState::ALL {
        for kind in EventKind::ALL {
            let arrows = STEP_ARROWS.iter().filter(|(from, on, _)| from.contains(&state) && *on == kind).count();
            assert!(arrows <= 1, "{state:?} on {} is declared twice", kind.name());
        }
    }
}

#[test]
fn every_state_can_be_reached() {
    let mut reached = BTreeSet::from([RunState::Preflight]);
    for _ in RunState::ALL {
        reached.extend(
            ARROWS.iter().filter(|arrow| reached.contains(&arrow.from)).map(|arrow| arrow.to).collect::<Vec<_>>(),
        );
    }
    assert_eq!(reached.len(), RunState::ALL.len());
}

#[test]
fn gaps_and_repeats_in_the_sequence_are_refused() {
    let first = Recorded { run: RUN, seq: 1, at: Timestamp(0), event: started(RunKind::Apply, 1) };
    for seq in [1, 3, 0] {
        let second = Recorded { run: RUN, seq, at: Timestamp(0), event: locked() };
        assert!(matches!(fold(RUN, [&first, &second]), Err(IllegalEvent::Sequence { expected: 2, .. })));
    }
}

#[test]
fn the_diagram_in_the_architecture_is_this_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../ARCHITECTURE.md");
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(&diagram()), "ARCHITECTURE.md must contain exactly:\n{}", diagram());
}
