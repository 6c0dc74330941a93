//! The runner lock. `pg_try_advisory_lock`, polled: a session that waits inside `pg_advisory_lock` holds a snapshot,
//! which deadlocks with a concurrent index build of the holder's (SQLSTATE 40P01).
//!
//! The lock is held by the session that runs the steps, so that getting it proves that no older runner's statement is
//! still in flight. The epoch in the lease row, bumped under the lock, fences off a runner that lost it unawares.

use std::time::Duration;

use tokio_postgres::types::Type;

use super::read::{DatabaseState, ReadError, read};
use super::session::Session;
use crate::id::{Epoch, RunId, Timestamp};
use crate::run::event::RunStarted;

/// First pause between two tries. Grows to [`POLL_MAX`].
const POLL_MIN: Duration = Duration::from_millis(20);
/// Longest pause between two tries.
const POLL_MAX: Duration = Duration::from_millis(250);

/// Tries to take the lock until `patience` is over. `false`: somebody else holds it.
///
/// # Errors
/// The server or the line failed.
pub async fn take(session: &Session, patience: Duration) -> Result<bool, tokio_postgres::Error> {
    let (class, object) = session.schema.lock_keys();
    let deadline = tokio::time::Instant::now() + patience;
    let mut pause = POLL_MIN;
    loop {
        let sql = "SELECT pg_try_advisory_lock($1, $2)";
        let rows = session.client.query_typed(sql, &[(&class, Type::INT4), (&object, Type::INT4)]).await?;
        if rows.first().is_some_and(|row| row.get(0)) {
            return Ok(true);
        }
        if tokio::time::Instant::now() + pause > deadline {
            return Ok(false);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(POLL_MAX);
    }
}

/// Lets the lock go once; a session that took it twice keeps it.
///
/// # Errors
/// The server or the line failed.
pub async fn release(session: &Session) -> Result<(), tokio_postgres::Error> {
    let (class, object) = session.schema.lock_keys();
    let sql = "SELECT pg_advisory_unlock($1, $2)";
    session.client.query_typed(sql, &[(&class, Type::INT4), (&object, Type::INT4)]).await.map(drop)
}

/// Who holds the lock now: `application_name` and pid, where they may be seen.
pub async fn holder(session: &Session) -> Option<String> {
    let (class, object) = session.schema.lock_keys();
    let sql = "SELECT a.application_name, a.pid, a.usename::text FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid \
        WHERE l.locktype = 'advisory' AND l.classid::int8 = ($1::int8 & 4294967295) AND l.objid::int8 = ($2::int8 & 4294967295) \
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND l.granted";
    let keys: (i64, i64) = (class.into(), object.into());
    let rows = session.client.query_typed(sql, &[(&keys.0, Type::INT8), (&keys.1, Type::INT8)]).await.ok()?;
    let row = rows.first()?;
    let name: Option<String> = row.get(0);
    let user: Option<String> = row.get(2);
    Some(format!(
        "{} (pid {}, role {})",
        name.filter(|name| !name.is_empty()).unwrap_or_else(|| "a session without a name".to_owned()),
        row.get::<_, i32>(1),
        user.unwrap_or_else(|| "unknown".to_owned())
    ))
}

/// Whether this session still holds the lock: a script may have let it go with `pg_advisory_unlock_all()`.
///
/// # Errors
/// The server or the line failed.
pub async fn is_held(session: &Session) -> Result<bool, tokio_postgres::Error> {
    let (class, object) = session.schema.lock_keys();
    let sql = "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted \
        AND classid::int8 = ($1::int8 & 4294967295) AND objid::int8 = ($2::int8 & 4294967295)";
    let keys: (i64, i64) = (class.into(), object.into());
    let rows = session.client.query_typed(sql, &[(&keys.0, Type::INT8), (&keys.1, Type::INT8)]).await?;
    Ok(rows.first().is_some_and(|row| row.get(0)))
}

/// Reads the state again, now that nobody else can change it.
///
/// # Errors
/// See [`ReadError`].
pub async fn read_under_lock(session: &Session) -> Result<DatabaseState, ReadError> {
    read(&session.client, &session.schema).await
}

/// Raises the epoch and writes the run's row, in one statement. Returns the new epoch.
///
/// # Errors
/// The server or the line failed.
pub async fn raise_epoch(
    session: &Session,
    run: RunId,
    started: &RunStarted,
    started_at: Timestamp,
) -> Result<Epoch, tokio_postgres::Error> {
    let sql = session.schema.fill(
        "WITH raised AS (UPDATE {schema}.lease SET epoch = epoch + 1, run_id = $1, holder = $2, pid = pg_backend_pid(), \
           backend_start = (SELECT backend_start FROM pg_stat_get_activity(pg_backend_pid())), taken_at = clock_timestamp() \
           RETURNING epoch) \
         INSERT INTO {schema}.run AS r (run_id, kind, state, epoch, plan_hash, engine, actor, started_at) \
           SELECT $1, $3, 'Locked', epoch, $4, $5, $2, to_timestamp($6 / 1000000.0) FROM raised \
         ON CONFLICT (run_id) DO UPDATE SET epoch = excluded.epoch, state = 'Locked', rest = NULL, rest_step = NULL, \
           rest_message = NULL, updated_at = clock_timestamp() RETURNING r.epoch",
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
            ],
        )
        .await?;
    Ok(Epoch(rows.first().map_or(0, |row| row.get::<_, i64>(0)).cast_unsigned()))
}
