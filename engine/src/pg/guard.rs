//! The guard's eyes: a second connection that sees who holds what a step needs and who waits behind it.

use std::hash::{BuildHasher as _, Hasher as _};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::Error;
use tokio_postgres::types::Type;

use super::afar::COUNTED;
use super::connect::ConnectError;
use super::layout::SchemaName;
use super::session::Session;
use super::target::Target;
use crate::guard::{Cancelled, Holder, OnBlocker};
use crate::hazard::{LockMode, LockOn, ObjectLock};
use crate::progress::{Building, Work};

/// Pause between two looks at those who wait behind a step.
const WATCH_EVERY: Duration = Duration::from_millis(20);
/// What must be over the budget at least.
const SLICE: Duration = Duration::from_millis(1);
/// How long the server's deadlock check waits in a step that pushes autovacuum aside: autovacuum gives way when the
/// check of somebody who waits for it finds it in the way.
pub(crate) const SOON: Duration = Duration::from_millis(50);

/// The monitor.
pub(crate) struct Monitor {
    session: Session,
    /// Whether this role sees what other roles' sessions do.
    pub(crate) sees_all: bool,
    /// `deadlock_timeout` of the server.
    pub(crate) deadlock_timeout: Duration,
    /// Whether this role may change it for itself.
    pub(crate) may_set_deadlock_timeout: bool,
}

/// What was seen of those who wait behind a step.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen {
    /// The longest anybody had waited.
    pub(crate) longest: Duration,
    /// When somebody was last seen waiting, and for how long by then.
    last: Option<(Instant, Duration)>,
    /// The longest that the step itself was seen waiting for a lock.
    pub(crate) own: Duration,
    /// Whether anybody looked.
    pub(crate) watched: bool,
    /// The guard cancelled the step.
    pub(crate) cancelled: Option<Cancelled>,
}

impl Seen {
    fn look(&mut self, now: Instant, waited: Option<Duration>) {
        self.watched = true;
        self.last = waited.map(|waited| (now, waited));
        self.longest = self.longest.max(waited.unwrap_or_default());
    }

    /// What was seen in all, where this one followed.
    pub(crate) fn and(self, later: Self) -> Self {
        Self {
            longest: self.longest.max(later.longest),
            last: later.last,
            own: self.own.max(later.own),
            watched: self.watched || later.watched,
            cancelled: later.cancelled.or(self.cancelled),
        }
    }

    /// The step's locks are gone: who was waiting when last looked at may have waited until now.
    pub(crate) fn end(&mut self) {
        if let Some((at, waited)) = self.last.take() {
            self.longest = self.longest.max(waited + at.elapsed());
        }
    }
}

/// Everything that `claim`s resolve to, each with the position of its claim. Partitions, the tables that foreign keys
/// lead to, and the table of an index are known to the catalogs only. A name that means nothing yet resolves to
/// nothing.
const TARGETS: &str = "WITH RECURSIVE claim AS ( \
    SELECT u.n, u.kind, u.extra, r.oid \
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bool[]) WITH ORDINALITY AS u(kind, name, bare, extra, loose, n), \
    LATERAL (SELECT to_regclass(u.name)::oid AS oid UNION SELECT c.oid FROM pg_class c WHERE u.loose AND c.relname = u.bare) r \
    WHERE r.oid IS NOT NULL \
  ), edge(kind, root, leaf) AS ( \
    SELECT 'tree', inhparent, inhrelid FROM pg_inherits \
    UNION ALL SELECT 'referencing', confrelid, conrelid FROM pg_constraint WHERE contype = 'f' \
  ), spread(n, kind, oid) AS ( \
    SELECT n, kind, oid FROM claim WHERE kind IN ('itself', 'tree', 'referencing') \
    UNION SELECT s.n, s.kind, e.leaf FROM spread s JOIN edge e ON e.root = s.oid AND e.kind = s.kind \
  ), target AS ( \
    SELECT n, oid FROM spread \
    UNION SELECT c.n, x.indrelid FROM claim c JOIN pg_index x ON x.indexrelid = c.oid WHERE c.kind = 'index' \
    UNION SELECT c.n, i.inhparent FROM claim c JOIN pg_inherits i ON i.inhrelid = c.oid WHERE c.kind = 'parent' \
    UNION SELECT c.n, k.confrelid FROM claim c JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'f' \
      WHERE c.kind = 'referenced' OR c.kind = 'constraint' AND k.conname = c.extra \
  ) ";

/// Who holds a lock on one of the targets. A prepared transaction has no pid; what tells its number is the lock that
/// every transaction holds on itself. (The join that the documentation of `pg_locks` shows finds it only after a restart
/// of the server.) The functions under the views, because there is less for the server to plan.
const HOLDERS: &str = "SELECT t.n::int8, l.relation::regclass::text, l.mode, l.pid, p.gid::text, \
    pg_get_userbyid(coalesce(a.usesysid, p.ownerid))::text, a.application_name, a.state, a.backend_type, \
    (extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, p.prepared)) * 1000)::float8, left(a.query, 200) \
  FROM target t \
  JOIN pg_locks l ON l.locktype = 'relation' AND l.granted AND l.relation = t.oid \
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
  LEFT JOIN pg_stat_get_activity(NULL) a ON a.pid = l.pid \
  LEFT JOIN pg_locks x ON l.pid IS NULL AND x.pid IS NULL AND x.locktype = 'transactionid' \
    AND x.virtualtransaction = l.virtualtransaction \
  LEFT JOIN pg_prepared_xact() p ON p.transaction = x.transactionid \
  WHERE l.pid IS DISTINCT FROM $6 AND l.pid IS DISTINCT FROM pg_backend_pid() \
  ORDER BY 1, 10 DESC NULLS LAST, 4";

/// Who waits behind a backend, directly or in the queue, for how long, and how long that backend is waiting itself.
/// `pg_blocking_pids` is not free; it is asked about those only who wait. Nor is `pg_locks`, which keeps everybody from locking
/// while it is read, and a run of a thousand steps in one transaction holds some ten thousand locks. So it is read only where a
/// session says that it waits for a lock, as far as this role is told (`$2`: it is not).
const BEHIND: &str = "WITH waiting AS MATERIALIZED (SELECT pid, waitstart FROM pg_locks WHERE NOT granted \
      AND ($2 OR EXISTS (SELECT FROM pg_stat_get_activity(NULL) WHERE wait_event_type = 'Lock'))) \
  SELECT (SELECT (extract(epoch FROM max(clock_timestamp() - coalesce(waitstart, clock_timestamp()))) * 1000)::float8 \
      FROM waiting WHERE pid <> $1 AND $1 = ANY (pg_blocking_pids(pid))), \
    (SELECT (extract(epoch FROM clock_timestamp() - coalesce(min(waitstart), clock_timestamp())) * 1000)::float8 \
      FROM waiting WHERE pid = $1 HAVING count(*) > 0)";

impl Monitor {
    /// Opens the connection.
    pub(crate) async fn open(
        target: &Target,
        schema: &SchemaName,
        name: &str,
        settings: &[(String, String)],
    ) -> Result<Self, MonitorError> {
        let session = Session::open(target, schema, name, settings).await?;
        let sql = "SELECT pg_has_role('pg_read_all_stats', 'USAGE'), \
            (SELECT setting::int8 FROM pg_settings WHERE name = 'deadlock_timeout')";
        let rows = session.client.query_typed(sql, &[]).await?;
        let (sees_all, deadlock_ms) = rows.first().map_or((false, 1_000), |row| (row.get(0), row.get::<_, i64>(1)));
        let sooner = format!("SET deadlock_timeout = '{}ms'", SOON.as_millis());
        let may_set_deadlock_timeout = session.client.batch_execute(&sooner).await.is_ok();
        let deadlock_timeout = Duration::from_millis(deadlock_ms.unsigned_abs());
        Ok(Self { session, sees_all, deadlock_timeout, may_set_deadlock_timeout })
    }

    /// Whether the connection has ended.
    pub(crate) fn is_lost(&self) -> bool {
        self.session.is_lost()
    }

    /// Who holds locks on what is claimed, except `own`. Whether they conflict is the caller's to judge. `loose` says of
    /// each claim whether its name may mean a table of any schema.
    pub(crate) async fn holders(&self, claims: &[(ObjectLock, bool)], own: i32) -> Result<Vec<Holder>, Error> {
        let (mut kinds, mut names, mut bare, mut extra, mut loose) = (vec![], vec![], vec![], vec![], vec![]);
        for (claim, anywhere) in claims {
            let (kind, object) = (kind(claim.on), &claim.object);
            let constraint = claim.on == LockOn::OtherSideOfConstraint;
            let table = if constraint { object.schema.clone() } else { None };
            // Of a constraint the schema part is its table.
            let name = table.as_deref().map_or_else(|| object.to_string(), crate::sql::quote_ident);
            kinds.push(kind);
            names.push(name);
            extra.push(object.name.clone());
            loose.push(*anywhere && (constraint || object.schema.is_none()));
            bare.push(table.unwrap_or_else(|| object.name.clone()));
        }
        let sql = format!("{TARGETS}{HOLDERS}");
        let rows = self
            .session
            .client
            .query_typed(
                &sql,
                &[
                    (&kinds, Type::TEXT_ARRAY),
                    (&names, Type::TEXT_ARRAY),
                    (&bare, Type::TEXT_ARRAY),
                    (&extra, Type::TEXT_ARRAY),
                    (&loose, Type::BOOL_ARRAY),
                    (&own, Type::INT4),
                ],
            )
            .await?;
        rows.iter().map(holder).collect()
    }

    /// Watches who waits behind `pid`, until somebody has waited longer than `budget`. Never returns without one.
    pub(crate) async fn watch(&self, pid: i32, budget: Option<Duration>, seen: &mut Seen) -> Result<Cancelled, Error> {
        let blind = !self.sees_all;
        loop {
            let asked = Instant::now();
            let rows = self.session.client.query_typed(BEHIND, &[(&pid, Type::INT4), (&blind, Type::BOOL)]).await?;
            let (waited, own) = rows.first().map_or((None, None), |row| {
                (row.get::<_, Option<f64>>(0).map(ms), row.get::<_, Option<f64>>(1).map(ms))
            });
            let queueing = own.is_some();
            seen.own = seen.own.max(own.unwrap_or_default());
            seen.look(asked, waited);
            if budget.zip(waited).is_some_and(|(budget, waited)| waited > budget) {
                return Ok(if queueing { Cancelled::Queueing } else { Cancelled::Holding });
            }
            // The next look comes when the budget will be spent, if that is sooner.
            let left = budget.zip(waited).map_or(WATCH_EVERY, |(budget, waited)| budget.saturating_sub(waited) + SLICE);
            sleep(WATCH_EVERY.min(left)).await;
        }
    }

    /// Bytes of tables, each a list of names, and of the temporary files that the database ever wrote.
    pub(crate) async fn sizes(&self, tables: &[Vec<String>]) -> Result<(Vec<Option<u64>>, Option<u64>), Error> {
        let schema = &self.session.schema;
        let sql = schema.fill(
            "SELECT {schema}.size_of(string_to_array(names, E'\\n')), NULL::int8 FROM unnest($1::text[]) WITH ORDINALITY AS u(names, n) \
             UNION ALL SELECT NULL, pg_stat_get_db_temp_bytes(oid) FROM pg_database WHERE datname = current_database()",
        );
        let names: Vec<String> = tables.iter().map(|names| names.join("\n")).collect();
        let rows = self.session.client.query_typed(&sql, &[(&names, Type::TEXT_ARRAY)]).await?;
        let number = |row: &tokio_postgres::Row, column| {
            row.try_get::<_, Option<i64>>(column).map(|bytes| bytes.and_then(|bytes| u64::try_from(bytes).ok()))
        };
        let temporary = rows.last().map_or(Ok(None), |row| number(row, 1))?;
        let sizes: Result<Vec<_>, Error> = rows.iter().take(names.len()).map(|row| number(row, 0)).collect();
        Ok((sizes?, temporary))
    }

    /// How far work of a backend that the server counts has come; nothing where it does none.
    pub(crate) async fn building(&self, pid: i32) -> Result<Option<Building>, Error> {
        let sql = format!("SELECT work, phase, done, waits_for FROM ({COUNTED}) AS counted WHERE pid = $1");
        let rows = self.session.client.query_typed(&sql, &[(&pid, Type::INT4)]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let work = Work::of(row.try_get(0)?);
        Ok(Some(Building { work, phase: row.try_get(1)?, done: row.try_get(2)?, waits_for: row.try_get(3)? }))
    }

    /// Moves a session aside. `false`: it was gone.
    pub(crate) async fn push(&self, pid: i32, how: OnBlocker) -> Result<bool, Error> {
        let sql = match how {
            OnBlocker::Wait => return Ok(false),
            OnBlocker::Cancel => "SELECT pg_cancel_backend($1)",
            OnBlocker::Terminate => "SELECT pg_terminate_backend($1)",
        };
        let rows = self.session.client.query_typed(sql, &[(&pid, Type::INT4)]).await?;
        Ok(rows.first().is_some_and(|row| row.get(0)))
    }
}

/// The monitor could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MonitorError {
    /// No connection.
    #[error("{}", .0.message)]
    Connect(Box<ConnectError>),
    /// The first question was not answered.
    #[error(transparent)]
    Asked(#[from] Error),
}

impl From<ConnectError> for MonitorError {
    fn from(error: ConnectError) -> Self {
        Self::Connect(Box::new(error))
    }
}

/// A number in `0..1`, as random as jitter needs to be.
pub(crate) fn random() -> f64 {
    let bits = std::hash::RandomState::new().build_hasher().finish() >> 32;
    f64::from(u32::try_from(bits).unwrap_or_default()) / f64::from(u32::MAX)
}

fn kind(on: LockOn) -> &'static str {
    match on {
        LockOn::Itself => "itself",
        LockOn::Tree => "tree",
        LockOn::TableOfIndex => "index",
        LockOn::Referenced => "referenced",
        LockOn::Referencing => "referencing",
        LockOn::OtherSideOfConstraint => "constraint",
        LockOn::UsersOfDomain => "domain",
        LockOn::ParentOf => "parent",
    }
}

fn holder(row: &tokio_postgres::Row) -> Result<Holder, Error> {
    let mode: String = row.try_get(2)?;
    Ok(Holder {
        claim: usize::try_from(row.try_get::<_, i64>(0)? - 1).unwrap_or(usize::MAX),
        relation: row.try_get(1)?,
        mode: LockMode::from_pg_locks(&mode),
        pid: row.try_get(3)?,
        prepared: row.try_get(4)?,
        user: row.try_get(5)?,
        application: row.try_get(6)?,
        state: row.try_get(7)?,
        backend: row.try_get(8)?,
        age: row.try_get::<_, Option<f64>>(9)?.map(ms),
        query: row.try_get(10)?,
    })
}

/// From the server's milliseconds; a clock that was set back gives zero.
fn ms(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms.max(0.0) / 1000.0).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_within_its_range_and_moves() {
        let numbers: Vec<f64> = (0..100).map(|_| random()).collect();
        assert!(numbers.iter().all(|number| (0.0..=1.0).contains(number)));
        assert!(numbers.iter().any(|number| *number < 0.5) && numbers.iter().any(|number| *number > 0.5));
    }
}
