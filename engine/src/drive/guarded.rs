//! Transactions under the guard: look, try, watch, step back, try again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::alarm::{Watch, barrier};
use super::figures::Before;
use super::parts::{Halt, settings_before};
use super::pipeline::{Flow, pipelines};
use super::points::Point;
use super::{DriveError, Driver, Live};
use crate::guard::{self, Case, Holder, HolderKind, Look, OnBlocker, Tally, Verdict, millis};
use crate::id::Digest;
use crate::migration::{Part, Script};
use crate::pg::copy::carry;
use crate::pg::failure::{Fault, Site};
use crate::pg::flight::{self, After, Cargo, Gauge, Leaves, Opens, Patience, Row};
use crate::pg::guard::{SOON, Seen, random};
use crate::progress::{Progress, Waiting};
use crate::run::event::Event;
use crate::run::failure::Failure;
use crate::run::journal::Journal;
use crate::run::state::StepIndex;

/// Pause between two looks at those who stand in the way.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Beyond `deadlock_timeout`, the time that autovacuum has for giving way.
const GIVING_WAY: Duration = Duration::from_millis(150);
/// First pause between two sentences about who is in the way. Doubles.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What a transaction stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// A whole step.
    Whole,
    /// One part of a script by parts.
    Part(u32),
}

/// A try that came to nothing before the guard took over.
pub(crate) struct Refused {
    /// Why.
    pub(crate) fault: Fault,
    /// What was seen meanwhile.
    pub(crate) seen: Seen,
}

/// One transaction, or one statement outside of any, from its first look to its end.
struct Guarded<'a> {
    step: StepIndex,
    script: &'a Script,
    part: &'a Part,
    case: Case,
    tally: Tally,
    began: Instant,
    told: BTreeSet<String>,
    tell_next: Instant,
    tell_every: Duration,
    pushed: BTreeMap<i32, Instant>,
}

impl<'a> Guarded<'a> {
    fn new(step: StepIndex, script: &'a Script, part: &'a Part, case: Case) -> Self {
        let now = Instant::now();
        Self {
            step,
            script,
            part,
            case,
            tally: Tally::default(),
            began: now,
            told: BTreeSet::new(),
            tell_next: now,
            tell_every: TELL_EVERY,
            pushed: BTreeMap::new(),
        }
    }

    /// A failure of the guard's own, with the place of the part.
    fn place(&self, failure: Failure) -> Fault {
        let site = match self.script.statements_of(self.part).first() {
            Some(statement) => Site::of(self.script, statement),
            None => Site::whole(self.script),
        };
        Fault::Refused(Box::new(site.place(failure)))
    }

    /// How the wait goes.
    fn waiting(&self) -> Progress {
        Progress::Waiting(Waiting {
            attempts: self.tally.attempts,
            waited: self.began.elapsed(),
            limit: self.case.limits.wait,
            blockers: self.tally.blockers.iter().map(ToString::to_string).collect(),
        })
    }

    /// Whether these are worth a sentence: others than those told of, and not too soon after the last one.
    fn worth_telling(&mut self, blockers: &[Holder]) -> bool {
        let now = Instant::now();
        let known = blockers.iter().all(|holder| self.told.contains(&who(holder)));
        if known || now < self.tell_next {
            return false;
        }
        self.told.extend(blockers.iter().map(who));
        self.tell_next = now + self.tell_every;
        self.tell_every *= 2;
        true
    }
}

fn who(holder: &Holder) -> String {
    holder.pid.map_or_else(|| holder.prepared.clone().unwrap_or_default(), |pid| pid.to_string())
}

fn names(holders: &[Holder]) -> String {
    holders.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl<J: Journal> Driver<'_, J> {
    /// Finds, with one question for all of them, the steps whose tables somebody holds: those run alone, under the
    /// guard. Steps that lock nothing that was there before cost nothing.
    pub(crate) async fn look_ahead(&mut self, window: &[StepIndex]) -> BTreeSet<StepIndex> {
        let limits = self.world.options.limits;
        let case = |&step: &StepIndex| {
            let script = self.script(step, self.unwinding()).filter(|script| script.transactional())?;
            Some((step, guard::case(&script, script.parts.first()?, limits)))
        };
        self.cases = window.iter().filter_map(case).collect();
        let cases = self.cases.iter();
        let owned = cases.flat_map(|(step, case)| case.claims.iter().map(|claim| (*step, claim.clone(), case.loose)));
        let owned: Vec<_> = owned.collect();
        let (Some(live), false) = (&self.session, owned.is_empty()) else { return BTreeSet::new() };
        let Some(monitor) = self.monitor().await else { return BTreeSet::new() };
        let asked: Vec<_> = owned.iter().map(|(_, claim, loose)| (claim.clone(), *loose)).collect();
        let tables: Vec<(StepIndex, Vec<String>)> =
            self.cases.iter().map(|(step, case)| (*step, case.tables())).collect();
        let names: Vec<Vec<String>> = tables.iter().map(|(_, tables)| tables.clone()).collect();
        let (holders, sizes) = tokio::join!(biased; monitor.holders(&asked, live.pid), monitor.sizes(&names));
        // Sizes that cannot be told are not told.
        if let Ok((sizes, temporary)) = sizes {
            let known = tables.iter().zip(sizes).filter_map(|((step, _), size)| size.map(|size| (*step, size)));
            self.before = Before { sizes: known.collect(), temporary };
        }
        let holders = match holders {
            Ok(holders) => holders,
            Err(error) => {
                self.world.observer.say(&format!("the guard could not look: {error}"));
                return BTreeSet::new();
            }
        };
        let claims: Vec<_> = asked.into_iter().map(|(claim, _)| claim).collect();
        let busy = |step: &StepIndex, case: &Case| {
            let of_step = |holder: &&Holder| owned.get(holder.claim).is_some_and(|(owner, _, _)| owner == step);
            let holders: Vec<Holder> = holders.iter().filter(of_step).cloned().collect();
            guard::look(&holders, &claims, &case.limits, Duration::ZERO) != Look::Go
        };
        self.cases.iter().filter(|(step, case)| busy(step, case)).map(|(step, _)| *step).collect()
    }

    /// Runs a whole step alone, again and again until it has its locks or the time is over.
    pub(crate) async fn guarded(
        &mut self,
        step: StepIndex,
        script: &Script,
        case: Option<Case>,
        refused: Option<Refused>,
    ) -> Result<Flow, DriveError> {
        let began_us = (self.world.clock)().0;
        let Some(part) = script.parts.first() else { return self.no_script(step) };
        let Some(mut live) = self.session.take() else { return Ok(Flow::Stop) };
        let case = case.unwrap_or_else(|| guard::case(script, part, self.world.options.limits));
        let result = self.transact(&live, (step, Act::Whole), script, part, case, refused).await;
        self.tell_notices(&mut live);
        self.session = Some(live);
        self.ended(step, result, began_us).await
    }

    /// One transaction of the script's, committed.
    pub(crate) async fn transact(
        &mut self,
        live: &Live,
        (step, act): (StepIndex, Act),
        script: &Script,
        part: &Part,
        case: Case,
        refused: Option<Refused>,
    ) -> Result<(), Halt> {
        let mut guarded = Guarded::new(step, script, part, case);
        let mut again = false;
        if let Some(refused) = refused {
            self.step_back(live, &mut guarded, refused).await?;
            again = true;
        }
        loop {
            let pushing = self.admit(live, &mut guarded).await?;
            if again && act == Act::Whole {
                self.intend_again(step).await?;
            }
            let began = Instant::now();
            let (body, seen) = self.attempt(live, act, &guarded, pushing).await;
            let gauge = match self.settled(live, body, &seen).await {
                Ok(gauge) => gauge,
                Err(fault) => {
                    self.step_back(live, &mut guarded, Refused { fault, seen }).await?;
                    again = true;
                    continue;
                }
            };
            guarded.tally.stall(seen.longest);
            self.commit_mirrored(live).await?;
            self.keep_figures(step, gauge, &seen, began.elapsed(), began - guarded.began).await?;
            return self.sum_up(&guarded);
        }
    }

    /// What happened, where something did.
    fn sum_up(&mut self, guarded: &Guarded<'_>) -> Result<(), Halt> {
        let Some(summary) = guarded.tally.summary(guarded.began.elapsed()) else { return Ok(()) };
        self.tell(guarded.step, &summary)?;
        Ok(())
    }

    async fn attempt(
        &mut self,
        live: &Live,
        act: Act,
        guarded: &Guarded<'_>,
        pushing: Option<Patience>,
    ) -> (Result<Gauge, Fault>, Seen) {
        let (step, script, part) = (guarded.step, guarded.script, guarded.part);
        let (mark, settings) = match act {
            Act::Whole => (self.mark(step), String::new()),
            Act::Part(index) => (self.parts_mark(step, script, index + 1, None), settings_before(script, index)),
        };
        let verify = self.scripts.get(step as usize).and_then(|scripts| scripts.verify.clone());
        let verify = verify.filter(|_| act == Act::Whole && !self.unwinding());
        let mirror = self.mirror();
        let patience = pushing.unwrap_or_else(|| Patience::of(&guarded.case));
        let alone = After::default();
        let cargo = Cargo {
            script,
            part,
            verify: verify.as_deref(),
            name: self.session_name(step),
            settings,
            patience,
            first: &guarded.case.first,
            sized: guarded.case.tables(),
            opens: Opens::Behind(&alone),
            leaves: Leaves::Settings,
            epoch: live.epoch,
            row: Row::Own,
            mark: &mark,
            mirror: &mirror,
        };
        // Autovacuum that will not be hurried has its price, which was told.
        let budget = guarded.case.limits.budget.max(pushing.map_or(Duration::ZERO, |patience| patience.lock_timeout));
        let watch = Watch::closely(budget);
        self.world.observer.point(Point::StepBefore);
        let result = if !pipelines(script) {
            let carried = self.watched(live, watch, carry(&live.session, &live.scribe, &cargo));
            self.telling(live.pid, step, Box::pin(carried)).await
        } else {
            match flight::launch(&live.session, &live.scribe, &cargo).await {
                Ok(flight) => self.telling(live.pid, step, Box::pin(self.watched(live, watch, flight.arrive()))).await,
                Err(error) => (Err(Fault::from(error)), Seen::default()),
            }
        };
        self.world.observer.point(Point::StepAnswered);
        result
    }

    /// Waits until nobody is in the way for long. Says how patient the try may be where that is not as usual.
    async fn admit(&mut self, live: &Live, guarded: &mut Guarded<'_>) -> Result<Option<Patience>, Halt> {
        loop {
            if self.stopping() {
                return Err(Halt::Stop);
            }
            let holders = self.holders(live, &guarded.case).await;
            let waited = guarded.began.elapsed();
            match guard::look(&holders, &guarded.case.claims, &guarded.case.limits, waited) {
                Look::Go => return Ok(None),
                Look::PushAside => return self.push_aside(guarded, holders).await.map(Some),
                Look::GiveUp(failure) => {
                    self.sum_up(guarded)?;
                    return Err(guarded.place(*failure).into());
                }
                Look::Wait(blockers) => {
                    if guarded.worth_telling(&blockers) {
                        self.tell(guarded.step, &format!("waits, without queueing up: {}", names(&blockers)))?;
                        self.flush().await?;
                        self.show_elsewhere(live).await;
                    }
                    self.move_aside(guarded, &blockers).await?;
                    guarded.tally.blockers = blockers;
                    self.come(guarded.step, &guarded.waiting());
                    self.idle(LOOK_EVERY).await?;
                }
            }
        }
    }

    /// Autovacuum gives way to somebody who waits for it, once the deadlock check of that session has found it.
    async fn push_aside(&mut self, guarded: &mut Guarded<'_>, holders: Vec<Holder>) -> Result<Patience, Halt> {
        let Some(monitor) = self.monitor().await else { return Ok(Patience::of(&guarded.case)) };
        let vacuums: Vec<Holder> = holders.into_iter().filter(|one| one.kind() == HolderKind::Autovacuum).collect();
        let mut patience = Patience::of(&guarded.case);
        let price = if monitor.may_set_deadlock_timeout {
            patience.deadlock_timeout = Some(SOON);
            SOON
        } else {
            monitor.deadlock_timeout
        };
        patience.lock_timeout = patience.lock_timeout.max(price + GIVING_WAY);
        if guarded.worth_telling(&vacuums) {
            let price = millis(price);
            let words = format!("makes autovacuum give way, which takes {price} in the queue: {}", names(&vacuums));
            self.tell(guarded.step, &words)?;
        }
        guarded.tally.blockers = vacuums;
        Ok(patience)
    }

    async fn holders(&self, live: &Live, case: &Case) -> Vec<Holder> {
        if case.claims.is_empty() {
            return Vec::new();
        }
        let Some(monitor) = self.monitor().await else { return Vec::new() };
        let claims: Vec<_> = case.claims.iter().map(|claim| (claim.clone(), case.loose)).collect();
        monitor.holders(&claims, live.pid).await.unwrap_or_else(|error| {
            self.world.observer.say(&format!("the guard could not look: {error}"));
            Vec::new()
        })
    }

    /// Does to those in the way what the user asked for.
    async fn move_aside(&mut self, guarded: &mut Guarded<'_>, blockers: &[Holder]) -> Result<(), Halt> {
        let how = guarded.case.limits.on_blocker;
        let Some(monitor) = self.monitor().await else { return Ok(()) };
        for holder in blockers {
            let reachable = match holder.kind() {
                HolderKind::Session => how != OnBlocker::Wait,
                // There is no statement to cancel.
                HolderKind::Idle => how == OnBlocker::Terminate,
                _ => false,
            };
            let (Some(pid), true) = (holder.pid, reachable) else { continue };
            let recently = guarded.pushed.get(&pid).is_some_and(|at| at.elapsed() < TELL_EVERY);
            if recently {
                continue;
            }
            guarded.pushed.insert(pid, Instant::now());
            let verb = if how == OnBlocker::Cancel { "cancelled" } else { "ended" };
            match monitor.push(pid, how).await {
                Ok(_) => self.tell(guarded.step, &format!("{verb}, as asked for: {holder}"))?,
                Err(error) => {
                    let said = error.as_db_error().map_or_else(|| error.to_string(), |said| said.message().to_owned());
                    self.tell(guarded.step, &format!("could not move {holder} aside: {said}"))?;
                    guarded.case.limits.on_blocker = OnBlocker::Wait;
                }
            }
        }
        Ok(())
    }

    /// After a try that came to nothing: certain that it left nothing, and patient, or done with it.
    async fn step_back(&mut self, live: &Live, guarded: &mut Guarded<'_>, refused: Refused) -> Result<(), Halt> {
        let Refused { fault, seen } = refused;
        let failure = match fault {
            Fault::Refused(failure) if !self.stopping() => failure,
            fault => return Err(fault.into()),
        };
        let Some(setback) = guard::setback(failure.sqlstate.as_deref(), seen.cancelled) else {
            return Err(Fault::Refused(failure).into());
        };
        if seen.cancelled.is_some() {
            drop(barrier(live).await);
        }
        flight::rollback(&live.session).await?;
        self.unsend_mirror();
        let unseen = if seen.watched { Duration::ZERO } else { guarded.case.limits.lock_timeout };
        guarded.tally.count(setback, seen.longest.max(unseen));
        let holders = self.holders(live, &guarded.case).await;
        let waited = guarded.began.elapsed();
        match guard::look(&holders, &guarded.case.claims, &guarded.case.limits, Duration::ZERO) {
            Look::Wait(blockers) => guarded.tally.blockers = blockers,
            Look::GiveUp(_) | Look::Go | Look::PushAside => {}
        }
        let (tally, recipe) = (&guarded.tally, guarded.case.recipe.as_deref());
        match guard::after(setback, tally, &guarded.case.limits, recipe, waited, random()) {
            Verdict::Again(pause) => {
                let words = setback_words(setback, &guarded.tally, pause);
                self.tell(guarded.step, &words)?;
                self.come(guarded.step, &guarded.waiting());
                self.flush().await?;
                self.show_elsewhere(live).await;
                self.idle(pause).await
            }
            Verdict::GiveUp(own) => {
                self.sum_up(guarded)?;
                let placed = Failure { code: own.code, message: own.message, hint: own.hint, ..*failure };
                Err(Fault::Refused(Box::new(placed)).into())
            }
        }
    }

    /// The step is tried again: what the try before it intended certainly had no effect.
    async fn intend_again(&mut self, step: StepIndex) -> Result<(), Halt> {
        let script = self.script(step, self.unwinding());
        let (content, tokens) = script.map_or((Digest::ZERO, Digest::ZERO), |s| (s.content, s.tokens));
        self.note(Event::StepCleared { step, label: 'E' })?;
        let attempt = self.attempt_number(step) + 1;
        self.note(if self.unwinding() {
            Event::UndoIntent { step, attempt, content, tokens }
        } else {
            Event::StepIntent { step, attempt, content, tokens }
        })?;
        Ok(self.flush().await?)
    }

    /// Sleeps, unless the run is told to stop.
    pub(crate) async fn idle(&self, pause: Duration) -> Result<(), Halt> {
        let mut stop = self.world.stop.clone();
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => Err(Halt::Stop),
            () = sleep(pause) => Ok(()),
        }
    }

    /// A sentence for the journal and for whoever looks on.
    pub(crate) fn tell(&mut self, step: StepIndex, message: &str) -> Result<(), DriveError> {
        self.note(Event::Noted { step: Some(step), topic: "guard".to_owned(), message: message.to_owned() })?;
        self.world.observer.say(&format!("  guard     {}: {message}", self.run.step_name(step)));
        Ok(())
    }

    /// Waits until a statement outside of any transaction has nobody in its way.
    pub(crate) async fn admit_alone(
        &mut self,
        live: &Live,
        step: StepIndex,
        script: &Script,
        part: &Part,
        case: &Case,
    ) -> Result<(), Halt> {
        let mut guarded = Guarded::new(step, script, part, case.clone());
        self.admit(live, &mut guarded).await.map(|_| ())
    }
}

fn setback_words(setback: guard::Setback, tally: &Tally, pause: Duration) -> String {
    use guard::{Cancelled, Setback};
    let stall = millis(tally.last_stall);
    let what = match setback {
        Setback::LockTimeout => "a lock was not free in time",
        Setback::Deadlock => "deadlocked with another session",
        Setback::Budget(Cancelled::Queueing) => "cancelled in the queue for a lock: the application waited behind it",
        Setback::Budget(Cancelled::Holding) => "cancelled at work: the application waited behind it",
    };
    let who = if tally.blockers.is_empty() { String::new() } else { format!(" ({})", names(&tally.blockers)) };
    format!("{what}, {stall} at most{who}; try {} in {}", tally.attempts + 1, millis(pause))
}
