//! All steps in one transaction (`--atomic`): their scripts and witnesses one behind the other, one COMMIT. Whatever
//! becomes of it becomes of all of them, and the history rows say which.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::time::Instant;

use super::alarm::Watch;
use super::parts::Halt;
use super::pipeline::pipelines;
use super::points::Point;
use super::{DriveError, Driver, Live};
use crate::guard::{self, Case, Tally, Verdict, millis};
use crate::migration::{Part, Script};
use crate::pg::copy::carry;
use crate::pg::failure::Fault;
use crate::pg::flight::{self, After, Cargo, Durability, Flight, Leaves, Limits, Opens, Patience, Row};
use crate::pg::guard::{Seen, random};
use crate::pg::rows::{self, Rows, Unwritten};
use crate::pg::witness::{Mark, Mirror, Prior};
use crate::run::failure::Failure;
use crate::run::journal::Journal;
use crate::run::state::StepIndex;

/// Steps that are sent together. Those of the train before may still be on their way then.
const TRAIN: usize = 64;
/// Steps after which the connection's task puts on the line what is there.
const GROUP: usize = 8;
/// Bytes of script after which a train is long enough.
const TRAIN_BYTES: usize = 1 << 20;

/// One step, ready to be sent.
struct Load {
    step: StepIndex,
    script: Arc<Script>,
    part: Part,
    verify: Option<Arc<Script>>,
    name: String,
    case: Case,
    mark: Mark,
}

/// A step on its way.
struct Sent<'a> {
    load: &'a Load,
    flight: Flight<'a>,
    /// The history rows that were sent behind it, and whose they are.
    rows: Option<(Rows<'a>, Vec<&'a Load>)>,
}

/// Steps on their way, and what is known of those that came through.
#[derive(Default)]
struct Convoy<'a> {
    flying: VecDeque<Sent<'a>>,
    /// The last ones that were sent without their history rows.
    unwritten: Vec<&'a Load>,
    /// The limits that those who were sent leave.
    limits: Limits,
    /// How long each took, in microseconds.
    durations: Vec<u64>,
    seen: Seen,
    /// The step with the shortest patience of all that were sent: they hold their locks until COMMIT, whatever came of them.
    strictest: Option<&'a Load>,
    /// When the first of them was sent.
    began: Option<Instant>,
}

impl<'a> Convoy<'a> {
    /// Sends the history rows that were not sent yet. Behind them the session's own limits hold.
    async fn write(&mut self, live: &'a Live) -> Result<(), tokio_postgres::Error> {
        if let Some(last) = self.flying.back_mut().filter(|_| !self.unwritten.is_empty()) {
            let loads = std::mem::take(&mut self.unwritten);
            let marks = loads.iter().map(|load| &load.mark).collect();
            last.rows = Some((live.scribe.rows(&live.session, marks).await?, loads));
            self.limits = Limits::new();
        }
        Ok(())
    }

    /// A step is sent, and its locks are held from then on. Returns the step whose patience is that of all.
    fn holds(&mut self, load: &'a Load) -> &'a Load {
        let strictest =
            self.strictest.filter(|known| known.case.limits.budget <= load.case.limits.budget).unwrap_or(load);
        self.strictest = Some(strictest);
        self.began.get_or_insert_with(Instant::now);
        strictest
    }
}

/// The step that kept the transaction from being committed.
struct Stopped {
    step: StepIndex,
    case: Case,
    fault: Fault,
    seen: Seen,
}

impl<J: Journal> Driver<'_, J> {
    /// Applies all steps, or none.
    pub(crate) async fn at_once(&mut self, steps: &[StepIndex]) -> Result<(), DriveError> {
        let mut loads = Vec::with_capacity(steps.len());
        for &step in steps {
            match self.load(step, loads.last()) {
                Some(load) => loads.push(load),
                None => return self.cannot_join(step).await,
            }
        }
        if !self.write_intents(steps).await? {
            return Ok(());
        }
        let began = Instant::now();
        let mut tally = Tally::default();
        loop {
            let Some(mut live) = self.session.take() else { return Ok(()) };
            let result = self.whole(&live, &loads).await;
            self.tell_notices(&mut live);
            self.session = Some(live);
            let mut stopped = match result {
                Ok(durations) => return self.commit_all(steps, &durations).await,
                Err(stopped) => stopped,
            };
            if !self.again(&mut tally, began, &mut stopped).await? {
                return self.faulted(stopped.step, stopped.fault).await.map(drop);
            }
        }
    }

    /// What there is to send for a step that can be part of a larger transaction.
    fn load(&self, step: StepIndex, before: Option<&Load>) -> Option<Load> {
        let script = self.script(step, false).filter(|script| script.can_join())?;
        let part = script.parts.first()?.clone();
        let mark = match self.mark(step) {
            Mark::Applied { testimony, attempt, prior } => {
                let since = before.map(|before| self.run.step_name(before.step).to_owned());
                let prior = match prior {
                    Prior::Nothing { .. } => Prior::Nothing { since },
                    begun @ Prior::Begun { .. } => begun,
                };
                Mark::Applied { testimony, attempt: attempt + 1, prior }
            }
            other => other,
        };
        Some(Load {
            step,
            verify: self.scripts.get(step as usize).and_then(|scripts| scripts.verify.clone()),
            name: self.session_name(step),
            case: guard::case(&script, &part, self.world.options.limits),
            script,
            part,
            mark,
        })
    }

    /// The file changed since the run was begun. Nothing was sent.
    async fn cannot_join(&mut self, step: StepIndex) -> Result<(), DriveError> {
        self.write_intents(&[step]).await?;
        if self.script(step, false).is_none() {
            return self.no_script(step).map(drop);
        }
        let what = "this run takes effect in one transaction, and this script cannot run inside a larger one";
        let fault = Fault::Refused(Box::new(Failure::own("ME425", what)));
        self.faulted(step, fault).await.map(drop)
    }

    /// Sends everything but COMMIT, train by train, and returns how long each step took, in microseconds. The server is at work
    /// on one train while the answers to the one before are taken up.
    async fn whole(&mut self, live: &Live, loads: &[Load]) -> Result<Vec<u64>, Stopped> {
        let mirror = self.mirror();
        let mut convoy = Convoy::default();
        for train in trains(loads) {
            let first = train.start;
            let loads = loads.get(train).unwrap_or_default();
            if let Some(load) = loads.first().filter(|_| self.stopping()) {
                // What is on its way is cancelled by whoever awaits it.
                self.land_all_but(0, live, &mut convoy).await?;
                // As if the server had been asked to cancel: the run rests with nothing in effect.
                let failure =
                    Failure { sqlstate: Some("57014".to_owned()), ..Failure::own("ME401", "stopped by a signal") };
                return Err(load.stopped(Fault::Refused(Box::new(failure)), Seen::default()));
            }
            self.world.observer.point(Point::StepBefore);
            match loads {
                [load] if !pipelines(&load.script) => {
                    self.land_all(load, live, &mut convoy).await?;
                    let limits = std::mem::take(&mut convoy.limits);
                    let cargo = load.cargo(live, place(first, &mirror, limits));
                    let carried = carry(&live.session, &live.scribe, &cargo);
                    let began = Instant::now();
                    let strictest = convoy.holds(load);
                    let watch = Watch::since(convoy.began.unwrap_or_else(Instant::now), &strictest.case);
                    let (body, seen) = self.watched(live, watch, carried).await;
                    self.settled(live, body, &seen).await.map_err(|fault| load.stopped(fault, seen))?;
                    convoy.durations.push(micros(began.elapsed()));
                }
                loads => {
                    for (index, load) in (first..).zip(loads) {
                        let lost = |error: tokio_postgres::Error| {
                            load.stopped(Fault::Lost(error.to_string()), Seen::default())
                        };
                        let row = if index == 0 { Row::Own } else { load.row(live) };
                        if row == Row::Own {
                            convoy.write(live).await.map_err(lost)?;
                        }
                        let limits = std::mem::take(&mut convoy.limits);
                        let cargo = Cargo { row, ..load.cargo(live, place(index, &mirror, limits)) };
                        let flight = flight::launch(&live.session, &live.scribe, &cargo).await.map_err(lost)?;
                        if row == Row::Later {
                            convoy.unwritten.push(load);
                        }
                        convoy.limits = flight::left(&cargo);
                        convoy.flying.push_back(Sent { load, flight, rows: None });
                        convoy.holds(load);
                        if index + 1 == first + loads.len() {
                            convoy.write(live).await.map_err(lost)?;
                        }
                        // The connection's task puts on the line what is there, and the server begins.
                        if index.is_multiple_of(GROUP) {
                            tokio::task::yield_now().await;
                        }
                    }
                    self.world.observer.point(Point::StepSent);
                    let bytes: usize = convoy.flying.iter().map(|sent| sent.load.script.text.len()).sum();
                    let left = if bytes > 2 * TRAIN_BYTES { 0 } else { TRAIN };
                    self.land_all_but(left, live, &mut convoy).await?;
                    if let Some(last) = loads.last().filter(|_| convoy.seen.cancelled.is_some()) {
                        self.land_all(last, live, &mut convoy).await?;
                    }
                }
            }
            self.world.observer.point(Point::StepAnswered);
        }
        if let Some(last) = loads.last() {
            self.land_all(last, live, &mut convoy).await?;
        }
        Ok(convoy.durations)
    }

    /// Awaits the answers to everything that was sent. `last` is the step of which is told what a cancel request does that
    /// came too late for all of them.
    async fn land_all(&self, last: &Load, live: &Live, convoy: &mut Convoy<'_>) -> Result<(), Stopped> {
        self.land_all_but(0, live, convoy).await?;
        let seen = std::mem::take(&mut convoy.seen);
        self.settled(live, Ok(()), &seen).await.map_err(|fault| last.stopped(fault, seen))
    }

    /// Awaits the answers to the steps that were sent, in order, until so many are left.
    async fn land_all_but(&self, left: usize, live: &Live, convoy: &mut Convoy<'_>) -> Result<(), Stopped> {
        let Convoy { flying, durations, seen, strictest, began, .. } = convoy;
        let (Some(strictest), Some(held), true) = (*strictest, *began, flying.len() > left) else { return Ok(()) };
        let group: Vec<_> = flying.drain(..flying.len() - left).collect();
        let arrivals = async {
            let mut began = Instant::now();
            for Sent { load, flight, rows } in group {
                flight.arrive().await.map_err(|fault| (load, fault))?;
                if let Some((rows, loads)) = rows {
                    let whose = |row: Option<usize>| row.and_then(|row| loads.get(row).copied()).unwrap_or(load);
                    rows.arrive().await.map_err(|Unwritten { fault, row }| (whose(row), fault))?;
                }
                durations.push(micros(began.elapsed()));
                began = Instant::now();
            }
            Ok(())
        };
        let (result, seen_now) = self.watched(live, Watch::since(held, &strictest.case), arrivals).await;
        // A cancel request that came too late for these may meet a later one.
        *seen = seen.and(seen_now);
        // Whose budget was used up is not always whose statement was cancelled for it.
        let case = |load: &Load| if seen.cancelled.is_some() { strictest.case.clone() } else { load.case.clone() };
        result.map_err(|(load, fault): (&Load, Fault)| Stopped { case: case(load), ..load.stopped(fault, *seen) })
    }

    /// One COMMIT for all. Where its answer is lost nobody knows, of any of them; the history rows will tell.
    async fn commit_all(&mut self, steps: &[StepIndex], durations: &[u64]) -> Result<(), DriveError> {
        let Some(live) = &self.session else { return Ok(()) };
        self.world.observer.point(Point::CommitBefore);
        let verdict = match flight::commit(&live.session.client, Durability::Now).await {
            Ok(commit) => commit.verdict().await,
            Err(error) => Err(Fault::Lost(error.to_string())),
        };
        self.world.observer.point(Point::CommitAfter);
        if let Err(fault) = verdict {
            let Some(last) = steps.last() else { return Ok(()) };
            return self.faulted(*last, fault).await.map(drop);
        }
        let upto = self.mirror_sent;
        self.mirrored(upto);
        for (&step, &duration_us) in steps.iter().zip(durations) {
            self.note(self.done(step, duration_us))?;
        }
        self.flush().await
    }

    /// After a try that came to nothing: whether there is to be another one. A lock that was not free, and a budget that
    /// was used up, end the try and not the run.
    async fn again(&mut self, tally: &mut Tally, began: Instant, stopped: &mut Stopped) -> Result<bool, DriveError> {
        let Fault::Refused(failure) = &mut stopped.fault else { return Ok(false) };
        let (seen, case) = (&stopped.seen, &stopped.case);
        let Some(setback) = guard::setback(failure.sqlstate.as_deref(), seen.cancelled).filter(|_| !self.stopping())
        else {
            return Ok(false);
        };
        let Some(live) = &self.session else { return Ok(false) };
        if flight::rollback(&live.session).await.is_err() {
            return Ok(false);
        }
        self.unsend_mirror();
        let unseen = if seen.watched { Duration::ZERO } else { case.limits.lock_timeout };
        tally.count(setback, seen.longest.max(unseen));
        match guard::after(setback, tally, &case.limits, case.recipe.as_deref(), began.elapsed(), random()) {
            Verdict::GiveUp(own) => {
                (failure.code, failure.message, failure.hint) = (own.code, own.message, own.hint);
                Ok(false)
            }
            Verdict::Again(pause) => {
                let words = format!("a lock was not free in time; all steps again in {}", millis(pause));
                self.tell(stopped.step, &words)?;
                self.flush().await?;
                match self.idle(pause).await {
                    Ok(()) => Ok(true),
                    Err(Halt::Drive(error)) => Err(error),
                    Err(_) => Ok(false),
                }
            }
        }
    }
}

impl Load {
    /// When its history row is written. In front of one that is written later there has to be a statement of the script, which the
    /// moment is noted with.
    fn row(&self, live: &Live) -> Row {
        let quiet = Leaves::of(&live.scribe, self.case.reach) == Leaves::Nothing && self.verify.is_none();
        let plain = self.case.first.is_empty() && !self.script.statements_of(&self.part).is_empty();
        if quiet && plain && rows::may_wait(&self.mark) { Row::Later } else { Row::Own }
    }

    fn cargo<'a>(&'a self, live: &Live, (opens, mirror): (Opens<'a>, &'a Mirror)) -> Cargo<'a> {
        Cargo {
            script: &self.script,
            part: &self.part,
            verify: self.verify.as_deref(),
            name: self.name.clone(),
            settings: String::new(),
            patience: Patience::of(&self.case),
            first: &self.case.first,
            sized: Vec::new(),
            opens,
            leaves: Leaves::of(&live.scribe, self.case.reach),
            epoch: live.epoch,
            row: Row::Own,
            mark: &self.mark,
            mirror,
        }
    }

    fn stopped(&self, fault: Fault, seen: Seen) -> Stopped {
        Stopped { step: self.step, case: self.case.clone(), fault, seen }
    }
}

/// How the step at a place begins, and the records that go with it: the first one opens the transaction.
fn place(index: usize, mirror: &Mirror, limits: Limits) -> (Opens<'_>, &Mirror) {
    static ALONE: LazyLock<(After, Mirror)> = LazyLock::new(Default::default);
    let (after, none) = &*ALONE;
    if index == 0 { (Opens::Behind(after), mirror) } else { (Opens::Inside(limits), none) }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Cuts the steps into trains. A script that cannot be sent without waiting is one by itself.
fn trains(loads: &[Load]) -> Vec<Range<usize>> {
    let mut trains = Vec::new();
    let (mut first, mut bytes) = (0, 0);
    for (index, load) in loads.iter().enumerate() {
        bytes += load.script.text.len();
        let alone = |load: &Load| !pipelines(&load.script);
        let ends =
            alone(load) || loads.get(index + 1).is_none_or(alone) || index + 1 - first >= TRAIN || bytes >= TRAIN_BYTES;
        if ends {
            trains.push(first..index + 1);
            (first, bytes) = (index + 1, 0);
        }
    }
    trains
}
