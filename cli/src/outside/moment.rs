//! The moments of a run that hooks and notifications can wait for.

use migengine_engine::run::event::{Event, Recorded};
use migengine_engine::run::state::{RestReason, RunKind, RunSnapshot, RunState};
use serde::Deserialize;

/// A moment. Its name in the configuration is the one of [`Moment::name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// A run began.
    Started,
    /// An unfinished run was taken up again.
    Resumed,
    /// The runner lock is held.
    Locked,
    /// Journal and history agree; steps begin.
    Applying,
    /// A step is about to be sent, in either direction.
    StepStarted,
    /// A step took effect.
    StepApplied,
    /// A step, or its reversal, failed.
    StepFailed,
    /// The answer to a step was lost.
    StepInDoubt,
    /// A step is reversed.
    StepReversed,
    /// The run turned around.
    Unwinding,
    /// All steps are where they should be.
    Verifying,
    /// Final: everything is in effect.
    Committed,
    /// Final: nothing of the run is in effect, or everything asked for is reversed.
    RolledBack,
    /// The run stands still, whatever the reason.
    Rested,
    /// The run stands still, and no command goes on by itself: in doubt, diverged, stuck.
    NeedsPerson,
    /// A step failed and the run rests there, or the run was taken back because of it.
    Failed,
    /// The run is over, either way.
    Finished,
    /// The run did what it was asked for, and the schema was exported if that is configured.
    AfterSuccess,
}

impl Moment {
    /// All of them, in the order of a run.
    pub const ALL: [Self; 18] = [
        Self::Started,
        Self::Resumed,
        Self::Locked,
        Self::Applying,
        Self::StepStarted,
        Self::StepApplied,
        Self::StepFailed,
        Self::StepInDoubt,
        Self::StepReversed,
        Self::Unwinding,
        Self::Verifying,
        Self::Committed,
        Self::RolledBack,
        Self::Rested,
        Self::NeedsPerson,
        Self::Failed,
        Self::Finished,
        Self::AfterSuccess,
    ];

    /// The name in the configuration, in JSON and in `MIGENGINE_EVENT`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Resumed => "resumed",
            Self::Locked => "locked",
            Self::Applying => "applying",
            Self::StepStarted => "step_started",
            Self::StepApplied => "step_applied",
            Self::StepFailed => "step_failed",
            Self::StepInDoubt => "step_in_doubt",
            Self::StepReversed => "step_reversed",
            Self::Unwinding => "unwinding",
            Self::Verifying => "verifying",
            Self::Committed => "committed",
            Self::RolledBack => "rolled_back",
            Self::Rested => "rested",
            Self::NeedsPerson => "needs_person",
            Self::Failed => "failed",
            Self::Finished => "finished",
            Self::AfterSuccess => "after_success",
        }
    }
}

/// The moments that an event of a run is. `run` already contains it.
#[must_use]
pub fn moments(run: &RunSnapshot, record: &Recorded) -> Vec<Moment> {
    match &record.event {
        Event::Locked { .. } => vec![Moment::Locked],
        Event::Reconciled => vec![Moment::Applying],
        Event::StepIntent { .. } | Event::UndoIntent { .. } => vec![Moment::StepStarted],
        Event::StepApplied { .. } => vec![Moment::StepApplied],
        Event::StepFailed { .. } | Event::UndoFailed { .. } => vec![Moment::StepFailed],
        Event::StepInDoubt { .. } => vec![Moment::StepInDoubt],
        Event::StepUndone { .. } => vec![Moment::StepReversed],
        Event::UnwindStarted { .. } => vec![Moment::Unwinding],
        Event::StepsDone => vec![Moment::Verifying],
        Event::RunCommitted => vec![Moment::Committed, Moment::Finished],
        Event::RunRolledBack if run.epoch.is_none() => Vec::new(),
        Event::RunRolledBack if turned_by_failure(run) => vec![Moment::RolledBack, Moment::Failed, Moment::Finished],
        Event::RunRolledBack => vec![Moment::RolledBack, Moment::Finished],
        Event::Rested(rest) => match rest.reason {
            RestReason::Failed => vec![Moment::Rested, Moment::Failed],
            RestReason::InDoubt | RestReason::Diverged | RestReason::Stuck => vec![Moment::Rested, Moment::NeedsPerson],
            RestReason::Interrupted => vec![Moment::Rested],
        },
        _ => Vec::new(),
    }
}

/// An apply that ended where it began.
fn turned_by_failure(run: &RunSnapshot) -> bool {
    run.started.kind == RunKind::Apply && run.state == RunState::RolledBack && run.started.unwind_on_failure
}

#[cfg(test)]
mod tests {
    use super::Moment;

    #[test]
    fn every_moment_is_spelt_in_the_configuration_as_it_is_named() {
        for moment in Moment::ALL {
            let text = format!("\"{}\"", moment.name());
            assert_eq!(serde_json::from_str::<Moment>(&text).unwrap(), moment);
        }
    }
}
