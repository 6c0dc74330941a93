//! How many more sessions the server would give to this role.

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error};

/// The smallest of the limits: the server's, less what is reserved for others; the database's; the role's. Backends are
/// counted from `pg_stat_database`, which everybody may read.
const FREE: &str = "SELECT greatest(0, least( \
    current_setting('max_connections')::int8 \
      - CASE WHEN r.rolsuper THEN 0 ELSE current_setting('superuser_reserved_connections')::int8 \
          + coalesce(nullif(current_setting('reserved_connections', true), ''), '0')::int8 END \
      - (SELECT sum(numbackends) FROM pg_stat_database), \
    CASE WHEN d.datconnlimit < 0 OR r.rolsuper THEN NULL ELSE d.datconnlimit - (SELECT numbackends FROM pg_stat_database s \
      WHERE s.datid = d.oid) END, \
    CASE WHEN r.rolconnlimit < 0 OR r.rolsuper THEN NULL ELSE r.rolconnlimit - (SELECT count(*) FROM pg_stat_activity a \
      WHERE a.usesysid = r.oid) END))::int8 \
    FROM pg_roles r, pg_database d WHERE r.rolname = session_user AND d.datname = current_database()";

/// Connections that are free at this moment.
///
/// # Errors
/// The server or the line failed.
pub async fn free_connections(client: &Client) -> Result<i64, Error> {
    let none: [(&(dyn ToSql + Sync), Type); 0] = [];
    let rows = client.query_typed(FREE, &none).await?;
    Ok(rows.first().map_or(0, |row| row.get(0)))
}
