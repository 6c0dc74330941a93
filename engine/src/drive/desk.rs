//! The desk: where the lanes of a run report, and the only one that writes its journal. A lane is a driver of its own,
//! whose journal is the desk: what it notes is folded and written here, in the order of arrival, and acknowledged when it
//! is on disk.

use std::sync::atomic::Ordering;

use tokio::sync::{mpsc, oneshot};

use super::{DriveError, Driver, Observer};
use crate::id::{RunId, Timestamp};
use crate::progress::Progress;
use crate::run::event::{Event, Recorded};
use crate::run::footprint::Footprint;
use crate::run::journal::{Holding, Journal, JournalError, Sealed};
use crate::run::schedule::assign;
use crate::run::state::{RunSnapshot, StepIndex, StepState};

/// Events to be written, and whom to tell that they are on disk.
pub(crate) struct Entry {
    events: Vec<Event>,
    reply: oneshot::Sender<Result<(), JournalError>>,
}

/// What a lane says.
pub(crate) enum Report {
    /// Something happened.
    Entry(Entry),
    /// A lane has done what it was given.
    Idle {
        /// Which.
        lane: usize,
        /// Whether it still has a session.
        alive: bool,
        /// What stood in the way.
        result: Result<(), DriveError>,
    },
}

/// The journal, as a lane sees it.
pub(crate) struct Desk<'a, J> {
    /// The journal itself, for reading.
    pub(crate) journal: &'a J,
    /// To whom the lane reports.
    pub(crate) reports: mpsc::UnboundedSender<Report>,
}

impl<J: Journal> Journal for Desk<'_, J> {
    /// The records are sealed and mirrored by whoever writes them, so nothing comes back.
    async fn append(&self, _run: RunId, events: Vec<(Timestamp, Event)>) -> Result<Vec<Sealed>, JournalError> {
        let (reply, answer) = oneshot::channel();
        let events = events.into_iter().map(|(_, event)| event).collect();
        self.reports.send(Report::Entry(Entry { events, reply })).map_err(|_| JournalError::Poisoned)?;
        answer.await.map_err(|_| JournalError::Poisoned)?.map(|()| Vec::new())
    }

    async fn adopt(&self, run: RunId, records: Vec<Vec<u8>>) -> Result<(), JournalError> {
        self.journal.adopt(run, records).await
    }

    async fn records(&self, run: RunId) -> Result<Vec<(Recorded, Sealed)>, JournalError> {
        self.journal.records(run).await
    }

    async fn runs(&self) -> Result<Vec<RunId>, JournalError> {
        self.journal.runs().await
    }

    async fn hold(&self, sessions: Vec<Holding>) -> Result<(), JournalError> {
        self.journal.hold(sessions).await
    }

    async fn held(&self) -> Result<Vec<Holding>, JournalError> {
        self.journal.held().await
    }

    fn decode(&self, bytes: &[u8]) -> Result<(Recorded, Sealed), JournalError> {
        self.journal.decode(bytes)
    }
}

/// What a lane tells people. Its events are told by the desk, which knows the whole run.
pub(crate) struct LaneObserver<'a>(pub(crate) &'a dyn Observer);

impl Observer for LaneObserver<'_> {
    fn event(&self, _run: &RunSnapshot, _record: &Recorded) {}

    fn say(&self, text: &str) {
        self.0.say(text);
    }

    fn progress(&self, step: Option<&str>, progress: &Progress) {
        self.0.progress(step, progress);
    }

    fn point(&self, point: super::points::Point) {
        self.0.point(point);
    }
}

/// What the desk knows of the lanes.
pub(crate) struct Lanes<'a> {
    /// Where each gets its steps from. Dropping them sends the lanes home.
    pub(crate) orders: Vec<mpsc::UnboundedSender<Vec<StepIndex>>>,
    /// What each is at work on.
    pub(crate) at_work: Vec<Vec<StepIndex>>,
    /// What the steps touch.
    pub(crate) prints: &'a [Footprint],
}

impl<J: Journal> Driver<'_, J> {
    /// Hands out steps and writes down what the lanes report, until nothing is left to hand out and all are idle. After
    /// the first thing that goes wrong no step is begun any more, and those under way end.
    pub(crate) async fn attend(
        &mut self,
        mut lanes: Lanes<'_>,
        reports: &mut mpsc::UnboundedReceiver<Report>,
    ) -> Result<(), DriveError> {
        let mut outcome = Ok(());
        loop {
            if !self.held() && !self.stopping() && outcome.is_ok() {
                self.hand_out(&mut lanes);
            }
            if lanes.at_work.iter().all(Vec::is_empty) {
                return outcome;
            }
            let Some(first) = reports.recv().await else { return outcome };
            let mut entries = Vec::new();
            for report in std::iter::once(first).chain(std::iter::from_fn(|| reports.try_recv().ok())) {
                match report {
                    Report::Entry(entry) => entries.push(entry),
                    Report::Idle { lane, alive, result } => {
                        let steps = lanes.at_work.get_mut(lane).map(std::mem::take).unwrap_or_default();
                        // Where the journal failed, nothing is certain of what the lane had begun.
                        let ended = if alive && result.is_ok() { self.withdraw(&steps) } else { Ok(()) };
                        if !alive || result.is_err() {
                            self.hold();
                        }
                        outcome = outcome.and(result).and(ended);
                    }
                }
            }
            if outcome.is_ok() {
                outcome = self.write_down(entries).await;
            }
            if outcome.is_err() {
                self.hold();
            }
        }
    }

    fn hold(&self) {
        self.held.store(true, Ordering::Relaxed);
    }

    fn hand_out(&self, lanes: &mut Lanes<'_>) {
        let given = assign(&self.run, lanes.prints, &lanes.at_work);
        for ((steps, order), at_work) in given.into_iter().zip(&lanes.orders).zip(&mut lanes.at_work) {
            // A lane that is gone has said so, or will.
            if !steps.is_empty() && order.send(steps.clone()).is_ok() {
                *at_work = steps;
            }
        }
    }

    /// Folds what was reported, makes it durable under one flush, and only then says so. Intents are mirrored, too,
    /// because the lanes' transactions carry no records: one session writes them, in order.
    async fn write_down(&mut self, entries: Vec<Entry>) -> Result<(), DriveError> {
        let mut replies = Vec::new();
        let mut begins = false;
        for Entry { events, reply } in entries {
            for event in events {
                begins |= matches!(event, Event::StepIntent { .. });
                if matches!(event, Event::StepFailed { .. } | Event::StepInDoubt { .. }) {
                    self.hold();
                }
                // The lane has its own copy of how far the step had come, and has gone on from there.
                if let Some(step) = event.step() {
                    self.progress.remove(&step);
                }
                self.note(event)?;
            }
            replies.push(reply);
        }
        self.flush().await?;
        for reply in replies {
            // A lane that stopped waiting finds its outcome in the run.
            reply.send(Ok(())).ok();
        }
        if begins {
            self.mirror_now().await;
        }
        Ok(())
    }

    /// Intents of steps that a lane did not begin, because it was asked not to.
    fn withdraw(&mut self, steps: &[StepIndex]) -> Result<(), DriveError> {
        let waiting = |step: &&StepIndex| {
            let snapshot = self.run.steps.get(**step as usize);
            snapshot.is_some_and(|step| step.state == StepState::Intent && step.parts_done == 0)
        };
        let unbegun: Vec<StepIndex> = steps.iter().filter(waiting).copied().collect();
        if !self.held() || self.stopping() {
            return Ok(());
        }
        unbegun.into_iter().try_for_each(|step| self.note(Event::StepCleared { step, label: 'E' }))
    }

    /// Writes the records that the database does not have. Where that fails the session is given up, and the lock with
    /// it: whatever is under way ends, and nothing new begins.
    pub(crate) async fn mirror_now(&mut self) {
        let Some(live) = self.session.take() else { return };
        match self.mirror_apart(&live).await {
            Ok(()) => self.session = Some(live),
            Err(fault) => {
                self.hold();
                let why = fault.words();
                self.world.observer.say(&format!("the run's records could not be written to the database: {why}"));
            }
        }
    }
}
