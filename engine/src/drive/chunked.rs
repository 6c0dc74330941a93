//! Statements that run in pieces: where the last batch ended, whether to hold, the next batch, and what came of it.

use std::time::{Duration, Instant};

use super::guarded::Watch;
use super::parts::{Halt, author_query, settings_before, write_mark};
use super::points::Point;
use super::{Driver, Live};
use crate::chunk::{self, After as Then, Meter, Pace, Pass, Setback, after_pass};
use crate::guard::{self, Case};
use crate::id::Epoch;
use crate::migration::{Chunk, DirectiveKey, Part, Script, parse_duration};
use crate::pg::chunk::{self as pieces, Batch, Divided, Reached, Who};
use crate::pg::failure::{Fault, Site, fault_placed};
use crate::pg::flight::{self, After, RESET};
use crate::pg::guard::{Seen, random};
use crate::pg::layout::quote_literal;
use crate::pg::send::send;
use crate::progress::Progress;
use crate::run::event::Event;
use crate::run::failure::Failure;
use crate::run::journal::Journal;
use crate::run::state::StepIndex;
use crate::sql::Statement;

/// Pause between two looks at whether to hold.
const HOLD_EVERY: Duration = Duration::from_millis(500);
/// Pause between two sentences about why it holds.
const TELL_EVERY: Duration = Duration::from_secs(30);
/// Somebody who waited this long behind a batch makes the next one smaller.
const CROWDED: Duration = Duration::from_millis(50);
/// Longest pause after a batch that failed by chance.
const PAUSE: Duration = Duration::from_secs(2);

/// One statement and everything around it.
struct Work<'a> {
    step: StepIndex,
    index: u32,
    script: &'a Script,
    statement: &'a Statement,
    chunk: &'a Chunk,
    divided: Divided,
    who: Who,
    case: Case,
    pace: Pace,
    began: Instant,
    keys: u64,
    /// Since when nothing went through.
    stuck_since: Option<Instant>,
    /// The server tells how busy it is.
    sees: bool,
}

/// How a batch ended.
enum Tried {
    Through { rows: u64, keys: u64, took: Duration, crowded: bool },
    Failed { failure: Box<Failure>, keys: u64, end: Vec<String> },
}

impl<J: Journal> Driver<'_, J> {
    fn who(&self, step: StepIndex, part: u32) -> Who {
        let part = i32::try_from(part).unwrap_or(i32::MAX);
        Who { id: self.run.step_name(step).to_owned(), undoing: self.unwinding(), part }
    }

    /// Chooses the key, and keeps the place at its beginning together with the record of this part.
    pub(crate) async fn open_chunk(
        &mut self,
        live: &Live,
        step: StepIndex,
        script: &Script,
        (chunk, part, index): (&Chunk, &Part, u32),
    ) -> Result<(), Halt> {
        let divided = self.divided(live, script, chunk, part, index).await?;
        let who = self.who(step, index + 1);
        let mark = self.parts_mark(step, script, index + 1, None);
        let mirror = self.mirror();
        self.world.observer.point(Point::ChunkBefore);
        let client = &live.session.client;
        let fence = flight::fence(&live.session, live.epoch, &After::default());
        client.batch_execute(&format!("BEGIN; {fence}")).await.map_err(Fault::from)?;
        let size = i32::try_from(chunk.size).unwrap_or(i32::MAX);
        let token = self.token(live);
        pieces::open(client, self.world.schema, &who, token, &divided, size).await.map_err(Fault::from)?;
        write_mark(live, &mark, &mirror).await?;
        self.commit_mirrored(live).await?;
        self.world.observer.point(Point::ChunkAfter);
        Ok(())
    }

    /// The table and its key, by the script's own `search_path`.
    async fn divided(
        &self,
        live: &Live,
        script: &Script,
        chunk: &Chunk,
        part: &Part,
        index: u32,
    ) -> Result<Divided, Halt> {
        let client = &live.session.client;
        client.batch_execute(&settings_before(script, index)).await.map_err(Fault::from)?;
        let table = pieces::find(client, chunk).await.map_err(Fault::from)?;
        live.session.reset().await.map_err(Fault::from)?;
        let checked = match table {
            Some(table) => pieces::check(client, chunk, table).await.map_err(Fault::from)?,
            None => Err(pieces::absent(chunk)),
        };
        checked.map_err(|unusable| {
            let failure = Failure { hint: Some(unusable.help), ..Failure::own("ME437", unusable.what) };
            placed(script, script.statements_of(part).first(), failure).into()
        })
    }

    /// Works through the key, and through it again for what came in behind, until nothing is left.
    pub(crate) async fn run_chunks(
        &mut self,
        live: &Live,
        step: StepIndex,
        script: &Script,
        (chunk, part, index): (&Chunk, &Part, u32),
    ) -> Result<(), Halt> {
        let Some(statement) = script.statements_of(part).first() else { return Ok(()) };
        let divided = self.divided(live, script, chunk, part, index).await?;
        let who = self.who(step, index);
        let case = guard::case(script, part, self.world.options.limits);
        let reached = self.reached(live, script, statement, &who).await?;
        if reached.key != divided.key.columns {
            let was = reached.key.join(", ");
            let words = format!(
                "this statement was begun by the key ({was}), and would go on by ({})",
                divided.key.columns.join(", ")
            );
            let failure = Failure { hint: Some(format!("write `by ({was})` again")), ..Failure::own("ME441", words) };
            return Err(placed(script, Some(statement), failure).into());
        }
        let size = u32::try_from(reached.size).unwrap_or(chunk.size);
        let pace = Pace::new(chunk.target, size, chunk.max_size);
        let mut work = Work {
            step,
            index,
            script,
            statement,
            chunk,
            divided,
            who,
            case,
            pace,
            began: Instant::now(),
            keys: 0,
            stuck_since: None,
            sees: true,
        };
        if reached.finished && !self.holds_true(live, &work).await? {
            self.reopen(live, &work, &reached).await?;
        }
        self.passes(live, &mut work).await?;
        if !self.holds_true(live, &work).await? {
            return Err(placed(script, Some(statement), left_over(chunk)).into());
        }
        self.sum_up_chunks(live, &work).await?;
        let mark = self.parts_mark(step, script, index + 1, None);
        self.mark_alone(live, &mark).await
    }

    async fn passes(&mut self, live: &Live, work: &mut Work<'_>) -> Result<(), Halt> {
        loop {
            if self.stopping() {
                return Err(Halt::Stop);
            }
            let reached = self.reached(live, work.script, work.statement, &work.who).await?;
            if reached.finished {
                return Ok(());
            }
            self.hold_back(live, work).await?;
            let client = &live.session.client;
            let size = work.pace.size();
            let next =
                pieces::next(client, &work.divided, reached.cursor.as_deref(), size).await.map_err(Fault::from)?;
            let Some((keys, end)) = next else {
                self.end_pass(live, work, &reached).await?;
                continue;
            };
            match self.batch(live, work, &reached, keys, end).await? {
                Tried::Through { rows, keys, took, crowded } => {
                    work.pace.went_through(keys, took, crowded);
                    work.keys += keys;
                    work.stuck_since = None;
                    self.tell_progress(work, &reached, rows, keys);
                }
                Tried::Failed { failure, keys, end } => self.setback(work, *failure, keys, &end).await?,
            }
        }
    }

    async fn reached(&self, live: &Live, script: &Script, statement: &Statement, who: &Who) -> Result<Reached, Halt> {
        let read = pieces::reached(&live.session.client, self.world.schema, who).await.map_err(Fault::from)?;
        read.ok_or_else(|| placed(script, Some(statement), misplaced()).into())
    }

    /// Nothing is left behind the place reached: another pass, or the end.
    async fn end_pass(&self, live: &Live, work: &Work<'_>, reached: &Reached) -> Result<(), Halt> {
        let pass = Pass {
            number: u32::try_from(reached.pass).unwrap_or(u32::MAX),
            rows: u64::try_from(reached.pass_rows).unwrap_or_default(),
        };
        let finished = after_pass(pass, work.chunk.sweep) == Then::Finish;
        self.turn(live, work, reached, finished).await
    }

    /// By its own query it is not done, though it went through: rows came in since.
    async fn reopen(&self, live: &Live, work: &Work<'_>, reached: &Reached) -> Result<(), Halt> {
        if !work.chunk.sweep {
            return Err(placed(work.script, Some(work.statement), left_over(work.chunk)).into());
        }
        self.turn(live, work, reached, false).await
    }

    async fn turn(&self, live: &Live, work: &Work<'_>, reached: &Reached, finished: bool) -> Result<(), Halt> {
        self.world.observer.point(Point::ChunkBefore);
        let client = &live.session.client;
        let fence = flight::fence(&live.session, live.epoch, &After::default());
        client.batch_execute(&format!("BEGIN; {fence}")).await.map_err(Fault::from)?;
        match pieces::turn(client, self.world.schema, &work.who, reached, finished).await.map_err(Fault::from)? {
            1 => {}
            _ => return Err(placed(work.script, Some(work.statement), misplaced()).into()),
        }
        flight::commit(client).await.map_err(Fault::from)?.verdict().await?;
        self.world.observer.point(Point::ChunkAfter);
        Ok(())
    }

    /// One batch, committed or certainly without effect.
    async fn batch(
        &self,
        live: &Live,
        work: &Work<'_>,
        reached: &Reached,
        keys: i64,
        end: Vec<String>,
    ) -> Result<Tried, Halt> {
        self.world.observer.point(Point::ChunkBefore);
        let watch = Watch::in_passing(&work.case);
        let (body, seen) = self.watched(live, watch, self.body(live, work, reached, keys, &end)).await;
        let body = match (body, seen.cancelled) {
            // A cancel request that came too late for the statement must not meet the COMMIT.
            (Ok(done), Some(_)) => self.settled(live, Ok(()), &seen).await.map(|()| done),
            (body, _) => body,
        };
        self.world.observer.point(Point::ChunkAnswered);
        let done = match body {
            Ok((rows, took)) => {
                match flight::commit(&live.session.client).await.map_err(Fault::from)?.verdict().await {
                    Ok(()) => Ok((rows, took)),
                    Err(fault) => Err(fault),
                }
            }
            Err(fault) => Err(fault),
        };
        self.world.observer.point(Point::ChunkAfter);
        let keys = u64::try_from(keys).unwrap_or_default();
        match done {
            Ok((rows, took)) => Ok(Tried::Through { rows, keys, took, crowded: crowded(&seen) }),
            Err(Fault::Refused(_)) if self.stopping() => {
                flight::rollback(&live.session).await?;
                Err(Halt::Stop)
            }
            Err(Fault::Refused(failure)) => {
                flight::rollback(&live.session).await?;
                Ok(Tried::Failed { failure, keys, end })
            }
            Err(lost) => Err(lost.into()),
        }
    }

    /// Everything of a batch but its COMMIT: rows changed, and how long the statement took.
    async fn body(
        &self,
        live: &Live,
        work: &Work<'_>,
        reached: &Reached,
        keys: i64,
        end: &[String],
    ) -> Result<(u64, Duration), Fault> {
        let (client, cursor) = (&live.session.client, reached.cursor.as_deref());
        let plain = async |sql: String| {
            let sent = send(client, &sql).await?;
            sent.answer().await.map(|_| ()).map_err(|(_, error)| Fault::from(error))
        };
        let sent =
            chunk::rewrite(&work.script.text, work.statement, work.chunk, &work.divided.key, pieces::range(cursor));
        plain(self.opening(live, work)).await?;
        let began = Instant::now();
        let rows = pieces::change(client, &sent.sql, cursor, end).await.map_err(|error| {
            fault_placed(&error, Site::of(work.script, work.statement), |character| sent.place(character))
        })?;
        let took = began.elapsed();
        plain(format!("{RESET}{}", live.session.settings_sql())).await?;
        let batch = Batch {
            end: end.to_vec(),
            keys,
            rows: i64::try_from(rows).unwrap_or(i64::MAX),
            size: i32::try_from(work.pace.size()).unwrap_or(i32::MAX),
            worked_us: i64::try_from(took.as_micros()).unwrap_or(i64::MAX),
        };
        match pieces::advance(client, self.world.schema, &work.who, self.token(live), reached, &batch).await? {
            1 => Ok((rows, took)),
            _ => Err(placed(work.script, Some(work.statement), misplaced())),
        }
    }

    fn opening(&self, live: &Live, work: &Work<'_>) -> String {
        let name = quote_literal(&self.session_name(work.step));
        let lock_timeout = work.case.limits.lock_timeout.as_millis();
        let own = directive(work.script, work.statement, DirectiveKey::Timeout).and_then(parse_duration);
        let timeout = own.or(work.script.header.statement_timeout);
        let timeout =
            timeout.map_or(String::new(), |limit| format!("SET LOCAL statement_timeout = '{}ms'; ", limit.as_millis()));
        let fence = flight::fence(&live.session, live.epoch, &After::default());
        let settings = settings_before(work.script, work.index);
        format!(
            "BEGIN; SET LOCAL application_name = {name}; SET LOCAL lock_timeout = '{lock_timeout}ms'; {timeout}{fence}; {settings}"
        )
    }

    fn token(&self, live: &Live) -> (crate::id::RunId, Epoch) {
        (self.run_id(), live.epoch)
    }

    /// After a batch that certainly had no effect.
    async fn setback(&mut self, work: &mut Work<'_>, failure: Failure, keys: u64, end: &[String]) -> Result<(), Halt> {
        let since = *work.stuck_since.get_or_insert_with(Instant::now);
        match chunk::setback(failure.sqlstate.as_deref()) {
            Setback::Fail => Err(Fault::Refused(Box::new(failure)).into()),
            Setback::CloseIn if work.pace.close_in(keys) => Ok(()),
            Setback::CloseIn => Err(Fault::Refused(Box::new(bad_row(work, failure, end))).into()),
            Setback::Halve if since.elapsed() >= work.case.limits.wait => {
                let waited = guard::millis(work.case.limits.wait);
                let message =
                    format!("no batch went through within {waited}, the last time because of: {}", failure.message);
                let own = Failure { code: "ME440".to_owned(), message, ..failure };
                Err(Fault::Refused(Box::new(own)).into())
            }
            Setback::Halve => {
                work.pace.halve();
                let message = format!("{}; trying again with {} keys at a time", failure.message, work.pace.size());
                self.tell(work.step, &message)?;
                // Longer the longer it lasts, with jitter.
                let pause = (since.elapsed() + Duration::from_millis(50)).min(PAUSE).mul_f64(0.2 + 0.8 * random());
                self.idle(pause).await
            }
        }
    }

    /// Holds as long as there is a reason to.
    async fn hold_back(&mut self, live: &Live, work: &mut Work<'_>) -> Result<(), Halt> {
        let mut told: Option<(String, Instant)> = None;
        loop {
            let Some(reason) = self.reason_to_hold(live, work).await? else {
                if told.is_some() {
                    self.tell(work.step, "goes on")?;
                }
                return Ok(());
            };
            let kind = reason.split(|c: char| c.is_ascii_digit()).next().unwrap_or_default().to_owned();
            if told.as_ref().is_none_or(|(before, at)| *before != kind || at.elapsed() >= TELL_EVERY) {
                self.tell(work.step, &format!("holds: {reason}"))?;
                self.flush().await?;
                self.show_elsewhere(live).await;
                told = Some((kind, Instant::now()));
            }
            self.come(work.step, &Progress::Holding(reason));
            self.idle(HOLD_EVERY).await?;
        }
    }

    async fn reason_to_hold(&self, live: &Live, work: &mut Work<'_>) -> Result<Option<String>, Halt> {
        let client = &live.session.client;
        let mut facts = match pieces::facts(client, self.world.schema, work.chunk, work.sees).await {
            Ok(facts) => facts,
            Err(error) if work.sees && error.as_db_error().is_some() => {
                self.world.observer.say(&format!(
                    "this server does not tell how far replicas and archiver are behind ({error}): batches do not wait for them"
                ));
                work.sees = false;
                pieces::facts(client, self.world.schema, work.chunk, false).await.map_err(Fault::from)?
            }
            Err(error) => return Err(Fault::from(error).into()),
        };
        if let Some(query) = directive(work.script, work.statement, DirectiveKey::Throttle) {
            facts.author = self.author_says(live, work, query).await?;
        }
        Ok(chunk::hold(&facts, work.chunk.max_lag, work.chunk.window.as_ref()))
    }

    /// The author's `-- verify:` query, after the last pass.
    async fn holds_true(&self, live: &Live, work: &Work<'_>) -> Result<bool, Halt> {
        match author_query(work.script, work.index) {
            Some(query) => self.author_says(live, work, &query).await,
            None => Ok(true),
        }
    }

    /// What a query of the author's answers, read-only and under the script's settings.
    async fn author_says(&self, live: &Live, work: &Work<'_>, query: &str) -> Result<bool, Halt> {
        let client = &live.session.client;
        let settings = settings_before(work.script, work.index);
        client.batch_execute(&format!("BEGIN READ ONLY; {settings}")).await.map_err(Fault::from)?;
        let sent = crate::pg::send::ask(client, query.trim_end_matches(';')).await.map_err(Fault::from)?;
        let answer = self.cancelling(live, sent.answer()).await;
        flight::rollback(&live.session).await?;
        match answer {
            Ok(answer) => Ok(matches!(answer.first_column.first(), Some(Some(cell)) if cell == "t" || cell == "true")),
            Err((_, error)) => Err(fault_placed(&error, Site::of(work.script, work.statement), |_| None).into()),
        }
    }

    fn tell_progress(&self, work: &Work<'_>, before: &Reached, rows: u64, keys: u64) {
        let number = |count: i64| u64::try_from(count).unwrap_or_default();
        let meter = Meter {
            rows: number(before.rows) + rows,
            keys: number(before.pass_keys) + keys,
            estimate: number(before.estimate),
            mine: (work.keys, work.began.elapsed()),
            pass: u32::try_from(before.pass).unwrap_or(1),
        };
        self.come(work.step, &Progress::Rows(meter));
    }

    async fn sum_up_chunks(&mut self, live: &Live, work: &Work<'_>) -> Result<(), Halt> {
        let at = self.reached(live, work.script, work.statement, &work.who).await?;
        let message = format!(
            "{}: {} rows changed in {} batches, {} of them by sweeping",
            work.chunk.table,
            at.rows,
            at.batches,
            if at.pass > 1 { at.pass_rows } else { 0 }
        );
        self.note(Event::Noted { step: Some(work.step), topic: "chunk".to_owned(), message: message.clone() })?;
        self.world.observer.say(&format!("  done      {}: {message}", self.run.step_name(work.step)));
        Ok(())
    }
}

fn crowded(seen: &Seen) -> bool {
    seen.longest > CROWDED
}

fn directive<'s>(script: &'s Script, statement: &Statement, key: DirectiveKey) -> Option<&'s str> {
    script.directives(statement).find(|directive| directive.key == key).map(|directive| directive.value)
}

fn placed(script: &Script, statement: Option<&Statement>, failure: Failure) -> Fault {
    let site = statement.map_or_else(|| Site::whole(script), |statement| Site::of(script, statement));
    Fault::Refused(Box::new(site.place(failure)))
}

fn misplaced() -> Failure {
    Failure::own("ME441", "the place that this statement had reached is not in the database as it was left")
}

fn left_over(chunk: &Chunk) -> Failure {
    let hint = if chunk.sweep {
        "rows come in that the statement should have changed: let the application write them as they should be, then go on"
    } else {
        "a second pass was not made, because running this statement twice on a row may not be right; `sweep` in the `chunk` line says that it is"
    };
    let message = "the statement went through, and its verify query still does not answer true".to_owned();
    Failure { hint: Some(hint.to_owned()), ..Failure::own("ME442", message) }
}

/// The row that cannot be changed, by its key.
fn bad_row(work: &Work<'_>, failure: Failure, end: &[String]) -> Failure {
    let columns = work.divided.key.columns.join(", ");
    let row = format!("{} where ({columns}) = ({})", work.chunk.table, end.join(", "));
    let message = format!("one row cannot be changed, {row}: {}", failure.message);
    Failure { code: "ME439".to_owned(), message, ..failure }
}
