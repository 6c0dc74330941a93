//! A migration with rows in the tables it touches: forward, back, and what is gone afterwards. The main line stays empty.

use std::collections::BTreeSet;

use super::meter::Meter;
use super::pair::inside;
use super::script::{Broken, Mend as _, NoMending, Runner};
use super::seed::{Nursery, Seeded};
use super::watch::Watch;
use super::{Item, Line, RehearseError, Roles, recode};
use crate::hazard;
use crate::pg::session::Session;
use crate::rehearse::{Contents, StatementCost, Trial, Tried, lost};

/// A trial, and what the statements cost with rows.
pub(super) type Outcome = (Trial, Vec<StatementCost>);

impl Line<'_> {
    /// Tries a migration that was not applied yet. Nothing where it does not apply without rows either.
    pub(super) async fn with_rows(&mut self, item: &Item<'_>, rows: u32) -> Result<Option<Outcome>, RehearseError> {
        let in_transaction = item.up.transactional() && item.down.is_none_or(|down| down.transactional());
        if !in_transaction {
            return self.with_rows_on_a_copy(item, rows).await;
        }
        let found = self.with_rows_in_a_transaction(item, rows).await;
        if self.session.client.batch_execute("ROLLBACK").await.is_err() {
            self.session = self.stand.session(&self.database).await?;
        } else {
            self.session.reset().await.map_err(RehearseError::server("reset the session"))?;
        }
        Ok(found)
    }

    /// Leaves the transaction open.
    async fn with_rows_in_a_transaction(&mut self, item: &Item<'_>, rows: u32) -> Option<Outcome> {
        let touched = self.touched(item).await?;
        let runner = self.runner();
        let nursery = Nursery::read(&self.session).await?;
        let first = nursery.seed(&self.session, Some(&touched), (1, rows)).await;
        let names: BTreeSet<String> = first.rows.iter().map(|(name, _)| name.clone()).collect();
        let before = Nursery::contents(&self.session, &names).await;
        let mut meter = self.meter(&self.session, item.up, &self.database).await;
        let applied = inside(runner, item.up, None, meter.as_mut()).await;
        let costs = match meter {
            Some(meter) => meter.finish().await,
            None => Vec::new(),
        };
        if let Err(broken) = applied {
            return Some((failed(first, Tried::Failed, broken), Vec::new()));
        }
        let Some(down) = item.down else { return Some((went(first, Tried::Skipped, Vec::new()), costs)) };
        let between = self.fill_again(&self.session, &nursery, &names, rows).await;
        if let Err(broken) = inside(runner, down, None, None).await {
            return Some((failed(first, Tried::Ok, broken), costs));
        }
        let every: BTreeSet<String> = between.tables.keys().chain(before.tables.keys()).cloned().collect();
        let after = Nursery::contents(&self.session, &every).await;
        Some((went(first, Tried::Ok, lost(&before, &between, &after)), costs))
    }

    /// The tables that the forward script locks, found by running it once; the transaction stays open, without its effect.
    async fn touched(&mut self, item: &Item<'_>) -> Option<BTreeSet<String>> {
        loop {
            let runner = self.runner();
            runner.plain("BEGIN; SAVEPOINT migengine_dry").await.ok()?;
            let expected = hazard::look(item.up, &mut self.knowledge.clone()).statements;
            let watch = Watch::new(self.stand.opener(&self.database));
            let mut meter = Meter::before(&self.session, expected, self.tells, watch).await?;
            let dry = inside(runner, item.up, None, Some(&mut meter)).await;
            let costs = meter.finish().await;
            if let Err(broken) = dry {
                self.session.client.batch_execute("ROLLBACK").await.ok()?;
                let mut roles = Roles { stand: self.stand };
                if matches!(broken, Broken::Refused(_)) && roles.mend(broken.failure()).await {
                    continue;
                }
                return None;
            }
            self.session.client.batch_execute("ROLLBACK TO SAVEPOINT migengine_dry").await.ok()?;
            return Some(costs.into_iter().flat_map(|cost| cost.locks).map(|lock| lock.object).collect());
        }
    }

    /// Rows as they come in once the migration is in effect: into the tables as they are now, and into new ones.
    async fn fill_again(&self, session: &Session, before: &Nursery, names: &BTreeSet<String>, rows: u32) -> Contents {
        let Some(nursery) = Nursery::read(session).await else { return Contents::default() };
        let old = before.table_names();
        let all = nursery.table_names();
        let wanted: BTreeSet<String> =
            all.iter().filter(|name| names.contains(*name) || !old.contains(*name)).cloned().collect();
        nursery.seed(session, Some(&wanted), (rows + 1, rows)).await;
        Nursery::contents(session, &wanted).await
    }

    /// For scripts that cannot run in a transaction. Which tables they touch is not known beforehand: all get rows.
    async fn with_rows_on_a_copy(&mut self, item: &Item<'_>, rows: u32) -> Result<Option<Outcome>, RehearseError> {
        let copy = self.stand.copy(&self.session, &self.database).await?;
        let session = self.stand.session(&copy).await?;
        let found = self.on_seeded_copy(item, &session, rows).await;
        drop(session);
        self.stand.discard(&copy).await;
        Ok(found)
    }

    async fn on_seeded_copy(&self, item: &Item<'_>, session: &Session, rows: u32) -> Option<Outcome> {
        let runner = Runner { session, limit: self.stand.limit() };
        let nursery = Nursery::read(session).await?;
        runner.plain("BEGIN").await.ok()?;
        let first = nursery.seed(session, None, (1, rows)).await;
        runner.plain("COMMIT").await.ok()?;
        let names = nursery.table_names();
        let before = Nursery::contents(session, &names).await;
        if let Err(broken) = runner.whole(item.up, None, &mut NoMending, None).await {
            return Some((failed(first, Tried::Failed, broken), Vec::new()));
        }
        let Some(down) = item.down else { return Some((went(first, Tried::Skipped, Vec::new()), Vec::new())) };
        runner.plain("BEGIN").await.ok()?;
        let between = self.fill_again(session, &nursery, &names, rows).await;
        runner.plain("COMMIT").await.ok()?;
        if let Err(broken) = runner.whole(down, None, &mut NoMending, None).await {
            return Some((failed(first, Tried::Ok, broken), Vec::new()));
        }
        let every: BTreeSet<String> = between.tables.keys().chain(before.tables.keys()).cloned().collect();
        let after = Nursery::contents(session, &every).await;
        Some((went(first, Tried::Ok, lost(&before, &between, &after)), Vec::new()))
    }
}

fn went(seeded: Seeded, rollback: Tried, lost: Vec<crate::rehearse::Lost>) -> Trial {
    Trial { seeded: seeded.rows, unseeded: seeded.refused, apply: Tried::Ok, rollback, error: None, lost }
}

/// `apply` says how the forward script went; where it went through, the reverse script is what failed.
fn failed(seeded: Seeded, apply: Tried, broken: Broken) -> Trial {
    let mut failure = broken.into_failure();
    recode(&mut failure, "ME625");
    let rollback = if apply == Tried::Ok { Tried::Failed } else { Tried::Skipped };
    Trial { seeded: seeded.rows, unseeded: seeded.refused, apply, rollback, error: Some(failure), lost: Vec::new() }
}
