//! What a run is at one moment: the fold of its events.

use std::fmt;

use super::event::{Event, RunStarted};
use super::failure::Failure;
use super::figures::Figures;
use crate::id::{Digest, Epoch, RunId, Timestamp};

/// The six states of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RunState {
    /// Recorded; nothing of the target was touched.
    Preflight,
    /// The runner lock is held; the journal is being reconciled with the history.
    Locked,
    /// Steps are applied or reversed.
    Applying,
    /// All steps are where they should be; that is being checked.
    Verifying,
    /// Final: everything planned took effect.
    Committed,
    /// Final: nothing of this run is in effect.
    RolledBack,
}

impl RunState {
    /// In the order of the diagram.
    pub const ALL: [Self; 6] =
        [Self::Preflight, Self::Locked, Self::Applying, Self::Verifying, Self::Committed, Self::RolledBack];

    /// Whether the run is over.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Committed | Self::RolledBack)
    }

    /// The name used in JSON, the journal's text and the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Preflight => "Preflight",
            Self::Locked => "Locked",
            Self::Applying => "Applying",
            Self::Verifying => "Verifying",
            Self::Committed => "Committed",
            Self::RolledBack => "RolledBack",
        }
    }

    /// The state of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a run was started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunKind {
    /// Its steps begin pending and should end applied.
    Apply,
    /// Its steps begin applied and should end reversed.
    Rollback,
}

impl RunKind {
    /// The name used in JSON and in the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Rollback => "rollback",
        }
    }
}

/// How the steps of a run take effect. One by one, unless the run was told otherwise before it took the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Manner {
    /// Each by itself.
    #[default]
    StepByStep,
    /// All of them in one transaction, or none.
    AtOnce,
}

impl Manner {
    /// The event by which a run is told to take effect so; none where that is how runs do.
    #[must_use]
    pub fn chosen(self) -> Option<Event> {
        (self != Self::default()).then_some(Event::MannerChosen(self))
    }

    /// The name used in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::StepByStep => "step_by_step",
            Self::AtOnce => "at_once",
        }
    }
}

/// Where a run is heading. Derived from its kind and its events, never stored by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Towards `Committed`.
    Forward,
    /// Towards `RolledBack`.
    Unwinding,
}

/// What the journal knows of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StepState {
    /// Not begun, or certainly without effect.
    Pending,
    /// The intent is on disk; whether anything was sent is unknown until an outcome follows.
    Intent,
    /// Took effect.
    Applied,
    /// The server refused it; certainly without effect, except for the recorded parts before.
    Failed,
    /// Sent, and the answer was lost.
    InDoubt,
    /// The intent to reverse it is on disk.
    UndoIntent,
    /// Reversed.
    Undone,
    /// The reverse script failed.
    UndoFailed,
}

impl StepState {
    /// All states, for tables that must be total.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Intent,
        Self::Applied,
        Self::Failed,
        Self::InDoubt,
        Self::UndoIntent,
        Self::Undone,
        Self::UndoFailed,
    ];

    /// The name shown outside: the five step states of the JSON interface.
    #[must_use]
    pub const fn public_name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Applied => "applied",
            Self::Failed | Self::UndoFailed => "failed",
            Self::Intent | Self::InDoubt | Self::UndoIntent => "in_doubt",
            Self::Undone => "rolled_back",
        }
    }
}

/// Position of a step in its run's plan, from 0.
pub type StepIndex = u32;

/// Why a run that is not final stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RestReason {
    /// A signal, or the runner ended in good order before the run did.
    Interrupted,
    /// A step failed and the run was told to stop there.
    Failed,
    /// An outcome is unknown and the database could not be asked.
    InDoubt,
    /// Journal, history and files contradict each other.
    Diverged,
    /// A reverse script failed, or an effect cannot be told from the catalogs: a person must decide.
    Stuck,
}

impl RestReason {
    /// The name used in JSON and in the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Interrupted => "interrupted",
            Self::Failed => "failed",
            Self::InDoubt => "in_doubt",
            Self::Diverged => "diverged",
            Self::Stuck => "stuck",
        }
    }

    /// The reason of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Interrupted, Self::Failed, Self::InDoubt, Self::Diverged, Self::Stuck]
            .into_iter()
            .find(|reason| reason.name() == name)
    }
}

/// A rest: the reason, the step it is about, and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rest {
    /// Why.
    pub reason: RestReason,
    /// The step it is about, if one.
    pub step: Option<StepIndex>,
    /// What happened, one sentence.
    pub message: String,
}

/// One step of a run, folded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepSnapshot {
    /// Where it stands.
    pub state: StepState,
    /// How often it was begun, in either direction.
    pub attempts: u32,
    /// Parts of the script that are known to be done in the present direction.
    pub parts_done: u32,
    /// Parts of the forward script that were done when its reversal began, if it had stopped half-way; else 0.
    pub half_way: u32,
    /// Time spent in the last attempt that ended, in microseconds.
    pub duration_us: Option<u64>,
    /// The last failure.
    pub failure: Option<Failure>,
    /// What it cost, where that was worth keeping.
    pub figures: Option<Figures>,
    /// Which row of the recovery table settled it, if one did.
    pub recovered: Option<char>,
    /// What a person said of a part whose effect cannot be told from the catalogs.
    pub attested: Option<bool>,
    /// The checksums of the script that took effect or was last tried: content, tokens.
    pub tried: Option<(Digest, Digest)>,
}

/// A run, folded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunSnapshot {
    /// Its identity.
    pub run: RunId,
    /// How it was started: kind, plan, database.
    pub started: RunStarted,
    /// When its first event was written.
    pub started_at: Timestamp,
    /// Where it stands.
    pub state: RunState,
    /// Where it is heading.
    pub direction: Direction,
    /// How its steps take effect on the way forward.
    pub manner: Manner,
    /// Why it stands still, if it does.
    pub rest: Option<Rest>,
    /// Its steps, in plan order.
    pub steps: Vec<StepSnapshot>,
    /// The epoch of the last lock it held.
    pub epoch: Option<Epoch>,
    /// When it became final.
    pub finished_at: Option<Timestamp>,
    /// Number of events folded.
    pub events: u64,
}

impl RunSnapshot {
    /// Steps in a given state.
    pub fn steps_in(&self, state: StepState) -> impl Iterator<Item = StepIndex> + '_ {
        (0u32..).zip(&self.steps).filter(move |(_, step)| step.state == state).map(|(index, _)| index)
    }

    /// Whether a step that fails turns the run around at once. Where all steps take effect at once nothing of the run is
    /// in effect then, so there is nothing to come back to.
    #[must_use]
    pub fn turns_around(&self) -> bool {
        self.started.unwind_on_failure || self.manner == Manner::AtOnce
    }

    /// Whether any step of this run is, or may be, in effect.
    #[must_use]
    pub fn may_have_effects(&self) -> bool {
        self.steps.iter().any(|step| {
            !matches!(step.state, StepState::Pending | StepState::Undone | StepState::Failed) || step.parts_done > 0
        })
    }

    /// The id of a step, or a placeholder for an index outside the plan.
    #[must_use]
    pub fn step_name(&self, step: StepIndex) -> &str {
        self.started.steps.get(step as usize).map_or("?", |planned| planned.id.as_str())
    }
}
