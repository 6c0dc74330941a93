//! Statements that run in pieces: where the last batch ended, whether to hold, the next batch, and what came of it.

use std::time::{Duration, Instant};

use super::parts::{Halt, author_query, settings_before, write_mark};
use super::piece::{Tried, directive};
use super::points::Point;
use super::{Driver, Live};
use crate::chunk::{self, After as Then, Meter, Pace, Pass, Setback, Trail, after_pass};
use crate::guard::{self, Case};
use crate::id::Epoch;
use crate::migration::{Chunk, DirectiveKey, Part, Script};
use crate::pg::chunk::{self as pieces, Divided, Reached, Who};
use crate::pg::failure::{Fault, Site, fault_placed};
use crate::pg::flight::{self, After, Durability};
use crate::pg::guard::random;
use crate::pg::questions::{self, Ahead, Questions};
use crate::progress::Progress;
use crate::run::event::Event;
use crate::run::failure::Failure;
use crate::run::figures::Figures;
use crate::run::journal::Journal;
use crate::run::state::StepIndex;
use crate::sql::Statement;

/// Pause between two looks at whether to hold.
const HOLD_EVERY: Duration = Duration::from_millis(500);
/// Pause between two sentences about why it holds.
const TELL_EVERY: Duration = Duration::from_secs(30);
/// Longest pause after a batch that failed by chance.
const PAUSE: Duration = Duration::from_secs(2);

/// One statement and everything around it.
pub(super) struct Work<'a> {
    pub(super) step: StepIndex,
    pub(super) index: u32,
    pub(super) script: &'a Script,
    pub(super) statement: &'a Statement,
    pub(super) chunk: &'a Chunk,
    pub(super) divided: Divided,
    pub(super) questions: Questions,
    pub(super) who: Who,
    pub(super) case: Case,
    pub(super) pace: Pace,
    began: Instant,
    keys: u64,
    /// Where the WAL was when.
    trail: Trail,
    /// Where it was when this runner began, and when it last looked, in bytes.
    wal: Option<(i64, i64)>,
    /// Since when nothing went through.
    stuck_since: Option<Instant>,
    /// The server tells how busy it is.
    sees: bool,
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
        let client = self.begin_fenced(live).await?;
        let size = i32::try_from(chunk.size).unwrap_or(i32::MAX);
        let token = self.token(live);
        pieces::open(client, self.world.schema, &who, token, &divided, size).await.map_err(Fault::from)?;
        write_mark(live, &mark, &mirror).await?;
        self.commit_mirrored(live).await?;
        self.world.observer.point(Point::ChunkAfter);
        Ok(())
    }

    /// A transaction of our own about the place reached.
    async fn begin_fenced<'l>(&self, live: &'l Live) -> Result<&'l tokio_postgres::Client, Halt> {
        self.world.observer.point(Point::ChunkBefore);
        let client = &live.session.client;
        let fence = flight::fence(&live.session, live.epoch, &After::default());
        client.batch_execute(&format!("BEGIN; {fence}")).await.map_err(Fault::from)?;
        Ok(client)
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
        let (questions, sees) = self.questions(live, chunk, &divided).await?;
        let mut work = Work {
            step,
            index,
            script,
            statement,
            chunk,
            divided,
            questions,
            who,
            case,
            pace,
            began: Instant::now(),
            keys: 0,
            trail: Trail::default(),
            wal: None,
            stuck_since: None,
            sees,
        };
        if reached.finished && !self.holds_true(live, &work).await? {
            self.reopen(live, &work, &reached).await?;
        }
        self.passes(live, &mut work, reached).await?;
        if !self.holds_true(live, &work).await? {
            return Err(placed(script, Some(statement), left_over(chunk)).into());
        }
        self.sum_up_chunks(live, &work).await?;
        let mark = self.parts_mark(step, script, index + 1, None);
        self.mark_alone(live, &mark).await
    }

    async fn passes(&mut self, live: &Live, work: &mut Work<'_>, reached: Reached) -> Result<(), Halt> {
        let mut known = None;
        let mut cursor = reached.cursor;
        loop {
            if self.stopping() {
                return Err(Halt::Stop);
            }
            let (reached, next) = self.cleared(live, work, cursor.take(), known.take()).await?;
            if reached.finished {
                return Ok(());
            }
            let Some((keys, end)) = next else {
                self.end_pass(live, work, &reached).await?;
                continue;
            };
            match self.piece(live, work, &reached, keys, &end).await? {
                Tried::Through { rows, keys, ahead } => {
                    work.keys += keys;
                    work.stuck_since = None;
                    self.tell_progress(work, &reached, rows, keys);
                    (cursor, known) = (Some(end), ahead.map(|ahead| *ahead));
                }
                Tried::Failed { failure, keys } => {
                    cursor = reached.cursor;
                    self.setback(work, *failure, keys, &end).await?;
                }
            }
        }
    }

    /// How far it has come and where the next piece ends, once there is no reason to hold. `cursor` is where the next
    /// piece is taken to begin; `known` is what was asked about it already, with the COMMIT of the piece before.
    async fn cleared(
        &mut self,
        live: &Live,
        work: &mut Work<'_>,
        mut cursor: Option<Vec<String>>,
        mut known: Option<Ahead>,
    ) -> Result<(Reached, Option<(i64, Vec<String>)>), Halt> {
        let mut told: Option<(String, Instant)> = None;
        loop {
            let ahead = match known.take() {
                Some(ahead) => ahead,
                None => self.look(live, work, cursor.as_deref()).await?,
            };
            let reached = ahead.reached.ok_or_else(|| placed(work.script, Some(work.statement), misplaced()))?;
            if reached.cursor != cursor {
                // The database knows better; where the next piece ends was asked about another place.
                cursor = reached.cursor;
                continue;
            }
            let facts = match ahead.facts {
                Ok(facts) => facts,
                Err(error) => {
                    self.blind(live, work, error).await?;
                    continue;
                }
            };
            let Some(reason) = self.reason_to_hold(live, work, facts).await? else {
                if told.is_some() {
                    self.tell(work.step, "goes on")?;
                }
                return Ok((reached, ahead.next));
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

    async fn look(&self, live: &Live, work: &Work<'_>, cursor: Option<&[String]>) -> Result<Ahead, Halt> {
        let asked = work.questions.ask(&live.session.client, &work.who, cursor, work.pace.size()).await;
        Ok(asked.map_err(Fault::from)?)
    }

    /// The questions between pieces; whether the server tells how busy it is.
    async fn questions(&self, live: &Live, chunk: &Chunk, divided: &Divided) -> Result<(Questions, bool), Halt> {
        let (client, schema) = (&live.session.client, self.world.schema);
        match Questions::prepare(client, schema, chunk, divided, true).await {
            Ok(questions) => Ok((questions, true)),
            Err(error) if error.as_db_error().is_some() => {
                self.tell_blind(&error);
                let questions = Questions::prepare(client, schema, chunk, divided, false).await;
                Ok((questions.map_err(Fault::from)?, false))
            }
            Err(error) => Err(Fault::from(error).into()),
        }
    }

    /// The server refused to tell how busy it is: from now on only a pause counts.
    async fn blind(&self, live: &Live, work: &mut Work<'_>, error: tokio_postgres::Error) -> Result<(), Halt> {
        if !work.sees || error.as_db_error().is_none() {
            return Err(Fault::from(error).into());
        }
        self.tell_blind(&error);
        work.sees = false;
        let (client, schema) = (&live.session.client, self.world.schema);
        let questions = Questions::prepare(client, schema, work.chunk, &work.divided, false).await;
        work.questions = questions.map_err(Fault::from)?;
        Ok(())
    }

    fn tell_blind(&self, error: &tokio_postgres::Error) {
        self.world.observer.say(&format!(
            "this server does not tell how far replicas and archiver are behind ({error}): batches do not wait for them"
        ));
    }

    async fn reached(&self, live: &Live, script: &Script, statement: &Statement, who: &Who) -> Result<Reached, Halt> {
        let read = questions::reached(&live.session.client, self.world.schema, who).await.map_err(Fault::from)?;
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
        let client = self.begin_fenced(live).await?;
        match pieces::turn(client, self.world.schema, &work.who, reached, finished).await.map_err(Fault::from)? {
            1 => {}
            _ => return Err(placed(work.script, Some(work.statement), misplaced()).into()),
        }
        flight::commit(client, Durability::Now).await.map_err(Fault::from)?.verdict().await?;
        self.world.observer.point(Point::ChunkAfter);
        Ok(())
    }

    pub(super) fn token(&self, live: &Live) -> (crate::id::RunId, Epoch) {
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

    async fn reason_to_hold(
        &self,
        live: &Live,
        work: &mut Work<'_>,
        mut facts: chunk::Facts,
    ) -> Result<Option<String>, Halt> {
        work.wal = Some((work.wal.map_or(facts.written, |(began, _)| began), facts.written));
        facts.lag = facts.lag.max(work.trail.behind(work.began.elapsed(), facts.written, facts.replayed));
        if let Some(closed) = self.world.options.windows.closed((self.world.clock)()) {
            // Whoever watches the window is not there any more: the run rests, and a person goes on with it.
            return Err(self.pause_here(format!("paused between two batches: {closed}")));
        }
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
        let swept = if at.pass > 1 && at.pass_rows > 0 {
            format!(", {} of them by sweeping", at.pass_rows)
        } else {
            String::new()
        };
        let message = format!("{}: {} rows changed in {} batches{swept}", work.chunk.table, at.rows, at.batches);
        self.note(Event::Noted { step: Some(work.step), topic: "chunk".to_owned(), message: message.clone() })?;
        self.note_figures(
            work.step,
            Figures {
                rows: u64::try_from(at.rows).unwrap_or_default(),
                lock_hold_ms: u64::try_from(at.worked_us / 1_000).unwrap_or_default(),
                wal_bytes: work.wal.and_then(|(began, last)| u64::try_from(last - began).ok()),
                ..Figures::default()
            },
        )?;
        self.world.observer.say(&format!("  done      {}: {message}", self.run.step_name(work.step)));
        Ok(())
    }
}

pub(super) fn placed(script: &Script, statement: Option<&Statement>, failure: Failure) -> Fault {
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
