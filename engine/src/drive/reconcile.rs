//! Going through the recovery table, step by step, under the lock.

use super::pipeline::Flow;
use super::points::Point;
use super::{DriveError, Driver, LOSSES_MAX, Progress};
use crate::id::Digest;
use crate::migration::Script;
use crate::pg::catalog::observe;
use crate::pg::read::{HistoryRow, HistoryState};
use crate::run::event::Event;
use crate::run::evidence::{Finding, Observed, judge};
use crate::run::failure::Failure;
use crate::run::journal::Journal;
use crate::run::recovery::{
    Decision, EpochOrder, Evidence, PartsVerdict, Row, StepMode, Witness, recover, settle_parts,
};
use crate::run::state::{Direction, RestReason, StepIndex, StepState};

impl<J: Journal> Driver<'_, J> {
    /// Brings the journal up to what the history says. Afterwards the run may go on, or it rests.
    pub(crate) async fn reconcile(&mut self) -> Result<(), DriveError> {
        self.world.observer.point(Point::ReconcileBefore);
        for index in 0..u32::try_from(self.run.steps.len()).unwrap_or(u32::MAX) {
            let Some(step) = self.run.steps.get(index as usize) else { break };
            let undoing = matches!(step.state, StepState::UndoIntent | StepState::Undone | StepState::UndoFailed)
                || self.run.direction == Direction::Unwinding;
            let witness = self.witness(index);
            let mode = self.mode(index, undoing);
            let row = recover(step.state, witness, mode, EpochOrder::DatabaseCurrent);
            tracing::debug!(
                step = self.run.step_name(index), row = %row.label, journal = ?step.state, ?witness, ?mode,
                decision = ?row.decision, "{}", row.why
            );
            self.carry_out(index, row, witness).await?;
            if self.run.rest.is_some() || self.session.is_none() {
                return Ok(());
            }
        }
        self.record(Event::Reconciled).await?;
        self.world.observer.point(Point::ReconcileAfter);
        Ok(())
    }

    async fn carry_out(&mut self, index: StepIndex, row: &Row, witness: Witness) -> Result<(), DriveError> {
        let label = row.label;
        let state = self.run.steps.get(index as usize).map_or(StepState::Pending, |step| step.state);
        match row.decision {
            Decision::Keep => Ok(()),
            Decision::Run if state == StepState::Pending => Ok(()),
            Decision::Run | Decision::UndoAgain if self.loses_sessions(index) => {
                let why = format!("the session was lost {LOSSES_MAX} times during this step, each time without effect");
                let failure = Box::new(Failure::own("ME417", why));
                self.note(if row.decision == Decision::Run {
                    Event::StepFailed { step: index, failure }
                } else {
                    Event::UndoFailed { step: index, failure }
                })
            }
            // The history must say that the reversal goes on before the journal forgets that it was begun.
            Decision::UndoAgain if witness == Witness::Begun => match self.turn_around(index).await? {
                Flow::Continue => self.note(Event::StepCleared { step: index, label }),
                Flow::Stop => Ok(()),
            },
            Decision::Run | Decision::UndoAgain => self.note(Event::StepCleared { step: index, label }),
            Decision::Adopt => self.note(Event::StepApplied { step: index, duration_us: 0, adopted: Some(label) }),
            Decision::RecordUndone => {
                self.note(Event::StepUndone { step: index, duration_us: 0, adopted: Some(label) })
            }
            Decision::AskCatalogs => self.ask_catalogs(index, label, witness).await,
            Decision::Diverged | Decision::Impossible => {
                let message = format!("{}: {} (row {label})", self.run.step_name(index), row.why);
                self.rest(RestReason::Diverged, Some(index), &message).await
            }
            Decision::Stuck => {
                let message = format!("{} (row {label})", row.why);
                self.rest(RestReason::Stuck, Some(index), &message).await
            }
        }
    }

    fn loses_sessions(&self, index: StepIndex) -> bool {
        self.losses.get(&index).is_some_and(|losses| *losses >= LOSSES_MAX)
    }

    /// Rows F and N: how far did a script by parts come?
    async fn ask_catalogs(&mut self, index: StepIndex, label: char, witness: Witness) -> Result<(), DriveError> {
        let undoing = witness == Witness::Undoing
            || self.run.steps.get(index as usize).is_some_and(|step| step.state == StepState::UndoIntent);
        let row = self.history_row(index).cloned();
        let script = self.script(index, undoing);
        let parts = script.as_ref().map_or(0, |script| script.parts.len());
        // One more than the parts: the last act is the history row itself.
        let total = u32::try_from(parts).unwrap_or(u32::MAX).saturating_add(1);
        let Some(row) = row else {
            let gone = if undoing { total } else { 0 };
            return self.settle(index, label, undoing, settle_parts(gone, total, None)).await;
        };
        let before: Option<Observed> = row.part_before.as_deref().and_then(|before| serde_json::from_str(before).ok());
        let finding = match (&before, &script) {
            (Some(before), Some(script)) => match self.evidence(script, row.parts_done, before).await {
                Ok(finding) => finding,
                Err(error) => {
                    self.world.observer.say(&format!("the catalogs could not be read: {error}"));
                    self.session = None;
                    return Ok(());
                }
            },
            _ => None,
        };
        let (evidence, remedies) = finding.map_or((None, Vec::new()), |found| (Some(found.evidence), found.remedies));
        let attested = self.run.steps.get(index as usize).and_then(|step| step.attested);
        let evidence = match (evidence, attested) {
            (Some(Evidence::Unknown), Some(true)) => Some(Evidence::Done),
            (Some(Evidence::Unknown), Some(false)) => Some(Evidence::NotDone),
            (evidence, _) => evidence,
        };
        let attested = attested.filter(|_| evidence.is_some());
        let mut verdict = settle_parts(row.parts_done, total, evidence);
        if self.run.direction == Direction::Unwinding && !undoing && !matches!(verdict, PartsVerdict::Ask(_)) {
            let untouched = verdict == PartsVerdict::Untouched;
            if self.abandon(index, &remedies, untouched).await? {
                verdict = settle_parts(row.parts_done, total, Some(Evidence::Done));
            }
            if self.session.is_none() || self.run.rest.is_some() {
                return Ok(());
            }
        }
        // What is recorded counts the parts of the script that goes on. A forward script that is about to be reversed
        // does not: its reverse script begins at its own first part.
        if undoing || self.run.direction == Direction::Forward {
            self.progress.insert(index, Progress { done: row.parts_done, before, attested });
        }
        self.settle(index, label, undoing, verdict).await
    }

    async fn settle(
        &mut self,
        index: StepIndex,
        label: char,
        undoing: bool,
        verdict: PartsVerdict,
    ) -> Result<(), DriveError> {
        match verdict {
            PartsVerdict::Finished if undoing => {
                self.note(Event::StepUndone { step: index, duration_us: 0, adopted: Some(label) })
            }
            PartsVerdict::Finished => {
                self.note(Event::StepApplied { step: index, duration_us: 0, adopted: Some(label) })
            }
            PartsVerdict::Untouched => self.clear_to(index, label, undoing, 0),
            PartsVerdict::ContinueAt(done) => self.clear_to(index, label, undoing, done),
            PartsVerdict::Ask(part) => {
                let message = format!(
                    "whether part {} of {} took effect cannot be told from the catalogs",
                    part + 1,
                    self.run.step_name(index)
                );
                self.rest(RestReason::Stuck, Some(index), &message).await
            }
        }
    }

    /// The step may go on after `done` parts. A step that is being reversed counts as applied until it is through.
    fn clear_to(&mut self, index: StepIndex, label: char, undoing: bool, done: u32) -> Result<(), DriveError> {
        let state = self.run.steps.get(index as usize).map_or(StepState::Pending, |step| step.state);
        if undoing && state == StepState::Pending {
            self.note(Event::StepApplied { step: index, duration_us: 0, adopted: Some(label) })?;
        }
        self.note(Event::StepCleared { step: index, label })?;
        if done > 0 { self.note(Event::PartDone { step: index, parts_done: done }) } else { Ok(()) }
    }

    async fn evidence(
        &self,
        script: &Script,
        part: u32,
        before: &Observed,
    ) -> Result<Option<Finding>, tokio_postgres::Error> {
        let Some(live) = &self.session else { return Ok(None) };
        let Some((effect, author)) = super::parts::alone(script, part) else { return Ok(None) };
        live.session.client.batch_execute(&super::parts::settings_before(script, part)).await?;
        let now = observe(&live.session.client, &effect, author.as_deref()).await;
        live.session.reset().await?;
        Ok(Some(judge(&effect, before, &now?)))
    }

    pub(crate) fn history_row(&self, index: StepIndex) -> Option<&HistoryRow> {
        let id = &self.run.started.steps.get(index as usize)?.id;
        self.ledger.as_ref()?.history.get(id)
    }

    pub(crate) fn script(&self, index: StepIndex, undoing: bool) -> Option<std::sync::Arc<Script>> {
        let scripts = self.scripts.get(index as usize)?;
        if undoing { scripts.down.clone() } else { scripts.up.clone() }
    }

    fn mode(&self, index: StepIndex, undoing: bool) -> StepMode {
        match self.script(index, undoing) {
            Some(script) if !script.transactional() => StepMode::ByParts,
            Some(_) => StepMode::Transactional,
            None => match self.run.started.steps.get(index as usize) {
                Some(planned) if !planned.transactional => StepMode::ByParts,
                _ => StepMode::Transactional,
            },
        }
    }

    /// What the history row says, in the table's words. A row is "the same" when it holds the content that was
    /// planned, that was last tried, or that the file has now.
    fn witness(&self, index: StepIndex) -> Witness {
        let Some(row) = self.history_row(index) else { return Witness::None };
        let known = |tokens: Digest| {
            let planned = self.run.started.steps.get(index as usize).map(|step| step.tokens);
            let tried = self.run.steps.get(index as usize).and_then(|step| step.tried).map(|tried| tried.1);
            let present = self.script(index, false).map(|script| script.tokens);
            [planned, tried, present].contains(&Some(tokens))
        };
        let parts_match = |undoing: bool| {
            self.script(index, undoing).is_some_and(|script| {
                row.part_tokens.len() <= script.parts.len()
                    && row
                        .part_tokens
                        .iter()
                        .zip(&script.parts)
                        .all(|(done, part)| *done == super::parts::part_tokens(&script, part))
            })
        };
        match row.state {
            HistoryState::Applied if known(row.tokens) => Witness::Same,
            HistoryState::Begun if parts_match(false) => Witness::Begun,
            HistoryState::Undoing if parts_match(true) => Witness::Undoing,
            _ => Witness::Other,
        }
    }
}
