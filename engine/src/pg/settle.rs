//! Runs that are over while the database still shows them as under way: their last word did not arrive.

use std::time::Duration;

use tokio_postgres::types::Type;

use super::lock;
use super::session::Session;
use super::witness::{Errand, Mirror, RunLine, Scribe};
use crate::id::{Epoch, RunId};

/// How long to wait for the lock: the session of a runner that has just ended may still be closing.
const PATIENCE: Duration = Duration::from_millis(500);

/// Brings a run's line, and the records that are missing, up to date. Only under the runner lock, only while the
/// database holds `records` records of the run as it did when the caller decided, and only while it shows the run as
/// not over. `false`: one of these is not so, and nothing was changed; the next command looks again.
///
/// # Errors
/// The server or the line failed.
pub async fn settle(
    session: &Session,
    run: RunId,
    records: u64,
    line: &RunLine<'_>,
    mirror: &Mirror,
) -> Result<bool, tokio_postgres::Error> {
    if !lock::take(session, PATIENCE).await? {
        return Ok(false);
    }
    let settled = under_lock(session, run, records, line, mirror).await;
    lock::release(session).await?;
    settled
}

async fn under_lock(
    session: &Session,
    run: RunId,
    records: u64,
    line: &RunLine<'_>,
    mirror: &Mirror,
) -> Result<bool, tokio_postgres::Error> {
    let sql = session.schema.fill(
        "SELECT epoch FROM {schema}.run WHERE run_id = $1 AND records = $2 AND state NOT IN ('Committed', 'RolledBack')",
    );
    let records = i64::try_from(records).unwrap_or(i64::MAX);
    let rows = session.client.query_typed(&sql, &[(&run.to_string(), Type::TEXT), (&records, Type::INT8)]).await?;
    let Some(row) = rows.first() else { return Ok(false) };
    let epoch = Epoch(row.try_get::<_, i64>(0)?.cast_unsigned());
    let scribe = Scribe::prepare(&session.client, &session.schema, run, Errand::Tell).await?.under(epoch);
    scribe.state(&session.client, line, mirror).await?;
    Ok(true)
}
