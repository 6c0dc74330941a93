//! Steps one after the other on one session. COMMIT of a step and the whole of the next one travel together; the next
//! one is fenced in the database by what the one before should have done.

use std::future::Future;
use std::time::Duration;

use super::alarm::Watch;
use super::guarded::Refused;
use super::points::Point;
use super::{DriveError, Driver, Live};
use crate::guard::{self, Case, Reach};
use crate::id::Digest;
use crate::migration::Script;
use crate::pg::copy::carry;
use crate::pg::failure::Fault;
use crate::pg::flight::{
    self, After, Cargo, Commit, Durability, Flight, Gauge, LATE_CANCELS, Leaves, Opens, Patience, Row,
};
use crate::pg::guard::Seen;
use crate::pg::read::HistoryState;
use crate::pg::witness::{Mark, Prior, Testimony};
use crate::run::event::Event;
use crate::run::failure::Failure;
use crate::run::journal::Journal;
use crate::run::state::{Direction, StepIndex, StepState};

/// Intents written under one flush, while the steps of the flush before run. More saves flushes; a crash leaves twice as
/// many steps to look up, no more.
const INTENTS: usize = 64;

/// A step whose transaction is open and whose COMMIT was not sent, or is not known to be durable.
pub(super) struct Open {
    pub(super) step: StepIndex,
    pub(super) mirrored: u64,
    pub(super) began_us: i64,
    pub(super) gauge: Gauge,
    pub(super) seen: Seen,
}

/// A step whose COMMIT was answered and may not be on the disk yet: nothing says so to anybody before one that is.
pub(super) struct Landed {
    open: Open,
    /// When the answer came, in microseconds.
    at: i64,
}

/// The step whose transaction is open, behind those that wait for its COMMIT to be durable with it.
pub(super) struct Flying {
    pub(super) open: Open,
    pub(super) landed: Vec<Landed>,
}

/// Most steps that wait for one COMMIT to become durable.
const LANDED: usize = 32;
/// Longest time that the first of them waits, in microseconds.
const LANDED_US: i64 = 100_000;

/// When the COMMIT of a step is to be answered that travels with the next one. Waiting for the disk takes longer than a small
/// step, so several may share that, where what comes is over at once: what has taken effect is not kept from anybody for long.
pub(super) fn durability(next: Reach, landed: &[Landed], now: i64) -> Durability {
    let waited = landed.first().map_or(0, |first| now.saturating_sub(first.at));
    match next {
        Reach::NewOnly if landed.len() < LANDED && waited < LANDED_US => Durability::WithALater,
        _ => Durability::Now,
    }
}

/// Whether the pipeline goes on after a step.
pub(crate) enum Flow {
    Continue,
    Stop,
}

impl<J: Journal> Driver<'_, J> {
    pub(crate) fn unwinding(&self) -> bool {
        self.run.direction == Direction::Unwinding
    }

    /// Runs steps in order until one does not do what it should.
    pub(crate) async fn pipeline(&mut self, steps: &[StepIndex]) -> Result<(), DriveError> {
        let mut open = None;
        let mut windows = steps.chunks(INTENTS).peekable();
        if let Some(first) = windows.peek() {
            self.note_intents(first)?;
            self.begin_flush().await;
        }
        while let Some(window) = windows.next() {
            let busy = self.look_ahead(window).await;
            // Durable before the first byte of any of them leaves.
            self.flush().await?;
            if self.session.is_none() {
                break;
            }
            if let Some(ahead) = windows.peek() {
                self.note_intents(ahead)?;
                self.begin_flush().await;
            }
            let mut rest = window;
            while let Some((&step, behind)) = rest.split_first() {
                if self.stopping() || self.held() {
                    return self.finish_open(open).await.map(drop);
                }
                if self.partial.remove(&step) {
                    let before = self.finish_open(open.take()).await?;
                    if matches!(before, Flow::Stop) || matches!(self.turn_around(step).await?, Flow::Stop) {
                        return self.flush().await;
                    }
                }
                let together = self.train_of(rest);
                if together > 1 {
                    let (cars, _) = rest.split_at(together);
                    let (flow, done) = self.in_train(cars, &mut open).await?;
                    if matches!(flow, Flow::Stop) {
                        return self.flush().await;
                    }
                    rest = rest.get(done..).unwrap_or_default();
                    continue;
                }
                rest = behind;
                let flow = match self.script(step, self.unwinding()) {
                    Some(script) if script.transactional() && pipelines(&script) && !busy.contains(&step) => {
                        self.step(step, &script, &mut open).await?
                    }
                    other => match (self.finish_open(open.take()).await?, other) {
                        (Flow::Stop, _) => Flow::Stop,
                        (Flow::Continue, Some(script)) if busy.contains(&step) && script.transactional() => {
                            let case = self.cases.remove(&step);
                            self.guarded(step, &script, case, None).await?
                        }
                        (Flow::Continue, Some(script)) if script.transactional() => {
                            self.step(step, &script, &mut open).await?
                        }
                        (Flow::Continue, Some(script)) => self.by_parts(step, &script).await?,
                        (Flow::Continue, None) => self.no_script(step)?,
                    },
                };
                if matches!(flow, Flow::Stop) {
                    return self.flush().await;
                }
            }
        }
        self.finish_open(open).await.map(drop)
    }

    /// The intents of a window, durable before the first byte of any of them leaves. False where the session is gone.
    pub(crate) async fn write_intents(&mut self, window: &[StepIndex]) -> Result<bool, DriveError> {
        self.note_intents(window)?;
        self.flush().await?;
        Ok(self.session.is_some())
    }

    fn note_intents(&mut self, window: &[StepIndex]) -> Result<(), DriveError> {
        for &step in window {
            if self.unwinding() && self.is_partial(step) {
                self.partial.insert(step);
            }
            let script = self.script(step, self.unwinding());
            let (content, tokens) = script.map_or((Digest::ZERO, Digest::ZERO), |s| (s.content, s.tokens));
            let attempt = self.run.steps.get(step as usize).map_or(1, |step| step.attempts + 1);
            self.note(if self.unwinding() {
                Event::UndoIntent { step, attempt, content, tokens }
            } else {
                Event::StepIntent { step, attempt, content, tokens }
            })?;
        }
        Ok(())
    }

    async fn step(&mut self, step: StepIndex, script: &Script, open: &mut Option<Flying>) -> Result<Flow, DriveError> {
        let Some(part) = script.parts.first() else { return self.no_script(step) };
        let mark = self.mark(step);
        let due = open.take();
        let after = self.after(due.as_ref().map(|due| due.open.step));
        let verify = self.scripts.get(step as usize).and_then(|scripts| scripts.verify.clone());
        let verify = verify.filter(|_| !self.unwinding());
        let case = self.cases.remove(&step).unwrap_or_else(|| guard::case(script, part, self.world.options.limits));
        let mirror = self.mirror();
        let (mirrored, began_us) = (self.mirror_sent, self.now_us());
        let commit = due.as_ref().map(|due| durability(case.reach, &due.landed, began_us));
        let Some(mut live) = self.session.take() else { return Ok(Flow::Stop) };
        let cargo = Cargo {
            script,
            part,
            verify: verify.as_deref(),
            name: self.session_name(step),
            settings: String::new(),
            patience: Patience::of(&case),
            first: &case.first,
            sized: case.tables(),
            opens: Opens::Behind(&after),
            leaves: Leaves::of(&live.scribe, case.reach),
            epoch: live.epoch,
            row: Row::Own,
            mark: &mark,
            mirror: &mirror,
        };
        let exchange = self.telling(live.pid, step, Box::pin(self.exchange(&live, &cargo, &case, commit))).await;
        self.tell_notices(&mut live);
        self.session = Some(live);
        let mut landed = Vec::new();
        if let (Some(before), Some((verdict, at)), Some(durability)) = (due, exchange.before, commit) {
            match self.committed(before, durability, verdict, at).await? {
                Some(waiting) => landed = waiting,
                None => return Ok(Flow::Stop),
            }
        }
        match exchange.body {
            Ok(gauge) => {
                let this = Open { step, mirrored, began_us, gauge, seen: exchange.seen };
                *open = Some(Flying { open: this, landed });
                self.flush_sometimes().await?;
                Ok(Flow::Continue)
            }
            Err(fault) => self.refused((step, script), case, landed, (fault, exchange.seen)).await,
        }
    }

    /// A step did not do what it should. Those before it are made durable and told of; the guard takes over where somebody's
    /// lock was in the way.
    pub(super) async fn refused(
        &mut self,
        (step, script): (StepIndex, &Script),
        case: Case,
        landed: Vec<Landed>,
        (fault, seen): (Fault, Seen),
    ) -> Result<Flow, DriveError> {
        let sqlstate = match &fault {
            Fault::Refused(failure) => failure.sqlstate.as_deref(),
            Fault::Lost(_) => return self.faulted(step, fault).await,
        };
        let setback = guard::setback(sqlstate, seen.cancelled);
        if let Flow::Stop = self.settle_landed(landed).await? {
            return Ok(Flow::Stop);
        }
        match setback {
            Some(_) => self.guarded(step, script, Some(case), Some(Refused { fault, seen })).await,
            None => self.faulted(step, fault).await,
        }
    }

    /// Sends the COMMIT that is due and a whole step, then awaits both answers. A signal cancels what runs.
    async fn exchange(&self, live: &Live, cargo: &Cargo<'_>, case: &Case, due: Option<Durability>) -> Exchange {
        let watch = Watch::in_passing(case);
        self.world.observer.point(Point::StepBefore);
        if !pipelines(cargo.script) {
            // No COMMIT is due: the step before was finished first.
            let (body, seen) = self.watched(live, watch, carry(&live.session, &live.scribe, cargo)).await;
            self.world.observer.point(Point::StepAnswered);
            return Exchange { before: None, body: self.settled(live, body, &seen).await, seen };
        }
        let sent: Result<(Option<Commit>, Flight<'_>), tokio_postgres::Error> = async {
            let commit = match due {
                Some(durability) => Some(flight::commit(&live.session.client, durability).await?),
                None => None,
            };
            Ok((commit, flight::launch(&live.session, &live.scribe, cargo).await?))
        }
        .await;
        self.world.observer.point(Point::StepSent);
        let (commit, flight) = match sent {
            Ok(sent) => sent,
            Err(error) => {
                let lost = || Fault::Lost(error.to_string());
                let before = due.map(|_| (Err(lost()), self.now_us()));
                return Exchange { before, body: Err(lost()), seen: Seen::default() };
            }
        };
        let before = match commit {
            Some(commit) => Some((commit.verdict().await, self.now_us())),
            None => None,
        };
        self.world.observer.point(Point::StepCommitAnswered);
        let (body, seen) = self.watched(live, watch, flight.arrive()).await;
        self.world.observer.point(Point::StepAnswered);
        Exchange { before, body: self.settled(live, body, &seen).await, seen }
    }

    /// Awaits an answer; when the run is told to stop meanwhile, cancels the statement. A cancel that comes too late
    /// finds nothing to do: the answer tells.
    pub(crate) async fn cancelling<T>(&self, live: &Live, answer: impl Future<Output = T>) -> T {
        let mut stop = self.world.stop.clone();
        tokio::pin!(answer);
        tokio::select! {
            biased;
            answer = &mut answer => return answer,
            _ = stop.wait_for(|stop| *stop) => {}
        }
        if let Err(error) = live.session.cancel.cancel().await {
            self.world.observer.say(&format!("the cancel request did not arrive: {error}"));
        }
        answer.await
    }

    /// Sends the COMMIT that is due and awaits its verdict.
    async fn finish_open(&mut self, open: Option<Flying>) -> Result<Flow, DriveError> {
        let Some(open) = open else { return Ok(Flow::Continue) };
        let Some(live) = &self.session else { return Ok(Flow::Stop) };
        self.world.observer.point(Point::CommitBefore);
        let verdict = match flight::commit(&live.session.client, Durability::Now).await {
            Ok(commit) => commit.verdict().await,
            Err(error) => Err(Fault::Lost(error.to_string())),
        };
        self.world.observer.point(Point::CommitAfter);
        let at = self.now_us();
        let flow = match self.committed(open, Durability::Now, verdict, at).await? {
            Some(_) => Flow::Continue,
            None => Flow::Stop,
        };
        self.flush().await?;
        Ok(flow)
    }

    pub(super) fn now_us(&self) -> i64 {
        (self.world.clock)().0
    }

    /// `at` is when the verdict came, in microseconds. Returns the steps that wait for a later COMMIT; nothing where the
    /// pipeline is to stop.
    pub(super) async fn committed(
        &mut self,
        flying: Flying,
        durability: Durability,
        verdict: Result<(), Fault>,
        at: i64,
    ) -> Result<Option<Vec<Landed>>, DriveError> {
        match verdict {
            Ok(()) => self.land(flying, durability, at).await.map(Some),
            Err(Fault::Lost(why)) => self.lost(flying.open.step, &why).await.map(|_| None),
            Err(fault) => {
                if let Flow::Continue = self.settle_landed(flying.landed).await? {
                    self.faulted(flying.open.step, fault).await?;
                }
                Ok(None)
            }
        }
    }

    /// The COMMIT of a step was answered as it should be. Returns the steps that wait for a later one.
    pub(super) async fn land(
        &mut self,
        flying: Flying,
        durability: Durability,
        at: i64,
    ) -> Result<Vec<Landed>, DriveError> {
        let Flying { open, mut landed } = flying;
        landed.push(Landed { open, at });
        match durability {
            Durability::WithALater => Ok(landed),
            Durability::Now => self.note_landed(landed).await.map(|()| Vec::new()),
        }
    }

    /// These are durable.
    async fn note_landed(&mut self, landed: Vec<Landed>) -> Result<(), DriveError> {
        for Landed { open, at } in landed {
            self.mirrored(open.mirrored);
            // Several answers may come at once: how long each step took, only the server can tell.
            let here = u64::try_from(at.saturating_sub(open.began_us)).unwrap_or_default();
            let elapsed = open.gauge.took_us.unwrap_or(here);
            let took = Duration::from_micros(elapsed);
            self.keep_figures(open.step, open.gauge, &open.seen, took, Duration::ZERO).await?;
            self.note(self.done(open.step, elapsed))?;
        }
        Ok(())
    }

    /// No COMMIT will come that these could be durable with: ends the transaction that is open, and waits for the disk. Where
    /// that cannot be had, their intents stay as they are, and the history will tell.
    async fn settle_landed(&mut self, landed: Vec<Landed>) -> Result<Flow, DriveError> {
        let Some(step) = landed.last().map(|last| last.open.step) else { return Ok(Flow::Continue) };
        let Some(live) = &self.session else { return self.lost(step, "the session is gone").await };
        let fence = flight::fence(&live.session, live.epoch, &After::default());
        let mut late = 0;
        let settled = loop {
            let settled = match flight::rollback(&live.session).await {
                Ok(()) => live.scribe.settle(&live.session.client, &fence).await,
                Err(fault) => break Err(fault),
            };
            match settled {
                Err(error) if late < LATE_CANCELS && flight::is_cancelled(&error) => late += 1,
                settled => break settled.map_err(Fault::from),
            }
        };
        match settled {
            Ok(1) => self.note_landed(landed).await.map(|()| Flow::Continue),
            Ok(_) => self.lost(step, "the run's row is gone").await,
            Err(fault) => self.lost(step, fault.words()).await,
        }
    }

    pub(crate) fn done(&self, step: StepIndex, duration_us: u64) -> Event {
        if self.unwinding() {
            Event::StepUndone { step, duration_us, adopted: None }
        } else {
            Event::StepApplied { step, duration_us, adopted: None }
        }
    }

    /// A step did not do what it should. The session is made fit for use again, or given up.
    pub(crate) async fn faulted(&mut self, step: StepIndex, fault: Fault) -> Result<Flow, DriveError> {
        self.unsend_mirror();
        let failure = match fault {
            Fault::Lost(why) => return self.lost(step, &why).await,
            Fault::Refused(failure) => failure,
        };
        if let Some(live) = &self.session
            && flight::rollback(&live.session).await.is_err()
        {
            self.session = None;
        }
        // Our own cancel: the step certainly has no effect, and the rest that follows withdraws its intent.
        let cancelled = self.stopping() && failure.sqlstate.as_deref() == Some("57014");
        if !cancelled {
            self.note(if self.unwinding() {
                Event::UndoFailed { step, failure }
            } else {
                Event::StepFailed { step, failure }
            })?;
            self.withdraw_intents_behind(step)?;
        }
        self.flush().await?;
        Ok(Flow::Stop)
    }

    /// Intents are written ahead; those behind a step that failed were fenced off, so it is certain that they had no
    /// effect.
    fn withdraw_intents_behind(&mut self, failed: StepIndex) -> Result<(), DriveError> {
        let waiting = if self.unwinding() { StepState::UndoIntent } else { StepState::Intent };
        let steps: Vec<StepIndex> = self.run.steps_in(waiting).filter(|step| *step != failed).collect();
        for step in steps {
            self.note(Event::StepCleared { step, label: 'E' })?;
        }
        Ok(())
    }

    async fn lost(&mut self, step: StepIndex, why: &str) -> Result<Flow, DriveError> {
        self.session = None;
        *self.losses.entry(step).or_default() += 1;
        self.unsend_mirror();
        self.world.observer.say(&format!("the connection was lost during {}: {why}", self.run.step_name(step)));
        self.note(Event::StepInDoubt { step, message: why.to_owned() })?;
        self.flush().await?;
        Ok(Flow::Stop)
    }

    pub(crate) fn no_script(&mut self, step: StepIndex) -> Result<Flow, DriveError> {
        let failure = Box::new(Failure::own(
            "ME408",
            format!(
                "there is no script to run for {}: neither a file nor a copy in the history",
                self.run.step_name(step)
            ),
        ));
        self.note(if self.unwinding() {
            Event::UndoFailed { step, failure }
        } else {
            Event::StepFailed { step, failure }
        })?;
        self.withdraw_intents_behind(step)?;
        Ok(Flow::Stop)
    }

    /// Whether a step stopped half-way through a script by parts.
    fn is_partial(&self, step: StepIndex) -> bool {
        let recorded = self.history_row(step).is_some_and(|row| row.state == HistoryState::Begun);
        let snapshot = self.run.steps.get(step as usize);
        snapshot.is_some_and(|step| {
            (step.parts_done > 0 && matches!(step.state, StepState::Pending | StepState::Failed))
                || (recorded && step.state == StepState::Applied)
        })
    }

    /// What `pg_stat_activity` shows while a step runs.
    pub(crate) fn session_name(&self, step: StepIndex) -> String {
        format!("migengine:{}:{}", self.run_id(), self.run.step_name(step))
    }

    /// Passes on what the server had to say beside its answers.
    pub(crate) fn tell_notices(&self, live: &mut Live) {
        while let Ok(notice) = live.session.notices.try_recv() {
            if notice.severity == "WARNING" {
                self.world.observer.say(&format!("  {}: {}", notice.severity.to_lowercase(), notice.message));
            } else {
                tracing::info!(severity = notice.severity, sqlstate = notice.sqlstate, "{}", notice.message);
            }
        }
    }

    pub(crate) fn testimony(&self, step: StepIndex) -> Testimony {
        self.scripts.get(step as usize).map(|scripts| scripts.testimony.clone()).unwrap_or_default()
    }

    pub(crate) fn attempt_number(&self, step: StepIndex) -> u32 {
        self.run.steps.get(step as usize).map_or(1, |step| step.attempts)
    }

    pub(crate) fn mark(&self, step: StepIndex) -> Mark {
        if self.unwinding() {
            Mark::Gone { id: self.run.step_name(step).to_owned() }
        } else {
            let (testimony, attempt) = (self.testimony(step), self.attempt_number(step));
            let begun = self.history_row(step).is_some()
                || self.run.steps.get(step as usize).is_some_and(|step| step.parts_done > 0);
            let prior = if begun { Prior::Begun { duration_us: 0 } } else { Prior::Nothing { since: None } };
            Mark::Applied { testimony, attempt, prior }
        }
    }

    pub(super) fn after(&self, open: Option<StepIndex>) -> After {
        let before: Vec<String> = open.map(|step| self.run.step_name(step).to_owned()).into_iter().collect();
        if self.unwinding() {
            After { gone: before, ..After::default() }
        } else {
            After { needs: before, ..After::default() }
        }
    }
}

/// The answers to one message train.
struct Exchange {
    /// To the COMMIT of the step before, and when it came, in microseconds.
    before: Option<(Result<(), Fault>, i64)>,
    /// To everything of the step but its COMMIT.
    body: Result<Gauge, Fault>,
    /// What the guard saw while the step ran.
    seen: Seen,
}

/// Longest script that is sent without waiting, in bytes: all of it stands in the send queue then.
const PIPELINED_MAX: usize = 4 << 20;

/// Whether a script can be sent without waiting: all of it is in memory, no data block, which needs the server's go-ahead, and
/// not too long.
pub(crate) fn pipelines(script: &Script) -> bool {
    script.text.source().is_none()
        && script.text.len() <= PIPELINED_MAX
        && script.statements.iter().all(|statement| statement.copy_data.is_none())
}
