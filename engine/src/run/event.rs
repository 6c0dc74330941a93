//! What the journal stores. Events are facts in the past tense; every state is derived from them.
//!
//! The stored form is defined by the journal crate, which freezes it per version: these types may change, what was
//! written may not.

use super::failure::Failure;
use super::state::{Manner, Rest, RunKind, StepIndex};
use crate::id::{Digest, Epoch, MigrationId, RunId, Timestamp};

/// The database a run belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DatabaseIdentity {
    /// Drawn when the engine's schema was created; travels with dumps and copies.
    pub uuid: String,
    /// `system_identifier` of the cluster, 0 where it may not be read.
    pub system: u64,
    /// Name of the database.
    pub name: String,
    /// Where it was reached: `host:port`, for people.
    pub host: String,
}

/// One step of the plan, as it was when the run began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedStep {
    /// The migration.
    pub id: MigrationId,
    /// Steps of this run that must be applied before it, by position.
    pub requires: Vec<StepIndex>,
    /// Checksum of the forward script, which is what the history keeps: its bytes.
    pub content: Digest,
    /// The same over its tokens.
    pub tokens: Digest,
    /// Whether the script that runs (forward for an apply, reverse for a rollback) is one transaction.
    pub transactional: bool,
    /// Whether there is a reverse script.
    pub reversible: bool,
}

/// The first event of every run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunStarted {
    /// What for.
    pub kind: RunKind,
    /// The plan, in order. For a rollback: the order in which the migrations were applied; it runs backwards.
    pub steps: Vec<PlannedStep>,
    /// Hash of the plan.
    pub plan_hash: Digest,
    /// The target.
    pub database: DatabaseIdentity,
    /// Version of migengine.
    pub engine: String,
    /// Who started it: `user@host`, for people.
    pub actor: String,
    /// Whether a failing step turns the run around at once.
    pub unwind_on_failure: bool,
}

/// A fact about a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The run exists. Nothing else has happened.
    RunStarted(Box<RunStarted>),
    /// How the steps are to take effect was chosen, otherwise than one by one.
    MannerChosen(Manner),
    /// The runner lock is held under a new epoch.
    Locked {
        /// Fencing number.
        epoch: Epoch,
        /// Backend that holds the lock.
        pid: i32,
        /// Its start, which with the pid identifies it for ever.
        backend_start: Timestamp,
    },
    /// Journal and history agree; work may begin.
    Reconciled,
    /// A step is about to be sent.
    StepIntent {
        /// Which.
        step: StepIndex,
        /// From 1.
        attempt: u32,
        /// Checksum of the bytes about to be sent.
        content: Digest,
        /// Checksum of their tokens.
        tokens: Digest,
    },
    /// One part of a script of several parts is done (in the step's present direction).
    PartDone {
        /// Which step.
        step: StepIndex,
        /// Parts done so far, from 1.
        parts_done: u32,
    },
    /// A step took effect.
    StepApplied {
        /// Which.
        step: StepIndex,
        /// Microseconds; 0 when it was found applied.
        duration_us: u64,
        /// The row of the recovery table that found it so, if it was not seen happening.
        adopted: Option<char>,
    },
    /// A step failed and left nothing but its recorded parts.
    StepFailed {
        /// Which.
        step: StepIndex,
        /// Why.
        failure: Box<Failure>,
    },
    /// The answer to a step, in either direction, was lost.
    StepInDoubt {
        /// Which.
        step: StepIndex,
        /// What was lost.
        message: String,
    },
    /// It is certain that an intent had no effect; the step may begin again, or be left alone.
    StepCleared {
        /// Which.
        step: StepIndex,
        /// The row of the recovery table that says so.
        label: char,
    },
    /// The run turned around.
    UnwindStarted {
        /// Why, one sentence.
        reason: String,
    },
    /// A reverse script is about to be sent.
    UndoIntent {
        /// Which.
        step: StepIndex,
        /// From 1.
        attempt: u32,
        /// Checksum of the bytes about to be sent.
        content: Digest,
        /// Checksum of their tokens.
        tokens: Digest,
    },
    /// A step is reversed.
    StepUndone {
        /// Which.
        step: StepIndex,
        /// Microseconds; 0 when it was found reversed.
        duration_us: u64,
        /// The row of the recovery table that found it so, if it was not seen happening.
        adopted: Option<char>,
    },
    /// A reverse script failed.
    UndoFailed {
        /// Which.
        step: StepIndex,
        /// Why.
        failure: Box<Failure>,
    },
    /// All steps are where they should be.
    StepsDone,
    /// The run stands still.
    Rested(Rest),
    /// The run goes on.
    Resumed {
        /// Who resumed it.
        actor: String,
    },
    /// A person settled what the catalogs could not.
    Resolved {
        /// Which step.
        step: StepIndex,
        /// Whether it counts as in effect.
        applied: bool,
        /// Why, in their words.
        reason: String,
        /// Who.
        actor: String,
    },
    /// Final: everything planned is in effect and verified.
    RunCommitted,
    /// Final: nothing of the run is in effect.
    RunRolledBack,
    /// Something worth keeping that changes no state: a lock wait, a notice of the server, a hook. Readers may skip it.
    Noted {
        /// Which step, if one.
        step: Option<StepIndex>,
        /// What sort of note, a short fixed word.
        topic: String,
        /// One sentence.
        message: String,
    },
}

/// An event with its place in its run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its run.
    pub run: RunId,
    /// Its place, from 1, without gaps.
    pub seq: u64,
    /// When it was recorded.
    pub at: Timestamp,
    /// The fact.
    pub event: Event,
}

/// The kind of an event, for tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // one for one the variants of `Event`
pub enum EventKind {
    RunStarted,
    MannerChosen,
    Locked,
    Reconciled,
    StepIntent,
    PartDone,
    StepApplied,
    StepFailed,
    StepInDoubt,
    StepCleared,
    UnwindStarted,
    UndoIntent,
    StepUndone,
    UndoFailed,
    StepsDone,
    Rested,
    Resumed,
    Resolved,
    RunCommitted,
    RunRolledBack,
    Noted,
}

impl EventKind {
    /// All kinds, for tables that must be total.
    pub const ALL: [Self; 21] = [
        Self::RunStarted,
        Self::MannerChosen,
        Self::Locked,
        Self::Reconciled,
        Self::StepIntent,
        Self::PartDone,
        Self::StepApplied,
        Self::StepFailed,
        Self::StepInDoubt,
        Self::StepCleared,
        Self::UnwindStarted,
        Self::UndoIntent,
        Self::StepUndone,
        Self::UndoFailed,
        Self::StepsDone,
        Self::Rested,
        Self::Resumed,
        Self::Resolved,
        Self::RunCommitted,
        Self::RunRolledBack,
        Self::Noted,
    ];

    /// The name used in JSON and in the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RunStarted => "run_started",
            Self::MannerChosen => "manner_chosen",
            Self::Locked => "locked",
            Self::Reconciled => "reconciled",
            Self::StepIntent => "step_intent",
            Self::PartDone => "part_done",
            Self::StepApplied => "step_applied",
            Self::StepFailed => "step_failed",
            Self::StepInDoubt => "step_in_doubt",
            Self::StepCleared => "step_cleared",
            Self::UnwindStarted => "unwind_started",
            Self::UndoIntent => "undo_intent",
            Self::StepUndone => "step_undone",
            Self::UndoFailed => "undo_failed",
            Self::StepsDone => "steps_done",
            Self::Rested => "rested",
            Self::Resumed => "resumed",
            Self::Resolved => "resolved",
            Self::RunCommitted => "run_committed",
            Self::RunRolledBack => "run_rolled_back",
            Self::Noted => "noted",
        }
    }
}

impl Event {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> EventKind {
        match self {
            Self::RunStarted(_) => EventKind::RunStarted,
            Self::MannerChosen(_) => EventKind::MannerChosen,
            Self::Locked { .. } => EventKind::Locked,
            Self::Reconciled => EventKind::Reconciled,
            Self::StepIntent { .. } => EventKind::StepIntent,
            Self::PartDone { .. } => EventKind::PartDone,
            Self::StepApplied { .. } => EventKind::StepApplied,
            Self::StepFailed { .. } => EventKind::StepFailed,
            Self::StepInDoubt { .. } => EventKind::StepInDoubt,
            Self::StepCleared { .. } => EventKind::StepCleared,
            Self::UnwindStarted { .. } => EventKind::UnwindStarted,
            Self::UndoIntent { .. } => EventKind::UndoIntent,
            Self::StepUndone { .. } => EventKind::StepUndone,
            Self::UndoFailed { .. } => EventKind::UndoFailed,
            Self::StepsDone => EventKind::StepsDone,
            Self::Rested(_) => EventKind::Rested,
            Self::Resumed { .. } => EventKind::Resumed,
            Self::Resolved { .. } => EventKind::Resolved,
            Self::RunCommitted => EventKind::RunCommitted,
            Self::RunRolledBack => EventKind::RunRolledBack,
            Self::Noted { .. } => EventKind::Noted,
        }
    }

    /// The step it is about, if one.
    #[must_use]
    pub fn step(&self) -> Option<StepIndex> {
        match self {
            Self::StepIntent { step, .. }
            | Self::PartDone { step, .. }
            | Self::StepApplied { step, .. }
            | Self::StepFailed { step, .. }
            | Self::StepInDoubt { step, .. }
            | Self::StepCleared { step, .. }
            | Self::UndoIntent { step, .. }
            | Self::StepUndone { step, .. }
            | Self::UndoFailed { step, .. }
            | Self::Resolved { step, .. } => Some(*step),
            Self::Noted { step, .. } => *step,
            Self::Rested(rest) => rest.step,
            _ => None,
        }
    }
}
