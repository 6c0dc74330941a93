//! The end of a run: check what it claims, then say so.

use super::points::Point;
use super::{DriveError, Driver};
use crate::audit;
use crate::pg::read::{HistoryState, read_ledger};
use crate::run::event::Event;
use crate::run::journal::Journal;
use crate::run::state::{Direction, RestReason, RunState, StepIndex, StepState};

impl<J: Journal> Driver<'_, J> {
    /// Reads the history once more and holds it against the run.
    pub(crate) async fn verify(&mut self) -> Result<(), DriveError> {
        self.world.observer.point(Point::VerifyBefore);
        let Some(live) = &self.session else { return Ok(()) };
        self.ledger = match read_ledger(&live.session.client, self.world.schema).await {
            Ok(ledger) => ledger,
            Err(error) => {
                self.world.observer.say(&format!("the result could not be read: {error}"));
                self.session = None;
                return Ok(());
            }
        };
        if let Some((step, message)) = self.contradiction() {
            return self.rest(RestReason::Diverged, Some(step), &message).await;
        }
        // The audit log's head goes into the journal: whoever rewrites the log in the database cannot rewrite this too.
        if let Some(head) = self.ledger.as_ref().and_then(|ledger| ledger.audit) {
            self.note(Event::Noted { step: None, topic: audit::TOPIC.to_owned(), message: head.to_string() })?;
        }
        let end = match self.run.direction {
            Direction::Forward => Event::RunCommitted,
            Direction::Unwinding => Event::RunRolledBack,
        };
        self.record(end).await?;
        self.world.observer.point(Point::VerifyAfter);
        Ok(())
    }

    fn contradiction(&self) -> Option<(StepIndex, String)> {
        let history = self.ledger.as_ref().map(|ledger| &ledger.history);
        (0u32..).zip(&self.run.steps).find_map(|(index, step)| {
            let planned = self.run.started.steps.get(index as usize)?;
            let applied = history
                .and_then(|history| history.get(&planned.id))
                .is_some_and(|row| row.state == HistoryState::Applied);
            let claimed = step.state == StepState::Applied;
            let is = if applied { "in effect" } else { "not in effect" };
            (applied != claimed)
                .then(|| (index, format!("{} is {is} by the history, against what this run did", planned.id)))
        })
    }

    /// Leaves the database: state published, lock released with the session. A run that has diverged tells the database
    /// nothing more: what it believes is in question, and whoever finds that the database is right must be able to take
    /// the run from there as it was.
    pub(crate) async fn close(&mut self) -> Result<(), DriveError> {
        self.flush().await?;
        let diverged = self.run.rest.as_ref().is_some_and(|rest| rest.reason == RestReason::Diverged);
        if self.session.is_some() && self.run.state != RunState::Preflight && !diverged {
            self.publish().await;
        }
        self.session = None;
        Ok(())
    }
}
