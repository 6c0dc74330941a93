//! The state machine, as data. The engine runs from these tables, replay folds by them, and the diagram in
//! ARCHITECTURE.md is printed from them; a test fails when they differ.

use super::event::{Event, EventKind, Recorded};
use super::figures::{self, Figures};
use super::state::{Direction, Manner, RestReason, RunKind, RunSnapshot, RunState, StepIndex, StepSnapshot, StepState};
use crate::id::RunId;

/// One arrow of the run's diagram.
#[derive(Debug, Clone, Copy)]
pub struct Arrow {
    /// State before.
    pub from: RunState,
    /// The event that is written.
    pub on: EventKind,
    /// State after.
    pub to: RunState,
    /// Why the arrow exists.
    pub why: &'static str,
}

const fn arrow(from: RunState, on: EventKind, to: RunState, why: &'static str) -> Arrow {
    Arrow { from, on, to, why }
}

/// Every change of a run's state. An event that is not listed for a state leaves it alone if [`QUIET`] allows it there,
/// and is illegal otherwise.
pub static ARROWS: &[Arrow] = {
    use EventKind as E;
    use RunState::{Applying, Committed, Locked, Preflight, RolledBack, Verifying};
    &[
        arrow(Preflight, E::Locked, Locked, "lock taken"),
        arrow(Preflight, E::RunRolledBack, RolledBack, "given up before anything began"),
        arrow(Locked, E::Locked, Locked, "resumed: lock taken again"),
        arrow(Applying, E::Locked, Locked, "resumed: lock taken again"),
        arrow(Verifying, E::Locked, Locked, "resumed: lock taken again"),
        arrow(Locked, E::Reconciled, Applying, "journal and history agree"),
        arrow(Applying, E::StepsDone, Verifying, "every step is where it should be"),
        arrow(Verifying, E::RunCommitted, Committed, "verified, going forward"),
        arrow(Verifying, E::RunRolledBack, RolledBack, "verified, unwinding"),
        arrow(Verifying, E::UnwindStarted, Applying, "verification failed: turn around"),
    ]
};

/// Events that change no run state, and the states in which they may be written.
pub static QUIET: &[(EventKind, &[RunState])] = {
    use EventKind as E;
    use RunState::{Applying, Locked, Preflight, Verifying};
    &[
        (E::MannerChosen, &[Preflight]),
        (E::StepIntent, &[Applying]),
        (E::PartDone, &[Locked, Applying]),
        (E::StepApplied, &[Locked, Applying]),
        (E::StepFailed, &[Locked, Applying]),
        (E::StepInDoubt, &[Locked, Applying]),
        (E::StepCleared, &[Locked, Applying]),
        (E::UnwindStarted, &[Preflight, Locked, Applying]),
        (E::UndoIntent, &[Applying]),
        (E::StepUndone, &[Locked, Applying]),
        (E::UndoFailed, &[Locked, Applying]),
        (E::Rested, &[Preflight, Locked, Applying, Verifying]),
        (E::Resumed, &[Preflight, Locked, Applying, Verifying]),
        (E::Resolved, &[Preflight, Locked, Applying, Verifying]),
        (E::Noted, &RunState::ALL),
    ]
};

/// Every change of a step's state.
pub static STEP_ARROWS: &[(&[StepState], EventKind, StepState)] = {
    use EventKind as E;
    use StepState::{Applied, Failed, InDoubt, Intent, Pending, UndoFailed, UndoIntent, Undone};
    &[
        (&[Pending], E::StepIntent, Intent),
        (&[Pending, Intent, InDoubt, Failed], E::StepApplied, Applied),
        (&[Intent, InDoubt], E::StepFailed, Failed),
        (&[Intent], E::StepInDoubt, InDoubt),
        (&[UndoIntent], E::StepInDoubt, UndoIntent),
        (&[Pending, Intent, InDoubt, Failed], E::StepCleared, Pending),
        (&[Applied, UndoIntent, UndoFailed], E::StepCleared, Applied),
        // Pending and Failed: a script by parts that stopped half-way has parts to take back.
        (&[Applied, Pending, Failed], E::UndoIntent, UndoIntent),
        (&[Pending, Applied, UndoIntent, InDoubt, Intent, Failed], E::StepUndone, Undone),
        (&[UndoIntent], E::UndoFailed, UndoFailed),
    ]
};

/// An event that does not fit the state it met. In a journal it means damage or a bug, never a user's mistake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IllegalEvent {
    /// The first event of a run must be `run_started`, and no other may be.
    #[error("event {seq} is {kind}, which cannot stand there")]
    OutOfPlace {
        /// Its place.
        seq: u64,
        /// Its kind.
        kind: &'static str,
    },
    /// The run's state does not allow it.
    #[error("event {seq}, {kind}, is not allowed while the run is {state}")]
    RunState {
        /// Its place.
        seq: u64,
        /// Its kind.
        kind: &'static str,
        /// The run's state.
        state: RunState,
    },
    /// The step's state does not allow it.
    #[error("event {seq}, {kind}, is not allowed while step {step} is {state:?}")]
    StepState {
        /// Its place.
        seq: u64,
        /// Its kind.
        kind: &'static str,
        /// The step's position.
        step: StepIndex,
        /// The step's state, absent when the plan has no such step.
        state: Option<StepState>,
    },
    /// The way a run ends must agree with where it was heading.
    #[error("event {seq}, {kind}, contradicts the direction of the run")]
    Direction {
        /// Its place.
        seq: u64,
        /// Its kind.
        kind: &'static str,
    },
    /// Sequence numbers have a gap or repeat.
    #[error("event {seq} stands where {expected} should")]
    Sequence {
        /// Its number.
        seq: u64,
        /// The number due.
        expected: u64,
    },
}

impl RunSnapshot {
    /// The run right after its first event.
    ///
    /// # Errors
    /// The event is not `run_started`, or not the first.
    pub fn begin(run: RunId, first: &Recorded) -> Result<Self, IllegalEvent> {
        let Event::RunStarted(started) = &first.event else {
            return Err(IllegalEvent::OutOfPlace { seq: first.seq, kind: first.event.kind().name() });
        };
        if first.seq != 1 {
            return Err(IllegalEvent::Sequence { seq: first.seq, expected: 1 });
        }
        let (state, direction) = match started.kind {
            RunKind::Apply => (StepState::Pending, Direction::Forward),
            RunKind::Rollback => (StepState::Applied, Direction::Unwinding),
        };
        let step = StepSnapshot {
            state,
            attempts: 0,
            parts_done: 0,
            half_way: 0,
            duration_us: None,
            failure: None,
            figures: None,
            recovered: None,
            attested: None,
            tried: None,
        };
        Ok(Self {
            run,
            steps: vec![step; started.steps.len()],
            started: (**started).clone(),
            started_at: first.at,
            state: RunState::Preflight,
            direction,
            manner: Manner::default(),
            rest: None,
            epoch: None,
            finished_at: None,
            events: 1,
        })
    }

    /// Folds one more event in. Total: every event either fits or is an error, and an error changes nothing.
    ///
    /// # Errors
    /// The event does not fit; see [`IllegalEvent`].
    pub fn apply(&mut self, record: &Recorded) -> Result<(), IllegalEvent> {
        let (seq, kind) = (record.seq, record.event.kind());
        if seq != self.events + 1 {
            return Err(IllegalEvent::Sequence { seq, expected: self.events + 1 });
        }
        if kind == EventKind::RunStarted {
            return Err(IllegalEvent::OutOfPlace { seq, kind: kind.name() });
        }
        let state = self.next_run_state(seq, kind)?;
        self.apply_to_step(seq, &record.event)?;
        self.state = state;
        self.events = seq;
        match &record.event {
            Event::Locked { epoch, .. } => self.epoch = Some(*epoch),
            Event::MannerChosen(manner) => self.manner = *manner,
            Event::UnwindStarted { .. } => {
                self.direction = Direction::Unwinding;
                self.steps
                    .iter_mut()
                    .filter(|step| step.state == StepState::Applied)
                    .for_each(|step| step.parts_done = 0);
            }
            Event::Rested(rest) => {
                self.rest = Some(rest.clone());
                self.withdraw_intents();
            }
            Event::Noted { step: Some(step), topic, message } if topic == figures::TOPIC => {
                if let (Some(step), Some(more)) = (self.steps.get_mut(*step as usize), Figures::parse(message)) {
                    step.figures = Some(step.figures.map_or(more, |before| before.and(more)));
                }
            }
            Event::Resumed { .. } => self.rest = None,
            Event::RunCommitted | Event::RunRolledBack => {
                self.rest = None;
                self.finished_at = Some(record.at);
            }
            _ => {}
        }
        Ok(())
    }

    fn next_run_state(&self, seq: u64, kind: EventKind) -> Result<RunState, IllegalEvent> {
        let heading = match kind {
            EventKind::RunCommitted => self.direction == Direction::Forward,
            EventKind::RunRolledBack => self.direction == Direction::Unwinding || self.state == RunState::Preflight,
            _ => true,
        };
        if !heading {
            return Err(IllegalEvent::Direction { seq, kind: kind.name() });
        }
        if let Some(arrow) = ARROWS.iter().find(|arrow| arrow.from == self.state && arrow.on == kind) {
            return Ok(arrow.to);
        }
        let quiet = QUIET.iter().any(|(event, states)| *event == kind && states.contains(&self.state));
        if quiet { Ok(self.state) } else { Err(IllegalEvent::RunState { seq, kind: kind.name(), state: self.state }) }
    }

    fn apply_to_step(&mut self, seq: u64, event: &Event) -> Result<(), IllegalEvent> {
        let kind = event.kind();
        let about_a_step = !matches!(kind, EventKind::Noted | EventKind::Rested);
        let Some(index) = event.step().filter(|_| about_a_step) else { return Ok(()) };
        let Some(step) = self.steps.get_mut(index as usize) else {
            return Err(IllegalEvent::StepState { seq, kind: kind.name(), step: index, state: None });
        };
        let illegal = IllegalEvent::StepState { seq, kind: kind.name(), step: index, state: Some(step.state) };
        let next = match event {
            Event::PartDone { .. } => step.state,
            // A reverse script that failed may be tried again; everything else stays in doubt until the table is asked.
            Event::Resolved { .. } if step.state == StepState::UndoFailed => StepState::Applied,
            Event::Resolved { .. } => step.state,
            _ => next_step_state(step.state, kind).ok_or(illegal)?,
        };
        match event {
            Event::StepIntent { attempt, content, tokens, .. } | Event::UndoIntent { attempt, content, tokens, .. } => {
                step.attempts = *attempt;
                step.figures = None;
                step.tried = Some((*content, *tokens));
                if kind == EventKind::UndoIntent {
                    let stopped_half_way = matches!(step.state, StepState::Pending | StepState::Failed);
                    step.half_way = if stopped_half_way { step.parts_done } else { 0 };
                    step.parts_done = 0;
                }
            }
            Event::PartDone { parts_done, .. } => {
                step.parts_done = *parts_done;
                step.attested = None;
            }
            Event::Resolved { applied, .. } => step.attested = Some(*applied),
            Event::StepApplied { duration_us, adopted, .. } | Event::StepUndone { duration_us, adopted, .. } => {
                step.duration_us = adopted.is_none().then_some(*duration_us);
                step.recovered = *adopted;
                step.parts_done = 0;
                step.half_way = 0;
                step.failure = None;
            }
            Event::StepFailed { failure, .. } | Event::UndoFailed { failure, .. } => {
                step.failure = Some((**failure).clone());
            }
            Event::StepCleared { label, .. } => step.recovered = Some(*label),
            _ => {}
        }
        let cleared = kind == EventKind::StepCleared && step.state == StepState::UndoIntent;
        step.state = next;
        if cleared {
            step.back_to_half_way();
        }
        Ok(())
    }

    /// Intents are written ahead in batches. A run that comes to rest in good order, after it had reconciled and with
    /// its session in hand, knows that none of them is in flight. One that lost its session, or had not reconciled what
    /// an earlier process left, knows nothing of the kind: every intent stays for the recovery table.
    fn withdraw_intents(&mut self) {
        let in_doubt = self.rest.as_ref().is_some_and(|rest| rest.reason == RestReason::InDoubt);
        if in_doubt || self.state != RunState::Applying {
            return;
        }
        for step in self.steps.iter_mut().filter(|step| step.parts_done == 0) {
            match step.state {
                StepState::Intent => step.state = StepState::Pending,
                StepState::UndoIntent => {
                    step.state = StepState::Applied;
                    step.back_to_half_way();
                }
                _ => {}
            }
        }
    }
}

impl StepSnapshot {
    /// A reversal that had no effect leaves a step that had stopped half-way where it was: its history row says "begun",
    /// not "applied".
    fn back_to_half_way(&mut self) {
        if self.half_way > 0 {
            self.state = StepState::Pending;
            self.parts_done = self.half_way;
        }
    }
}

/// The state of a step after an event, by [`STEP_ARROWS`].
#[must_use]
pub fn next_step_state(from: StepState, on: EventKind) -> Option<StepState> {
    STEP_ARROWS.iter().find(|(states, event, _)| *event == on && states.contains(&from)).map(|(_, _, to)| *to)
}

/// Folds all events of a run.
///
/// # Errors
/// The first event that does not fit. `Ok(None)` for no events.
pub fn fold<'a>(
    run: RunId,
    records: impl IntoIterator<Item = &'a Recorded>,
) -> Result<Option<RunSnapshot>, IllegalEvent> {
    let mut records = records.into_iter();
    let Some(first) = records.next() else { return Ok(None) };
    let mut snapshot = RunSnapshot::begin(run, first)?;
    for record in records {
        snapshot.apply(record)?;
    }
    Ok(Some(snapshot))
}

/// The diagram of ARCHITECTURE.md, in Mermaid, from [`ARROWS`].
#[must_use]
pub fn diagram() -> String {
    use std::fmt::Write as _;
    let mut text = String::from("stateDiagram-v2\n    [*] --> Preflight: run_started\n");
    for arrow in ARROWS {
        let _ = writeln!(text, "    {} --> {}: {} ({})", arrow.from, arrow.to, arrow.on.name(), arrow.why);
    }
    for state in RunState::ALL.into_iter().filter(|state| state.is_final()) {
        let _ = writeln!(text, "    {state} --> [*]");
    }
    text
}

#[cfg(test)]
mod tests;
