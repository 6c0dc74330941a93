//! Scripts that are not one transaction: part by part. A part that can run in a transaction carries its own record and
//! is exactly-once by itself. One that cannot is announced in the history with what the catalogs showed before it, run
//! alone, and recorded; after a crash the catalogs tell.

use std::time::{Duration, Instant};

use super::guarded::Act;
use super::pipeline::Flow;
use super::points::Point;
use super::{DriveError, Driver, Live, Progress};
use crate::guard;
use crate::id::Digest;
use crate::migration::{DirectiveKey, Part, PartKind, Script};
use crate::pg::catalog::{observe, remedy_sql};
use crate::pg::failure::{Fault, Site, fault};
use crate::pg::flight::{self, After, Durability, Gauge};
use crate::pg::layout::quote_literal;
use crate::pg::lock;
use crate::pg::send::{ask, send};
use crate::pg::witness::{Mark, Mirror, Prior, columns};
use crate::run::event::Event;
use crate::run::evidence::{Observed, Remedy, judge};
use crate::run::failure::Failure;
use crate::run::journal::Journal;
use crate::run::recovery::Evidence;
use crate::run::state::{RestReason, StepIndex};
use crate::sql::Effect;

/// A concurrent build waits for older transactions on purpose; a lock timeout would kill its wait and leave an invalid
/// index behind.
const UNLIMITED: &str = "SET lock_timeout = 0; SET statement_timeout = 0";

impl<J: Journal> Driver<'_, J> {
    /// Runs the parts that are not done yet, then writes the history row.
    pub(crate) async fn by_parts(&mut self, step: StepIndex, script: &Script) -> Result<Flow, DriveError> {
        let mut progress = self.progress.remove(&step).unwrap_or_default();
        let began_us = (self.world.clock)().0;
        let Some(mut live) = self.session.take() else { return Ok(Flow::Stop) };
        let result = self.run_parts(&live, step, script, &mut progress, began_us).await;
        self.tell_notices(&mut live);
        self.session = Some(live);
        self.ended(step, result, began_us).await
    }

    /// What became of a step that ran alone.
    pub(crate) async fn ended(
        &mut self,
        step: StepIndex,
        result: Result<(), Halt>,
        began_us: i64,
    ) -> Result<Flow, DriveError> {
        match result {
            Ok(()) => {
                let elapsed = (self.world.clock)().0.saturating_sub(began_us);
                self.note(self.done(step, u64::try_from(elapsed).unwrap_or_default()))?;
                self.flush().await?;
                Ok(Flow::Continue)
            }
            Err(Halt::Fault(fault)) => self.faulted(step, fault).await,
            Err(Halt::Drive(error)) => Err(error),
            Err(Halt::Stop) => {
                self.flush().await?;
                Ok(Flow::Stop)
            }
        }
    }

    async fn run_parts(
        &mut self,
        live: &Live,
        step: StepIndex,
        script: &Script,
        progress: &mut Progress,
        began_us: i64,
    ) -> Result<(), Halt> {
        for (index, part) in (0u32..).zip(&script.parts).skip(progress.done as usize) {
            if self.stopping() {
                return Err(Halt::Stop);
            }
            let resumed = std::mem::take(progress);
            match &part.kind {
                PartKind::Transaction { .. } => self.part_in_transaction(live, step, script, part, index).await?,
                PartKind::Alone { effect } => self.part_alone(live, step, script, effect, index, resumed).await?,
                PartKind::Opening(chunk) => self.open_chunk(live, step, script, (chunk, part, index)).await?,
                PartKind::Chunked(chunk) => self.run_chunks(live, step, script, (chunk, part, index)).await?,
            }
            self.note(Event::PartDone { step, parts_done: index + 1 })?;
        }
        self.finish_parts(live, step, began_us).await
    }

    async fn part_in_transaction(
        &mut self,
        live: &Live,
        step: StepIndex,
        script: &Script,
        part: &Part,
        index: u32,
    ) -> Result<(), Halt> {
        let case = guard::case(script, part, self.world.options.limits);
        self.world.observer.point(Point::PartBefore);
        self.transact(live, (step, Act::Part(index)), script, part, case, None).await?;
        self.world.observer.point(Point::PartAfter);
        Ok(())
    }

    async fn part_alone(
        &mut self,
        live: &Live,
        step: StepIndex,
        script: &Script,
        effect: &Effect,
        index: u32,
        resumed: Progress,
    ) -> Result<(), Halt> {
        if !lock::is_held(&live.session).await.map_err(Fault::from)? {
            let message =
                "the runner lock was let go by a script (pg_advisory_unlock_all?), so this part was not begun";
            return Err(Fault::Refused(Box::new(Failure::own("ME409", message))).into());
        }
        let author = author_query(script, index);
        let client = &live.session.client;
        client.batch_execute(&settings_before(script, index)).await.map_err(Fault::from)?;
        let now = observe(client, effect, author.as_deref()).await.map_err(Fault::from)?;
        let before = resumed.before.clone().unwrap_or_else(|| now.clone());
        let finding = match (&resumed.before, resumed.attested) {
            (Some(before), attested) => {
                let found = judge(effect, before, &now);
                let attested_done = found.evidence == Evidence::Unknown && attested == Some(true);
                (found.evidence == Evidence::Done || attested_done, found.remedies)
            }
            // IF NOT EXISTS would take an unusable index for the index.
            (None, _) => (false, judge(effect, &before, &now).remedies),
        };
        self.announce(live, step, script, index, &before).await?;
        self.sweep(live, &finding.1).await?;
        let finalized = finding.1.iter().any(|remedy| matches!(remedy, Remedy::FinalizeDetach { .. }));
        if !finding.0 && !finalized {
            self.send_alone(live, step, script, effect, index, &before).await?;
        }
        live.session.reset().await.map_err(Fault::from)?;
        let mark = self.parts_mark(step, script, index + 1, None);
        self.mark_alone(live, &mark).await
    }

    /// The history says that this part is about to run, and what was there before it.
    async fn announce(
        &mut self,
        live: &Live,
        step: StepIndex,
        script: &Script,
        index: u32,
        before: &Observed,
    ) -> Result<(), Halt> {
        live.session.reset().await.map_err(Fault::from)?;
        let json = serde_json::to_string(before).unwrap_or_default();
        let mark = self.parts_mark(step, script, index, Some(json));
        self.mark_alone(live, &mark).await?;
        let name = quote_literal(&self.session_name(step));
        let settings = format!("SET application_name = {name}; {}{UNLIMITED}", settings_before(script, index));
        live.session.client.batch_execute(&settings).await.map_err(Fault::from)?;
        Ok(())
    }

    async fn send_alone(
        &mut self,
        live: &Live,
        step: StepIndex,
        script: &Script,
        effect: &Effect,
        index: u32,
        before: &Observed,
    ) -> Result<(), Halt> {
        let Some(part) = script.parts.get(index as usize) else { return Ok(()) };
        let Some(statement) = script.statements_of(part).first() else { return Ok(()) };
        let case = guard::case(script, part, self.world.options.limits);
        self.admit_alone(live, step, script, part, &case).await?;
        let wal = flight::wal_now(&live.session.client).await.map_err(Fault::from)?;
        let began = Instant::now();
        self.world.observer.point(Point::AloneBefore);
        let sent = send(&live.session.client, statement.sql(&script.text)).await.map_err(Fault::from)?;
        self.world.observer.point(Point::AloneSent);
        let (answer, seen) = self.watched_alone(live, step, &case, guard::is_gentle(effect), sent.answer()).await;
        self.world.observer.point(Point::AloneAfter);
        let Err((_, error)) = answer else {
            let wal_bytes = match wal {
                Some(before) => flight::wal_now(&live.session.client)
                    .await
                    .map_err(Fault::from)?
                    .map(|now| now.saturating_sub(before)),
                None => None,
            };
            let gauge = Gauge { wal_bytes, ..Gauge::default() };
            return Ok(self.keep_figures(step, gauge, &seen, began.elapsed(), Duration::ZERO).await?);
        };
        let mut fault = fault(&error, Some(Site::of(script, statement)));
        if let (Fault::Refused(failure), Some(_)) = (&mut fault, seen.cancelled) {
            guard::over_budget(failure, &case);
        }
        if matches!(fault, Fault::Refused(_)) && !self.stopping() {
            self.clean_up(live, step, effect, index, before).await;
        }
        Err(fault.into())
    }

    /// After a refusal: sweep what the statement left, and take the announcement back if nothing is left of the step.
    /// Whatever goes wrong here is found again, and settled, when the run is resumed.
    async fn clean_up(&mut self, live: &Live, step: StepIndex, effect: &Effect, index: u32, before: &Observed) {
        let swept = async {
            let now = observe(&live.session.client, effect, None).await.map_err(Fault::from)?;
            let finding = judge(effect, before, &now);
            self.sweep(live, &finding.remedies).await?;
            live.session.reset().await.map_err(Fault::from)?;
            if index == 0 && !self.unwinding() && finding.evidence == Evidence::NotDone {
                let gone = Mark::Gone { id: self.run.step_name(step).to_owned() };
                self.mark_alone(live, &gone).await?;
            }
            Ok::<(), Halt>(())
        }
        .await;
        if let Err(Halt::Fault(Fault::Refused(failure))) = swept {
            self.world.observer.say(&format!("what the failed statement left was not swept up: {}", failure.message));
        }
    }

    async fn sweep(&self, live: &Live, remedies: &[Remedy]) -> Result<(), Halt> {
        for remedy in remedies {
            let sql = remedy_sql(remedy);
            self.world.observer.say(&format!("sweeping up after an interrupted statement: {sql}"));
            self.world.observer.point(Point::SweepBefore);
            let sent = send(&live.session.client, &sql).await.map_err(Fault::from)?;
            self.cancelling(live, sent.answer()).await.map_err(|(_, error)| fault(&error, None))?;
            self.world.observer.point(Point::SweepAfter);
        }
        Ok(())
    }

    /// Checks, then the row that says "applied" (or its removal). The last act of a script by parts.
    async fn finish_parts(&mut self, live: &Live, step: StepIndex, began_us: i64) -> Result<(), Halt> {
        let verify = self.scripts.get(step as usize).and_then(|scripts| scripts.verify.clone());
        if let Some(verify) = verify.filter(|_| !self.unwinding()) {
            self.verify_apart(live, &verify).await?;
        }
        let duration_us = (self.world.clock)().0.saturating_sub(began_us);
        let mark = if self.unwinding() {
            Mark::Gone { id: self.run.step_name(step).to_owned() }
        } else {
            let (testimony, attempt) = (self.testimony(step), self.attempt_number(step));
            Mark::Applied { testimony, attempt, prior: Prior::Begun { duration_us } }
        };
        self.mark_alone(live, &mark).await
    }

    async fn verify_apart(&self, live: &Live, verify: &Script) -> Result<(), Halt> {
        let client = &live.session.client;
        client.batch_execute("BEGIN READ ONLY").await.map_err(Fault::from)?;
        let mut first: Option<Fault> = None;
        for statement in &verify.statements {
            let site = Site::of(verify, statement);
            let sent = ask(client, statement.sql(&verify.text)).await.map_err(Fault::from)?;
            match self.cancelling(live, sent.answer()).await {
                Ok(answer) if flight::says_false(&answer.first_column) => {
                    first.get_or_insert(Fault::Refused(Box::new(flight::untrue(site))));
                }
                Ok(_) => {}
                Err((_, error)) => {
                    first.get_or_insert(fault(&error, Some(site)));
                }
            }
        }
        flight::rollback(&live.session).await?;
        first.map_or(Ok(()), |fault| Err(fault.into()))
    }

    /// A mark in a transaction of its own, fenced.
    pub(crate) async fn mark_alone(&mut self, live: &Live, mark: &Mark) -> Result<(), Halt> {
        let mirror = self.mirror();
        self.world.observer.point(Point::MarkBefore);
        let client = &live.session.client;
        let fence = flight::fence(&live.session, live.epoch, &After::default());
        client.batch_execute(&format!("BEGIN; {fence}")).await.map_err(Fault::from)?;
        write_mark(live, mark, &mirror).await?;
        self.commit_mirrored(live).await?;
        self.world.observer.point(Point::MarkAfter);
        Ok(())
    }

    pub(crate) async fn commit_mirrored(&mut self, live: &Live) -> Result<(), Halt> {
        self.world.observer.point(Point::CommitBefore);
        flight::commit(&live.session.client, Durability::Now).await.map_err(Fault::from)?.verdict().await?;
        self.world.observer.point(Point::CommitAfter);
        let upto = self.mirror_sent;
        self.mirrored(upto);
        Ok(())
    }

    /// A script by parts that stopped half-way is about to be taken back. From here on the history says so, and counts
    /// the parts of the reverse script.
    pub(crate) async fn turn_around(&mut self, step: StepIndex) -> Result<Flow, DriveError> {
        let mark = Mark::Parts {
            testimony: self.testimony(step),
            undoing: true,
            attempt: self.attempt_number(step),
            done: 0,
            tokens: Vec::new(),
            before: None,
        };
        let Some(live) = self.session.take() else { return Ok(Flow::Stop) };
        let marked = self.mark_alone(&live, &mark).await;
        self.session = Some(live);
        match marked {
            Ok(()) => Ok(Flow::Continue),
            Err(Halt::Fault(fault)) => self.faulted(step, fault).await,
            Err(Halt::Drive(error)) => Err(error),
            Err(Halt::Stop) => Ok(Flow::Stop),
        }
    }

    /// A step that was begun and is not to be gone on with: what its last part left is swept up, and where nothing is
    /// left of it, its history row goes too. Returns whether sweeping finished what the part was to do.
    pub(crate) async fn abandon(
        &mut self,
        step: StepIndex,
        remedies: &[Remedy],
        untouched: bool,
    ) -> Result<bool, DriveError> {
        let finalized = remedies.iter().any(|remedy| matches!(remedy, Remedy::FinalizeDetach { .. }));
        let Some(live) = self.session.take() else { return Ok(false) };
        let swept = async {
            self.sweep(&live, remedies).await?;
            if untouched && !finalized {
                let gone = Mark::Gone { id: self.run.step_name(step).to_owned() };
                self.mark_alone(&live, &gone).await?;
            }
            Ok::<(), Halt>(())
        }
        .await;
        match swept {
            Ok(()) => self.session = Some(live),
            Err(Halt::Drive(error)) => return Err(error),
            // Without a session the lock is taken again and the table asked again.
            Err(Halt::Fault(Fault::Lost(why))) => self.world.observer.say(&format!("the connection was lost: {why}")),
            Err(Halt::Fault(Fault::Refused(failure))) => {
                self.session = Some(live);
                let message = format!("what an interrupted statement left could not be swept up: {}", failure.message);
                self.rest(RestReason::Stuck, Some(step), &message).await?;
            }
            Err(Halt::Stop) => self.session = Some(live),
        }
        Ok(finalized)
    }

    pub(crate) fn parts_mark(&self, step: StepIndex, script: &Script, done: u32, before: Option<String>) -> Mark {
        let tokens: Vec<_> = script.parts.iter().take(done as usize).map(|part| part_tokens(script, part)).collect();
        Mark::Parts {
            testimony: self.testimony(step),
            undoing: self.unwinding(),
            attempt: self.attempt_number(step),
            done,
            tokens: columns(&tokens),
            before,
        }
    }
}

pub(crate) async fn write_mark(live: &Live, mark: &Mark, mirror: &Mirror) -> Result<(), Halt> {
    if live.scribe.mark(&live.session.client, mark, mirror).await.map_err(Fault::from)?.rows != 1 {
        return Err(Fault::Refused(Box::new(flight::unwitnessed())).into());
    }
    Ok(live.scribe.keeper.keep(&live.session.client, mark).await?)
}

/// Why the parts did not go on.
pub(crate) enum Halt {
    Fault(Fault),
    Drive(DriveError),
    Stop,
}

impl From<Fault> for Halt {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<DriveError> for Halt {
    fn from(error: DriveError) -> Self {
        Self::Drive(error)
    }
}

/// The effect of a part that runs alone, and its author's `-- verify:` query.
pub(crate) fn alone(script: &Script, part: u32) -> Option<(Effect, Option<String>)> {
    match &script.parts.get(part as usize)?.kind {
        PartKind::Alone { effect } => Some((effect.clone(), author_query(script, part))),
        _ => None,
    }
}

pub(crate) fn author_query(script: &Script, part: u32) -> Option<String> {
    let statement = script.statements_of(script.parts.get(part as usize)?).first()?;
    let mut directives = script.directives(statement);
    let verify = directives.find(|directive| directive.key == DirectiveKey::Verify)?;
    Some(verify.value.trim_end_matches(';').to_owned())
}

/// The SET and RESET statements of the parts before one: each part starts from a session that was reset, so what the
/// script has set by then is set again.
pub(crate) fn settings_before(script: &Script, part: u32) -> String {
    let settings = script.settings_before(part as usize);
    settings.into_iter().map(|statement| format!("{}; ", script.sql(statement))).collect()
}

/// Checksum over the tokens of one part: how a later run knows that a part it finds done is the one it has.
pub(crate) fn part_tokens(script: &Script, part: &Part) -> Digest {
    script.tokens_of(script.statements_of(part))
}
