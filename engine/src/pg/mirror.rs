//! What the database keeps of the runs' journals and of the scripts that took effect.

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::layout::SchemaName;
use super::read::{ReadError, is_missing};
use crate::id::{MigrationId, RunId};

/// The stored records of a run, in order; none when the database does not know it.
///
/// # Errors
/// The server or the line failed.
pub async fn records(client: &Client, schema: &SchemaName, run: RunId) -> Result<Vec<Vec<u8>>, ReadError> {
    let sql = schema.fill("SELECT bytes FROM {schema}.record WHERE run_id = $1 ORDER BY seq");
    match client.query_typed(&sql, &[(&run.to_string(), Type::TEXT)]).await {
        Ok(rows) => Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?),
        Err(error) if is_missing(&error) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// The SQL that the history keeps of one migration, but for the forward script: nobody runs that from here, and it may be
/// very long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptScripts {
    /// The migration.
    pub id: MigrationId,
    /// Reverse.
    pub down: Option<String>,
    /// Checks.
    pub verify: Option<String>,
    /// Header, as JSON.
    pub header: String,
}

/// The SQL kept of some migrations; of all, when `ids` is empty.
///
/// # Errors
/// The server or the line failed.
pub async fn kept_scripts(
    client: &Client,
    schema: &SchemaName,
    ids: &[MigrationId],
) -> Result<Vec<KeptScripts>, ReadError> {
    let sql = schema.fill(
        "SELECT id, down_sql, verify_sql, header FROM {schema}.history \
         WHERE id = ANY ($1) OR cardinality($1) = 0 ORDER BY position",
    );
    let ids: Vec<&str> = ids.iter().map(MigrationId::as_str).collect();
    let rows = match client.query_typed(&sql, &[(&ids, Type::TEXT_ARRAY)]).await {
        Ok(rows) => rows,
        Err(error) if is_missing(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    rows.iter()
        .map(|row| {
            let id: String = row.try_get(0)?;
            Ok(KeptScripts {
                id: MigrationId::new(id).map_err(|error| ReadError::Foreign {
                    schema: schema.quoted().to_owned(),
                    what: error.to_string(),
                })?,
                down: row.try_get(1)?,
                verify: row.try_get(2)?,
                header: row.try_get(3)?,
            })
        })
        .collect()
}
