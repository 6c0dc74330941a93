//! Writing down: fold, journal, mirror.

use super::points::Point;
use super::{DriveError, Driver, Live};
use crate::id::Timestamp;
use crate::pg::failure::Fault;
use crate::pg::flight::{self, After};
use crate::pg::send::{Started, start};
use crate::pg::witness::{Mirror, RunLine};
use crate::run::event::{Event, Recorded};
use crate::run::journal::{Journal, JournalError, Sealed};
use crate::run::state::{Rest, RestReason, StepIndex};

/// Outcomes may wait this long in memory, in microseconds: losing one costs nothing, because the witness is in the
/// database (rows D and M), and a flush per step would cost more than the step.
const LINGER_US: i64 = 250_000;

/// Records on their way to the disk. Whatever depends on them awaits [`Driver::flush`] first.
pub(crate) struct Writing<'w> {
    /// Number of the first of them.
    first: u64,
    events: Vec<(Timestamp, Event)>,
    sealed: Started<'w, Vec<Sealed>, JournalError>,
}

impl<'w, J: Journal> Driver<'w, J> {
    /// Folds an event in and queues it for the journal. Use [`Self::flush`] before anything that depends on it.
    pub(crate) fn note(&mut self, event: Event) -> Result<(), DriveError> {
        let at = (self.world.clock)();
        let record = Recorded { run: self.run.run, seq: self.run.events + 1, at, event };
        self.run.apply(&record)?;
        self.world.observer.event(&self.run, &record);
        self.queue.push((at, record.event));
        Ok(())
    }

    /// Makes everything noted durable.
    pub(crate) async fn flush(&mut self) -> Result<(), DriveError> {
        self.written().await?;
        self.begin_flush().await;
        self.written().await
    }

    /// Sends what was noted to the disk, and does not wait for it. Nothing is sent while earlier records are still on
    /// their way: they would share no flush with these.
    pub(crate) async fn begin_flush(&mut self) {
        self.flushed_at = (self.world.clock)();
        if self.queue.is_empty() || self.writing.is_some() {
            return;
        }
        self.world.observer.point(Point::JournalBefore);
        let events = std::mem::take(&mut self.queue);
        let first = self.run.events + 1 - events.len() as u64;
        let journal: &'w J = self.world.journal;
        let sealed = start(journal.append(self.run.run, events.clone())).await;
        self.writing = Some(Writing { first, events, sealed });
    }

    /// Awaits the records that are on their way.
    async fn written(&mut self) -> Result<(), DriveError> {
        let Some(Writing { first, events, sealed }) = self.writing.take() else { return Ok(()) };
        let sealed = sealed.answer().await?;
        self.world.observer.point(Point::JournalAfter);
        for ((seq, (at, event)), sealed) in (first..).zip(events).zip(sealed) {
            self.unmirrored.push((Recorded { run: self.run.run, seq, at, event }, sealed));
        }
        Ok(())
    }

    /// Sends outcomes to the disk now and then, and takes up what has arrived there. Waits for nothing.
    pub(crate) async fn flush_sometimes(&mut self) -> Result<(), DriveError> {
        if let Some(writing) = &mut self.writing {
            if !writing.sealed.is_answered().await {
                return Ok(());
            }
            self.written().await?;
        }
        if (self.world.clock)().0 - self.flushed_at.0 >= LINGER_US {
            self.begin_flush().await;
        }
        Ok(())
    }

    /// Notes one event and makes it durable.
    pub(crate) async fn record(&mut self, event: Event) -> Result<(), DriveError> {
        self.note(event)?;
        self.flush().await
    }

    /// Brings the run to rest, on disk and, where it can be reached, in the database.
    pub(crate) async fn rest(
        &mut self,
        reason: RestReason,
        step: Option<StepIndex>,
        message: &str,
    ) -> Result<(), DriveError> {
        self.record(Event::Rested(Rest { reason, step, message: message.to_owned() })).await
    }

    /// What the database does not have yet, to ride along with the next transaction.
    pub(crate) fn mirror(&mut self) -> Mirror {
        let mut mirror = Mirror::default();
        let sent = self.mirror_sent;
        for (record, sealed) in self.unmirrored.iter().filter(|(record, _)| record.seq > sent) {
            mirror.push(record, record.event.step().map(|step| self.run.step_name(step)), sealed);
        }
        self.mirror_sent = self.unmirrored.last().map_or(sent, |(record, _)| record.seq.max(sent));
        mirror
    }

    /// A transaction that carried the mirror up to here was committed.
    pub(crate) fn mirrored(&mut self, upto: u64) {
        self.unmirrored.retain(|(record, _)| record.seq > upto);
    }

    /// A transaction that carried the mirror was not committed: what it carried is due again.
    pub(crate) fn unsend_mirror(&mut self) {
        self.mirror_sent = self.unmirrored.first().map_or(self.mirror_sent, |(record, _)| record.seq - 1);
    }

    /// Writes the records that the database does not have, in a transaction of their own, fenced. No other may be open.
    pub(crate) async fn mirror_apart(&mut self, live: &Live) -> Result<(), Fault> {
        self.unsend_mirror();
        if self.unmirrored.is_empty() {
            return Ok(());
        }
        let mirror = self.mirror();
        let fence = format!("BEGIN; {}", flight::fence(&live.session, live.epoch, &After::default()));
        let client = &live.session.client;
        let (begun, written, committed) = tokio::join!(
            client.batch_execute(&fence),
            live.scribe.mirror(client, &mirror),
            client.batch_execute("COMMIT")
        );
        match begun.and(written).and(committed) {
            Ok(()) => {
                let upto = self.mirror_sent;
                self.mirrored(upto);
                Ok(())
            }
            Err(error) => {
                self.unsend_mirror();
                Err(Fault::from(error))
            }
        }
    }

    /// Lets those who look on from elsewhere know at once why a step does not go on. The journal has it; where it cannot
    /// be written to the database, the next thing that is sent finds out why.
    pub(crate) async fn show_elsewhere(&mut self, live: &Live) {
        if let Err(fault) = Box::pin(self.mirror_apart(live)).await {
            tracing::debug!(why = fault.words(), "a note was not written to the database");
        }
    }

    /// Writes the run's line and the rest of the mirror to the database. The journal is ahead of it already, so a
    /// failure here loses nothing and is only told.
    pub(crate) async fn publish(&mut self) {
        self.unsend_mirror();
        let mirror = self.mirror();
        let Some(live) = &self.session else { return };
        let line = RunLine {
            state: self.run.state,
            rest: self.run.rest.as_ref(),
            rest_step: self.run.rest.as_ref().and_then(|rest| rest.step).map(|step| self.run.step_name(step)),
            finished_at: self.run.finished_at,
        };
        self.world.observer.point(Point::PublishBefore);
        match live.scribe.state(&live.session.client, &line, &mirror).await {
            Ok(()) => {
                self.world.observer.point(Point::PublishAfter);
                let upto = self.mirror_sent;
                self.mirrored(upto);
            }
            Err(error) => {
                self.unsend_mirror();
                self.world.observer.say(&format!(
                    "the run's state could not be written to the database ({error}); the journal has it, and the next command brings it up to date"
                ));
            }
        }
    }
}
