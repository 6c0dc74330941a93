//! Reading the audit log.

use tokio_postgres::{Client, Row};

use super::layout::SchemaName;
use super::read::ReadError;
use crate::audit::Entry;
use crate::id::Timestamp;

/// How many entries are read at once: each may hold a whole script.
const PAGE: i64 = 200;

const SELECT: &str = "SELECT seq, (extract(epoch FROM at) * 1000000)::bigint, action, run_id, migration, epoch, role, \
    address, application, origin, content, tokens, sql, detail, hash FROM {schema}.audit WHERE seq > $1 \
    ORDER BY seq LIMIT $2";

/// The entries behind `after`, in order; fewer than there are, none at the end.
///
/// # Errors
/// They cannot be read.
pub async fn page(client: &Client, schema: &SchemaName, after: i64) -> Result<Vec<Entry>, ReadError> {
    let rows = client.query(&schema.fill(SELECT), &[&after, &PAGE]).await?;
    rows.iter().map(entry).collect()
}

fn entry(row: &Row) -> Result<Entry, ReadError> {
    Ok(Entry {
        seq: row.try_get(0)?,
        at: Timestamp(row.try_get(1)?),
        action: row.try_get(2)?,
        run: row.try_get(3)?,
        migration: row.try_get(4)?,
        epoch: row.try_get(5)?,
        role: row.try_get(6)?,
        address: row.try_get(7)?,
        application: row.try_get(8)?,
        origin: row.try_get(9)?,
        content: row.try_get(10)?,
        tokens: row.try_get(11)?,
        sql: row.try_get(12)?,
        detail: row.try_get(13)?,
        hash: row.try_get(14)?,
    })
}
