//! A plan: steps in the order in which they run, and a hash that names exactly this plan.

use std::collections::BTreeMap;

use super::input::Script;
use crate::diag::{Diagnostic, Severity};
use crate::id::{Digest, MigrationId};
use crate::run::event::PlannedStep;
use crate::run::state::{RunKind, StepIndex};

/// Where the script of a step is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The folder.
    File,
    /// The copy in the history, because the folder has none.
    History,
}

/// One migration to apply or to reverse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanStep {
    /// The migration.
    pub id: MigrationId,
    /// Its forward script as shown to people; empty when the file is gone.
    pub file: String,
    /// What it requires directly, in (number, id) order; also what is applied already or not part of the plan.
    pub requires: Vec<MigrationId>,
    /// The script to run: forward for an apply, reverse for a rollback.
    pub script: Script,
    /// Where that script is.
    pub source: Source,
    /// Checksums (bytes, tokens) of the forward script: of the file for an apply, of what is in effect for a rollback.
    pub forward: (Digest, Digest),
    /// Whether there is a reverse script.
    pub reversible: bool,
}

/// What would run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Apply or rollback.
    pub direction: RunKind,
    /// In the order in which they run: for a rollback the newest first.
    pub steps: Vec<PlanStep>,
    /// Names this plan: direction, ids, checksums, modes and requirements, in order.
    pub hash: Digest,
}

/// A plan that may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// What would run; possibly nothing.
    pub plan: Plan,
    /// Warnings and notes.
    pub warnings: Vec<Diagnostic>,
}

/// No plan. At least one of the findings is an error; warnings stand among them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("refused before any change: {}", summary(.diagnostics))]
pub struct Refused {
    /// Everything found, by file and place.
    pub diagnostics: Vec<Diagnostic>,
}

fn summary(diagnostics: &[Diagnostic]) -> String {
    let mut errors = diagnostics.iter().filter(|found| found.severity == Severity::Error);
    let first = errors.next().map_or_else(String::new, ToString::to_string);
    match errors.count() {
        0 => first,
        more => format!("{first} (and {more} more)"),
    }
}

/// The plan if none of the findings is an error.
pub(super) fn decide(
    direction: RunKind,
    steps: Vec<PlanStep>,
    mut diagnostics: Vec<Diagnostic>,
) -> Result<Planned, Refused> {
    super::sort(&mut diagnostics);
    if diagnostics.iter().any(|found| found.severity == Severity::Error) {
        return Err(Refused { diagnostics });
    }
    Ok(Planned { plan: Plan::new(direction, steps), warnings: diagnostics })
}

impl Plan {
    fn new(direction: RunKind, steps: Vec<PlanStep>) -> Self {
        let hash = hash(direction, &steps);
        Self { direction, steps, hash }
    }

    /// The steps as a run records them: in the order of application, also for a rollback, which walks them backwards.
    /// Requirements outside the plan are left out.
    #[must_use]
    pub fn run_steps(&self) -> Vec<PlannedStep> {
        let mut steps: Vec<&PlanStep> = self.steps.iter().collect();
        if self.direction == RunKind::Rollback {
            steps.reverse();
        }
        let index: BTreeMap<&MigrationId, StepIndex> = steps.iter().map(|step| &step.id).zip(0..).collect();
        steps
            .iter()
            .map(|step| PlannedStep {
                id: step.id.clone(),
                requires: step.requires.iter().filter_map(|id| index.get(id).copied()).collect(),
                content: step.forward.0,
                tokens: step.forward.1,
                transactional: step.script.transactional,
                reversible: step.reversible,
            })
            .collect()
    }
}

fn hash(direction: RunKind, steps: &[PlanStep]) -> Digest {
    let counts: Vec<[u8; 8]> = steps.iter().map(|step| (step.requires.len() as u64).to_le_bytes()).collect();
    let mut pieces: Vec<&[u8]> = vec![b"migengine plan 1", direction.name().as_bytes()];
    for (step, count) in steps.iter().zip(&counts) {
        pieces.push(step.id.as_str().as_bytes());
        pieces.extend(
            [&step.forward.0, &step.forward.1, &step.script.content, &step.script.tokens].map(|d| &d.as_bytes()[..]),
        );
        pieces.push(if step.script.transactional { b"transaction" } else { b"statements" });
        pieces.push(count);
        pieces.extend(step.requires.iter().map(|id| id.as_str().as_bytes()));
    }
    Digest::of_all(pieces)
}
