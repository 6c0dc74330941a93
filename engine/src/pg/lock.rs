//! The runner lock. `pg_try_advisory_lock`, polled: a session that waits inside `pg_advisory_lock` holds a snapshot,
//! which deadlocks with a concurrent index build of the holder's (SQLSTATE 40P01).
//!
//! The lock is held by the session that runs the steps, so that getting it proves that no older runner's statement is
//! still in flight. The epoch in the lease row, bumped under the lock, fences off a runner that lost it unawares.
//!
//! A run on several sessions (`--jobs`) has lanes beside that session. Each lane holds a second lock, in shared mode, as
//! long as it lives; taking the runner lock takes that one too, exclusively, so that it still proves what it did.

use std::fmt;
use std::time::Duration;

use tokio_postgres::types::Type;

use super::session::Session;
use crate::id::{Epoch, RunId, Timestamp};
use crate::run::event::RunStarted;
use crate::run::journal::Holding;

/// First key of the lanes' lock; the second one is that of the runner lock.
const LANES: i32 = i32::from_be_bytes(*b"migl");

/// First pause between two tries. Grows to [`POLL_MAX`].
const POLL_MIN: Duration = Duration::from_millis(20);
/// Longest pause between two tries.
const POLL_MAX: Duration = Duration::from_millis(250);

/// Tries to take the lock until `patience` is over. `false`: somebody else holds it.
///
/// # Errors
/// The server or the line failed.
pub async fn take(session: &Session, patience: Duration) -> Result<bool, tokio_postgres::Error> {
    let deadline = tokio::time::Instant::now() + patience;
    let mut pause = POLL_MIN;
    loop {
        if try_take(session).await? {
            return Ok(true);
        }
        if tokio::time::Instant::now() + pause > deadline {
            return Ok(false);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(POLL_MAX);
    }
}

/// Tries to take the lock once, and does not wait. What is asked behind it in the same breath was seen under the lock, where
/// this says that it has it.
///
/// # Errors
/// The server or the line failed.
pub async fn try_take(session: &Session) -> Result<bool, tokio_postgres::Error> {
    let (class, object) = session.schema.lock_keys();
    // Both or none: the second WHEN lets the first one go again, and is never true.
    let sql = "SELECT CASE WHEN NOT pg_try_advisory_lock($1, $3) THEN false \
        WHEN pg_try_advisory_lock($2, $3) THEN true ELSE NOT pg_advisory_unlock($1, $3) END";
    let keys = [(&class as _, Type::INT4), (&LANES as _, Type::INT4), (&object as _, Type::INT4)];
    let rows = session.client.query_typed(sql, &keys).await?;
    Ok(rows.first().is_some_and(|row| row.get(0)))
}

/// Lets the lock go once; a session that took it twice keeps it.
///
/// # Errors
/// The server or the line failed.
pub async fn release(session: &Session) -> Result<(), tokio_postgres::Error> {
    let (class, object) = session.schema.lock_keys();
    let sql = "SELECT pg_advisory_unlock($1, $3), pg_advisory_unlock($2, $3)";
    let keys = [(&class as _, Type::INT4), (&LANES as _, Type::INT4), (&object as _, Type::INT4)];
    session.client.query_typed(sql, &keys).await.map(drop)
}

/// Lets lanes in: the session that holds the runner lock, and has raised the epoch, gives up the lanes' lock.
///
/// # Errors
/// The server or the line failed.
pub async fn admit_lanes(session: &Session) -> Result<(), tokio_postgres::Error> {
    let (_, object) = session.schema.lock_keys();
    // It may have been taken more than once, and is held until it was let go as often.
    let sql = "SELECT CASE WHEN EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() \
        AND classid::int8 = $1::int4::int8 AND objid::int8 = ($2::int4::int8 & 4294967295)) \
        THEN pg_advisory_unlock($1::int4, $2::int4) ELSE false END";
    loop {
        let rows = session.client.query_typed(sql, &[(&LANES, Type::INT4), (&object, Type::INT4)]).await?;
        if !rows.first().is_some_and(|row| row.get(0)) {
            return Ok(());
        }
    }
}

/// Makes a session a lane. `false`: another runner has begun to take the lock.
///
/// # Errors
/// The server or the line failed.
pub async fn join_lanes(session: &Session) -> Result<bool, tokio_postgres::Error> {
    let (_, object) = session.schema.lock_keys();
    let sql = "SELECT pg_try_advisory_lock_shared($1, $2)";
    let rows = session.client.query_typed(sql, &[(&LANES, Type::INT4), (&object, Type::INT4)]).await?;
    Ok(rows.first().is_some_and(|row| row.get(0)))
}

/// A session, as `pg_stat_activity` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its backend.
    pub pid: i32,
    /// Start of that backend, where this role may see it.
    pub backend_start: Option<Timestamp>,
    /// `application_name`.
    pub name: String,
    /// The role.
    pub role: Option<String>,
}

impl Holder {
    /// From the columns `application_name, pid, usename, backend_start` (in microseconds).
    pub(crate) fn read(row: &tokio_postgres::Row) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            name: row.try_get::<_, Option<String>>(0)?.unwrap_or_default(),
            pid: row.try_get(1)?,
            role: row.try_get(2)?,
            backend_start: row.try_get::<_, Option<i64>>(3)?.map(Timestamp),
        })
    }

    /// Whether it is one of these very sessions, and not another one that got the same pid later.
    #[must_use]
    pub fn is_one_of(&self, sessions: &[Holding]) -> bool {
        sessions.iter().any(|held| self.pid == held.pid && self.backend_start == Some(held.backend_start))
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.name.is_empty() { "a session without a name" } else { &self.name };
        write!(f, "{name} (pid {}, role {})", self.pid, self.role.as_deref().unwrap_or("unknown"))
    }
}

/// Who holds the lock now, where it may be seen.
pub async fn holder(session: &Session) -> Option<Holder> {
    holders(session).await.into_iter().next()
}

/// The session that holds the lock, and the lanes that hold a share of it, as far as they may be seen.
pub async fn holders(session: &Session) -> Vec<Holder> {
    let (class, object) = session.schema.lock_keys();
    let sql = "SELECT DISTINCT a.application_name, a.pid, a.usename::text, \
          (extract(epoch FROM a.backend_start) * 1000000)::bigint, l.classid::int8 <> ($1::int8 & 4294967295) \
        FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid \
        WHERE l.locktype = 'advisory' AND l.classid::int8 IN ($1::int8 & 4294967295, $3::int8) AND l.objid::int8 = ($2::int8 & 4294967295) \
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND l.granted ORDER BY 5, 2";
    let keys: [i64; 3] = [class.into(), object.into(), LANES.into()];
    let keys = keys.each_ref().map(|key| (key as _, Type::INT8));
    let rows = session.client.query_typed(sql, &keys).await.unwrap_or_default();
    let mut holders: Vec<Holder> = rows.iter().filter_map(|row| Holder::read(row).ok()).collect();
    holders.dedup_by_key(|holder| holder.pid);
    holders
}

/// Whether this session still holds the lock, or a lane's share of it: a script may have let it go with `pg_advisory_unlock_all()`.
///
/// # Errors
/// The server or the line failed.
pub async fn is_held(session: &Session) -> Result<bool, tokio_postgres::Error> {
    let (class, object) = session.schema.lock_keys();
    let sql = "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted \
        AND classid::int8 IN ($1::int8 & 4294967295, $3::int8) AND objid::int8 = ($2::int8 & 4294967295)";
    let keys: [i64; 3] = [class.into(), object.into(), LANES.into()];
    let keys = keys.each_ref().map(|key| (key as _, Type::INT8));
    let rows = session.client.query_typed(sql, &keys).await?;
    Ok(rows.first().is_some_and(|row| row.get(0)))
}

/// Raises the epoch and writes the run's row, in one statement. Returns the new epoch and the session that raised it.
/// `origin` is for the audit log.
///
/// # Errors
/// The server or the line failed.
pub async fn raise_epoch(
    session: &Session,
    run: RunId,
    started: &RunStarted,
    started_at: Timestamp,
    origin: &str,
) -> Result<(Epoch, Holding), tokio_postgres::Error> {
    let sql = session.schema.fill(
        "WITH raised AS (UPDATE {schema}.lease SET epoch = epoch + 1, run_id = $1, holder = $2, pid = pg_backend_pid(), \
           backend_start = (SELECT backend_start FROM pg_stat_get_activity(pg_backend_pid())), taken_at = clock_timestamp(), origin = $7 \
           RETURNING epoch, pid, (extract(epoch FROM backend_start) * 1000000)::bigint AS begun) \
         INSERT INTO {schema}.run AS r (run_id, kind, state, epoch, plan_hash, engine, actor, started_at) \
           SELECT $1, $3, 'Locked', epoch, $4, $5, $2, to_timestamp($6 / 1000000.0) FROM raised \
         ON CONFLICT (run_id) DO UPDATE SET epoch = excluded.epoch, state = 'Locked', rest = NULL, rest_step = NULL, \
           rest_message = NULL, finished_at = NULL, updated_at = clock_timestamp() \
           RETURNING r.epoch, (SELECT pid FROM raised), (SELECT begun FROM raised)",
    );
    let hash = started.plan_hash.as_bytes().as_slice();
    let rows = session
        .client
        .query_typed(
            &sql,
            &[
                (&run.to_string(), Type::TEXT),
                (&started.actor, Type::TEXT),
                (&started.kind.name(), Type::TEXT),
                (&hash, Type::BYTEA),
                (&started.engine, Type::TEXT),
                (&started_at.0, Type::INT8),
                (&origin, Type::TEXT),
            ],
        )
        .await?;
    let Some(row) = rows.first() else {
        return Ok((Epoch::default(), Holding { pid: 0, backend_start: Timestamp::default() }));
    };
    let epoch = Epoch(row.try_get::<_, i64>(0)?.cast_unsigned());
    Ok((epoch, Holding { pid: row.try_get(1)?, backend_start: Timestamp(row.try_get(2)?) }))
}
