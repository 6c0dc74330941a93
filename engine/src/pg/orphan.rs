//! Sessions of ours whose runner is gone, or was superseded, and that are still at work.

use tokio_postgres::types::Type;

use super::lock::Holder;
use super::session::Session;
use crate::id::Timestamp;

/// A session of an older epoch that is not idle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// Which.
    pub session: Holder,
    /// Whether it is the very session that the lease names: backend and its start agree.
    pub recorded: bool,
}

/// Sessions of the runner that held the lease last, by the lease's own word or by the name that a session bears while it
/// runs a step. One that waits for the lock bears no such name. Idle sessions have nothing in flight. The function under
/// `pg_stat_activity`, because the view takes the server twice as long to plan.
const ORPHANS: &str = "SELECT a.application_name, a.pid, pg_get_userbyid(a.usesysid)::text, \
    (extract(epoch FROM a.backend_start) * 1000000)::bigint, \
    coalesce((a.pid, a.backend_start) = (l.pid, l.backend_start), false) \
    FROM {schema}.lease l JOIN pg_catalog.pg_stat_get_activity(NULL) a \
      ON a.datid = (SELECT oid FROM pg_database WHERE datname = current_database()) \
    WHERE a.pid <> pg_backend_pid() AND a.state IS DISTINCT FROM 'idle' \
    AND ((a.pid, a.backend_start) = (l.pid, l.backend_start) OR starts_with(a.application_name, 'migengine:' || l.run_id || ':'))";

/// The sessions of older epochs that are at work. Asked for under the runner lock, before the epoch is raised: the lease
/// still names the runner before.
///
/// # Errors
/// The server or the line failed.
pub async fn at_work(session: &Session) -> Result<Vec<Orphan>, tokio_postgres::Error> {
    let none: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 0] = [];
    let rows = session.client.query_typed(&session.schema.fill(ORPHANS), &none).await?;
    rows.iter().map(|row| Ok(Orphan { session: Holder::read(row)?, recorded: row.try_get(4)? })).collect()
}

/// Ends one session, if it is still the one that is meant. Whether it has ended shows only later.
///
/// # Errors
/// The server or the line failed, or the role may not do this (SQLSTATE 42501).
pub async fn terminate(session: &Session, pid: i32, backend_start: Timestamp) -> Result<(), tokio_postgres::Error> {
    let sql = "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity \
        WHERE pid = $1 AND (extract(epoch FROM backend_start) * 1000000)::bigint = $2";
    session.client.query_typed(sql, &[(&pid, Type::INT4), (&backend_start.0, Type::INT8)]).await.map(drop)
}
