//! One piece of a statement: the rows and the place in one transaction, in two round trips. The second one carries the
//! place, the COMMIT, and the questions about the piece after it.

use std::time::{Duration, Instant};

use super::alarm::Watch;
use super::chunked::{Work, placed};
use super::parts::{Halt, settings_before};
use super::points::Point;
use super::{Driver, Live};
use crate::chunk;
use crate::migration::{DirectiveKey, Script, parse_duration};
use crate::pg::chunk::{self as pieces, Batch, Reached};
use crate::pg::failure::{Fault, Site, fault, fault_placed};
use crate::pg::flight::{self, After, Durability, RESET};
use crate::pg::guard::Seen;
use crate::pg::layout::quote_literal;
use crate::pg::questions::Ahead;
use crate::pg::send::{send, start};
use crate::run::failure::Failure;
use crate::run::journal::Journal;
use crate::sql::Statement;

/// Somebody who waited this long behind a batch makes the next one smaller.
const CROWDED: Duration = Duration::from_millis(50);
/// A COMMIT of a piece does not wait for the disk. Rows and place are one transaction, so that a server that crashes
/// loses both or none, and the piece is done again; the record of the whole part waits for all that was written before.
const LAZY: &str = "SET LOCAL synchronous_commit = off";

/// How a piece ended.
pub(super) enum Tried {
    /// Committed. What was asked behind the COMMIT comes along.
    Through {
        /// Rows changed.
        rows: u64,
        /// Keys in it.
        keys: u64,
        /// What is known before the next piece, if that could be asked.
        ahead: Option<Box<Ahead>>,
    },
    /// Certainly without effect.
    Failed {
        /// Why.
        failure: Box<Failure>,
        /// Keys in it.
        keys: u64,
    },
}

impl<J: Journal> Driver<'_, J> {
    /// One piece: `keys` of them from the place reached up to `end`.
    pub(super) async fn piece(
        &self,
        live: &Live,
        work: &mut Work<'_>,
        reached: &Reached,
        keys: i64,
        end: &[String],
    ) -> Result<Tried, Halt> {
        self.world.observer.point(Point::ChunkBefore);
        let watch = Watch::in_passing(&work.case);
        let (body, seen) = self.watched(live, watch, self.body(live, work, reached, end)).await;
        let body = self.settled(live, body, &seen).await;
        self.world.observer.point(Point::ChunkAnswered);
        let count = u64::try_from(keys).unwrap_or_default();
        let done = match body {
            Ok((rows, took)) => {
                work.pace.went_through(count, took, crowded(&seen));
                self.seal(live, work, reached, Batch::new(end, keys, rows, work.pace.size(), took)).await
            }
            Err(fault) => Err(fault),
        };
        self.world.observer.point(Point::ChunkAfter);
        match done {
            Ok((rows, ahead)) => Ok(Tried::Through { rows, keys: count, ahead: ahead.map(Box::new) }),
            Err(Fault::Refused(_)) if self.stopping() => {
                flight::rollback(&live.session).await?;
                Err(Halt::Stop)
            }
            Err(Fault::Refused(failure)) => {
                flight::rollback(&live.session).await?;
                Ok(Tried::Failed { failure, keys: count })
            }
            Err(lost) => Err(lost.into()),
        }
    }

    /// The statement on its range: rows changed, and how long it took. Its transaction is waited for: were it refused, the
    /// statement would run by itself, and no condition in it could keep a trigger or an aggregate from taking effect.
    async fn body(
        &self,
        live: &Live,
        work: &Work<'_>,
        reached: &Reached,
        end: &[String],
    ) -> Result<(u64, Duration), Fault> {
        let (client, cursor) = (&live.session.client, reached.cursor.as_deref());
        let sent =
            chunk::rewrite(&work.script.text, work.statement, work.chunk, &work.divided.key, pieces::range(cursor));
        let opened = send(client, &self.opening(live, work)).await?.answer().await;
        opened.map_err(|(_, error)| fault(&error, None))?;
        let began = Instant::now();
        let change = start(pieces::change(client, &sent.sql, cursor, end)).await;
        let closing = send(client, &format!("{RESET}{}; {LAZY}", live.session.settings_sql())).await?;
        let changed = change.answer().await;
        let took = began.elapsed();
        let closed = closing.answer().await;
        let rows = changed.map_err(|error| {
            fault_placed(&error, Site::of(work.script, work.statement), |character| sent.place(character))
        })?;
        closed.map_err(|(_, error)| fault(&error, None))?;
        Ok((rows, took))
    }

    /// The new place, the COMMIT, and what there is to know about the next piece. A place that is not where the piece
    /// began is an error, and makes a ROLLBACK of the COMMIT.
    async fn seal(
        &self,
        live: &Live,
        work: &Work<'_>,
        reached: &Reached,
        batch: Batch,
    ) -> Result<(u64, Option<Ahead>), Fault> {
        let client = &live.session.client;
        let token = self.token(live);
        let moved = start(pieces::advance(client, self.world.schema, &work.who, token, reached, &batch)).await;
        let commit = flight::commit(client, Durability::Now).await?;
        let ahead = start(work.questions.ask(client, &work.who, Some(&batch.end), work.pace.size())).await;
        let moved = moved.answer().await;
        let verdict = commit.verdict().await;
        let ahead = ahead.answer().await;
        if let Err(error) = moved {
            return Err(match fault(&error, None) {
                Fault::Refused(failure) => placed(work.script, Some(work.statement), *failure),
                lost @ Fault::Lost(_) => lost,
            });
        }
        verdict?;
        // A question that failed is asked again, and tells then what is wrong.
        Ok((u64::try_from(batch.rows).unwrap_or_default(), ahead.ok()))
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
}

fn crowded(seen: &Seen) -> bool {
    seen.longest > CROWDED
}

pub(super) fn directive<'s>(script: &'s Script, statement: &Statement, key: DirectiveKey) -> Option<&'s str> {
    script.directives(statement).find(|directive| directive.key == key).map(|directive| directive.value)
}
