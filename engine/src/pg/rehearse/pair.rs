//! The way back, and forward again.

use super::meter::Meter;
use super::script::{Broken, NoMending, Runner};
use super::{Item, Line, RehearseError, recode};
use crate::migration::{PartKind, Script};
use crate::pg::fingerprint;
use crate::rehearse::{Reapply, Rehearsal, Rollback, StatementCost, blame_all};
use crate::schema::{Schema, Verdict, compare, diff};

/// What was seen on the way.
#[derive(Default)]
struct Seen {
    /// The schema after the reverse script, or its error.
    back: Option<Result<Schema, Broken>>,
    /// The schema after applying again, or its error.
    again: Option<Result<Schema, Broken>>,
    /// What the reverse script cost, as far as it went.
    cost: Vec<StatementCost>,
}

impl Line<'_> {
    /// Reverses a migration that was just applied and applies it again, leaving the main line as it is.
    pub(super) async fn there_and_back(
        &mut self,
        item: &Item<'_>,
        down: &Script,
        before: &Schema,
        after: &Schema,
        outcome: &mut Rehearsal,
    ) -> Result<(), RehearseError> {
        let mut seen = Seen::default();
        if item.up.transactional() && down.transactional() {
            seen = self.in_one_transaction(item, down).await?;
        }
        // What fails in the company of its own reversal may go through when each has a transaction of its own. After a
        // rollback that left another schema there is nothing odd about a failure.
        let copy = match (&seen.back, &seen.again) {
            (None, _) => true,
            (Some(Ok(back)), Some(Err(_))) => compare(before, back) != Verdict::Differs,
            _ => false,
        };
        if copy {
            seen = self.on_a_copy(item, down).await?;
        }
        outcome.rollback_statements = std::mem::take(&mut seen.cost);
        judge(item, down, (before, after), seen, outcome);
        Ok(())
    }

    /// Everything in a transaction that is rolled back.
    async fn in_one_transaction(&mut self, item: &Item<'_>, down: &Script) -> Result<Seen, RehearseError> {
        let runner = self.runner();
        let mut seen = Seen::default();
        let engine = [self.stand.engine_schema()];
        let began = runner.plain(&format!("BEGIN {}", begin_of(down).unwrap_or_default())).await;
        let mut meter = self.meter(&self.session, down, &self.database).await;
        let reversed = match began {
            Ok(()) => inside(runner, down, None, meter.as_mut()).await,
            Err(broken) => Err(broken),
        };
        if let Some(meter) = meter {
            seen.cost = meter.finish().await;
        }
        match reversed {
            Ok(()) => {
                seen.back = Some(Ok(fingerprint::read_again(&self.session.client, &engine, true).await?));
                match inside(runner, item.up, item.verify, None).await {
                    Ok(()) => {
                        seen.again = Some(Ok(fingerprint::read_again(&self.session.client, &engine, true).await?));
                    }
                    Err(broken) => seen.again = Some(Err(broken)),
                }
            }
            Err(broken) => seen.back = Some(Err(broken)),
        }
        if self.session.client.batch_execute("ROLLBACK").await.is_err() {
            // The session is gone, and with it the transaction.
            self.session = self.stand.session(&self.database).await?;
        } else {
            self.session.reset().await.map_err(RehearseError::server("reset the session"))?;
        }
        Ok(seen)
    }

    /// Each script as in a run, on a copy that is thrown away.
    async fn on_a_copy(&mut self, item: &Item<'_>, down: &Script) -> Result<Seen, RehearseError> {
        let copy = self.stand.copy(&self.session, &self.database).await?;
        let session = self.stand.session(&copy).await?;
        let runner = Runner { session: &session, limit: self.stand.limit() };
        let engine = [self.stand.engine_schema()];
        let mut seen = Seen::default();
        let mut meter = self.meter(&session, down, &copy).await;
        let reversed = runner.whole(down, None, &mut NoMending, meter.as_mut()).await;
        if let Some(meter) = meter {
            seen.cost = meter.finish().await;
        }
        match reversed {
            Ok(()) => {
                seen.back = Some(Ok(fingerprint::read_again(&session.client, &engine, false).await?));
                seen.again = Some(match runner.whole(item.up, item.verify, &mut NoMending, None).await {
                    Ok(()) => Ok(fingerprint::read_again(&session.client, &engine, false).await?),
                    Err(broken) => Err(broken),
                });
            }
            Err(broken) => seen.back = Some(Err(broken)),
        }
        drop(session);
        self.stand.discard(&copy).await;
        Ok(seen)
    }
}

/// What the author asked of the transaction.
fn begin_of(script: &Script) -> Option<&str> {
    script.parts.first().and_then(|part| match &part.kind {
        PartKind::Transaction { begin } => begin.as_deref(),
        PartKind::Alone { .. } | PartKind::Opening(_) | PartKind::Chunked(_) => None,
    })
}

/// A transactional script in the open transaction.
pub(super) async fn inside(
    runner: Runner<'_>,
    script: &Script,
    verify: Option<&Script>,
    mut meter: Option<&mut Meter>,
) -> Result<(), Broken> {
    runner.control(script).await?;
    if let Some(meter) = meter.as_deref_mut() {
        meter.baseline(runner.session).await;
    }
    for part in &script.parts {
        runner.body(script, part, meter.as_deref_mut()).await?;
    }
    if let Some(verify) = verify {
        runner.checks(verify).await?;
    }
    runner.settle().await
}

fn judge(item: &Item<'_>, down: &Script, (before, after): (&Schema, &Schema), seen: Seen, outcome: &mut Rehearsal) {
    match seen.back {
        Some(Ok(back)) => {
            let verdict = compare(before, &back);
            outcome.rollback = verdict.into();
            if verdict != Verdict::Exact {
                outcome.diff = blame_all(diff(before, &back), &[down, item.up]);
            }
        }
        Some(Err(broken)) => {
            let mut failure = broken.into_failure();
            recode(&mut failure, "ME607");
            outcome.rollback = Rollback::Failed;
            outcome.error = Some(failure);
            return;
        }
        None => return,
    }
    match seen.again {
        Some(Ok(again)) => {
            let verdict = compare(after, &again);
            outcome.reapply = verdict.into();
            if verdict != Verdict::Exact && outcome.rollback == Rollback::Exact {
                outcome.diff = blame_all(diff(after, &again), &[item.up, down]);
            }
        }
        Some(Err(broken)) => {
            let mut failure = broken.into_failure();
            recode(&mut failure, "ME608");
            outcome.reapply = Reapply::Failed;
            outcome.error = Some(failure);
        }
        None => {}
    }
}
