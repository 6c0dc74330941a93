//! What a run does next: one pure function of its snapshot. A fresh run is a resumed run with nothing behind it.

use super::state::{Direction, RunSnapshot, RunState, StepIndex, StepSnapshot, StepState};

/// The next act of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Take the runner lock.
    Lock,
    /// Go through the recovery table, step by step, and record what it says.
    Reconcile,
    /// Apply these steps, which may begin now, in this order.
    Apply(Vec<StepIndex>),
    /// Reverse these steps, which may begin now, in this order.
    Undo(Vec<StepIndex>),
    /// A step failed: turn around, or rest, as the run was told.
    Failed(StepIndex),
    /// A step's outcome is unknown: take the lock again and ask the database.
    InDoubt(StepIndex),
    /// A reverse script failed: a person must act.
    Stuck(StepIndex),
    /// Record that all steps are where they should be.
    StepsDone,
    /// Check the result, then record the end.
    Verify,
    /// The run is over.
    Done,
}

/// Decides.
#[must_use]
pub fn next(run: &RunSnapshot) -> Next {
    match run.state {
        RunState::Preflight => Next::Lock,
        RunState::Locked => Next::Reconcile,
        RunState::Verifying => Next::Verify,
        RunState::Committed | RunState::RolledBack => Next::Done,
        RunState::Applying => next_step(run),
    }
}

fn next_step(run: &RunSnapshot) -> Next {
    let first = |state| run.steps_in(state).next();
    if let Some(step) = first(StepState::UndoFailed) {
        return Next::Stuck(step);
    }
    let doubtful = [StepState::InDoubt, StepState::Intent, StepState::UndoIntent];
    if let Some(step) = doubtful.into_iter().find_map(first) {
        return Next::InDoubt(step);
    }
    match run.direction {
        Direction::Forward => {
            if let Some(step) = first(StepState::Failed) {
                return Next::Failed(step);
            }
            let ready = forward(run);
            if ready.is_empty() { Next::StepsDone } else { Next::Apply(ready) }
        }
        Direction::Unwinding => {
            let ready = backward(run);
            if ready.is_empty() { Next::StepsDone } else { Next::Undo(ready) }
        }
    }
}

/// All pending steps in plan order. The plan's order respects the graph, so a serial runner takes them as they come;
/// one with several sessions asks [`requirements_met`] for each.
fn forward(run: &RunSnapshot) -> Vec<StepIndex> {
    run.steps_in(StepState::Pending).collect()
}

/// All applied steps, newest first. A step with recorded parts that failed half-way is reversed too: its parts are in
/// effect.
fn backward(run: &RunSnapshot) -> Vec<StepIndex> {
    let in_effect = |step: &StepSnapshot| match step.state {
        StepState::Applied => true,
        StepState::Pending | StepState::Failed => step.parts_done > 0,
        _ => false,
    };
    let steps = (0u32..).zip(&run.steps).filter(|(_, step)| in_effect(step)).map(|(index, _)| index);
    let mut steps: Vec<StepIndex> = steps.collect();
    steps.reverse();
    steps
}

/// Whether all requirements of a step inside its run are in effect.
#[must_use]
pub fn requirements_met(run: &RunSnapshot, step: StepIndex) -> bool {
    let Some(planned) = run.started.steps.get(step as usize) else { return false };
    planned
        .requires
        .iter()
        .all(|required| run.steps.get(*required as usize).is_some_and(|snapshot| snapshot.state == StepState::Applied))
}

/// Whether no step of its run that requires this one is still in effect.
#[must_use]
pub fn dependants_gone(run: &RunSnapshot, step: StepIndex) -> bool {
    run.started.steps.iter().zip(&run.steps).all(|(planned, snapshot)| {
        !planned.requires.contains(&step)
            || matches!(snapshot.state, StepState::Pending | StepState::Undone | StepState::Failed)
    })
}
