//! Statements that run in pieces: their key, and their place in it.

use std::time::Duration;

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error};

use super::layout::SchemaName;
use crate::chunk::{Candidate, Key, Range, Unusable, choose};
use crate::id::{Epoch, RunId};
use crate::migration::Chunk;

/// A table and the key that divides it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Divided {
    /// The table, ready for SQL, with its schema.
    pub relation: String,
    /// The key.
    pub key: Key,
    /// Rows, by the planner's estimate; 0 where it has none.
    pub estimate: i64,
}

/// Which statement: of which migration, in which direction, which part of the script.
#[derive(Debug, Clone)]
pub(crate) struct Who {
    pub(crate) id: String,
    pub(crate) undoing: bool,
    pub(crate) part: i32,
}

/// How far a statement has come.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Reached {
    pub(crate) key: Vec<String>,
    /// The last key that was worked on; nothing at the beginning of a pass.
    pub(crate) cursor: Option<Vec<String>>,
    pub(crate) pass: i32,
    pub(crate) pass_rows: i64,
    pub(crate) pass_keys: i64,
    pub(crate) finished: bool,
    pub(crate) rows: i64,
    pub(crate) batches: i64,
    pub(crate) size: i32,
    pub(crate) estimate: i64,
    /// What the statements of all batches took.
    pub(crate) worked_us: i64,
}

/// What one batch did.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    /// The last key of it.
    pub(crate) end: Vec<String>,
    pub(crate) keys: i64,
    pub(crate) rows: i64,
    pub(crate) size: i32,
    pub(crate) worked_us: i64,
}

impl Batch {
    /// `size` is how many keys the next batch will take.
    pub(crate) fn new(end: &[String], keys: i64, rows: u64, size: u32, took: Duration) -> Self {
        Self {
            end: end.to_vec(),
            keys,
            rows: i64::try_from(rows).unwrap_or(i64::MAX),
            size: i32::try_from(size).unwrap_or(i32::MAX),
            worked_us: i64::try_from(took.as_micros()).unwrap_or(i64::MAX),
        }
    }
}

/// The table's OID under the `search_path` of the session; nothing where there is no such table.
pub(crate) async fn find(client: &Client, chunk: &Chunk) -> Result<Option<u32>, Error> {
    let name = chunk.table.to_string();
    let rows = client.query_typed("SELECT to_regclass($1)::oid", &[(&name, Type::TEXT)]).await?;
    rows.first().map_or(Ok(None), |row| row.try_get(0))
}

/// Unique keys that can divide a table. Types have their schema, because the statement runs under another `search_path`
/// than this.
const CANDIDATES: &str = "SELECT i.indexrelid, i.indisprimary, a.attname::text, a.attnotnull, \
    CASE WHEN t.typnamespace = 'pg_catalog'::regnamespace THEN format_type(t.oid, -1) \
      ELSE format('%I.%I', n.nspname, t.typname) END \
  FROM pg_index i CROSS JOIN unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place) \
  JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
  JOIN pg_type t ON t.oid = a.atttypid JOIN pg_namespace n ON n.oid = t.typnamespace \
  WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL \
    AND i.indexprs IS NULL AND k.place <= i.indnkeyatts \
  ORDER BY i.indisprimary DESC, i.indexrelid, k.place";

/// Finds the key that divides a table.
pub(crate) async fn divide(client: &Client, chunk: &Chunk, table: u32) -> Result<Result<Divided, Unusable>, Error> {
    let sql = "SELECT c.relkind::text, format('%I.%I', n.nspname, c.relname), greatest(c.reltuples, 0)::int8 \
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1";
    let rows = client.query_typed(sql, &[(&table, Type::OID)]).await?;
    let Some(row) = rows.first() else { return Ok(Err(absent(chunk))) };
    let (kind, relation, estimate): (String, String, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let kind = match kind.as_str() {
        "r" | "p" => None,
        "v" | "m" => Some("a view: it has no key of its own"),
        "f" => Some("a foreign table: its rows are not in this database's transactions"),
        _ => Some("no table"),
    };
    if let Some(kind) = kind {
        let help = "name the table that holds the rows".to_owned();
        return Ok(Err(Unusable {
            what: format!("{} is {kind}, so it cannot be changed in pieces", chunk.table),
            help,
        }));
    }
    let mut candidates: Vec<(u32, Candidate)> = Vec::new();
    for row in client.query_typed(CANDIDATES, &[(&table, Type::OID)]).await? {
        let index: u32 = row.try_get(0)?;
        if candidates.last().is_none_or(|(last, _)| *last != index) {
            let primary = row.try_get(1)?;
            candidates.push((index, Candidate { primary, not_null: true, ..Candidate::default() }));
        }
        if let Some((_, candidate)) = candidates.last_mut() {
            candidate.columns.push((row.try_get(2)?, row.try_get(4)?));
            candidate.not_null &= row.try_get::<_, bool>(3)?;
        }
    }
    let candidates: Vec<Candidate> = candidates.into_iter().map(|(_, candidate)| candidate).collect();
    Ok(choose(chunk, &candidates).map(|key| Divided { relation, key, estimate }))
}

/// The refusal of a table that is not there.
pub(crate) fn absent(chunk: &Chunk) -> Unusable {
    let help = "check its name and the search_path".to_owned();
    Unusable { what: format!("there is no table {}", chunk.table), help }
}

/// Runs the statement of a batch.
pub(crate) async fn change(
    client: &Client,
    sql: &str,
    cursor: Option<&[String]>,
    end: &[String],
) -> Result<u64, Error> {
    let parameters = [texts(cursor.unwrap_or_default()), texts(end)].concat();
    client.execute_typed(sql, &parameters).await
}

/// Which parameters a batch has.
pub(crate) fn range(cursor: Option<&[String]>) -> Range {
    if cursor.is_some() { Range::Between } else { Range::UpTo }
}

pub(super) fn texts(values: &[String]) -> Vec<(&(dyn ToSql + Sync), Type)> {
    values.iter().map(|value| (value as &(dyn ToSql + Sync), Type::TEXT)).collect()
}

/// Begins: whatever an earlier life of the same migration left here counts no more.
pub(crate) async fn open(
    client: &Client,
    schema: &SchemaName,
    who: &Who,
    (run, epoch): (RunId, Epoch),
    divided: &Divided,
    size: i32,
) -> Result<u64, Error> {
    let sql = schema.fill(
        "INSERT INTO {schema}.progress (id, undoing, part, run_id, epoch, relation, key, size, estimate) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id, undoing, part) DO UPDATE SET run_id = $4, epoch = $5, \
           relation = $6, key = $7, size = $8, estimate = $9, cursor = NULL, pass = 1, pass_rows = 0, pass_keys = 0, \
           finished = false, rows = 0, batches = 0, worked_us = 0, started_at = clock_timestamp(), updated_at = clock_timestamp()",
    );
    let epoch = i64::try_from(epoch.0).unwrap_or(i64::MAX);
    let parameters: [(&(dyn ToSql + Sync), Type); 9] = [
        (&who.id, Type::TEXT),
        (&who.undoing, Type::BOOL),
        (&who.part, Type::INT4),
        (&run.to_string(), Type::TEXT),
        (&epoch, Type::INT8),
        (&divided.relation, Type::TEXT),
        (&divided.key.columns, Type::TEXT_ARRAY),
        (&size, Type::INT4),
        (&divided.estimate, Type::INT8),
    ];
    client.execute_typed(&sql, &parameters).await
}

/// Moves the place on, in the batch's own transaction. An error of the server's (ME444), and no COMMIT that could
/// follow, where the place was not where the batch began.
pub(crate) async fn advance(
    client: &Client,
    schema: &SchemaName,
    who: &Who,
    (run, epoch): (RunId, Epoch),
    from: &Reached,
    batch: &Batch,
) -> Result<u64, Error> {
    let sql = schema.fill("SELECT {schema}.advance($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)");
    let epoch = i64::try_from(epoch.0).unwrap_or(i64::MAX);
    let parameters: [(&(dyn ToSql + Sync), Type); 12] = [
        (&who.id, Type::TEXT),
        (&who.undoing, Type::BOOL),
        (&who.part, Type::INT4),
        (&run.to_string(), Type::TEXT),
        (&epoch, Type::INT8),
        (&from.cursor, Type::TEXT_ARRAY),
        (&from.pass, Type::INT4),
        (&batch.end, Type::TEXT_ARRAY),
        (&batch.keys, Type::INT8),
        (&batch.rows, Type::INT8),
        (&batch.size, Type::INT4),
        (&batch.worked_us, Type::INT8),
    ];
    client.execute_typed(&sql, &parameters).await
}

/// Begins another pass, or says that there is no other (`finished`). Zero rows: the place is not where it was.
pub(crate) async fn turn(
    client: &Client,
    schema: &SchemaName,
    who: &Who,
    from: &Reached,
    finished: bool,
) -> Result<u64, Error> {
    let sql = schema.fill(
        "UPDATE {schema}.progress SET finished = $4, pass = CASE WHEN $4 THEN pass ELSE pass + 1 END, \
           cursor = CASE WHEN $4 THEN cursor END, pass_rows = CASE WHEN $4 THEN pass_rows ELSE 0 END, \
           pass_keys = CASE WHEN $4 THEN pass_keys ELSE 0 END, updated_at = clock_timestamp() \
         WHERE id = $1 AND undoing = $2 AND part = $3 AND cursor IS NOT DISTINCT FROM $5 AND pass = $6",
    );
    let parameters: [(&(dyn ToSql + Sync), Type); 6] = [
        (&who.id, Type::TEXT),
        (&who.undoing, Type::BOOL),
        (&who.part, Type::INT4),
        (&finished, Type::BOOL),
        (&from.cursor, Type::TEXT_ARRAY),
        (&from.pass, Type::INT4),
    ];
    client.execute_typed(&sql, &parameters).await
}

/// Who paused, since when and why, as the end of a sentence.
pub(super) const PAUSED: &str = "(SELECT 'by ' || by || ' since ' || to_char(at, 'YYYY-MM-DD HH24:MI:SS') || coalesce(' (' || reason || ')', '') \
    FROM {schema}.pause)";

/// Keeps every runner on this database from beginning another piece. `false`: it was paused already.
///
/// # Errors
/// The server or the line failed.
pub async fn pause(client: &Client, schema: &SchemaName, by: &str, reason: Option<&str>) -> Result<bool, Error> {
    let sql = schema.fill("INSERT INTO {schema}.pause (by, reason) VALUES ($1, $2) ON CONFLICT DO NOTHING");
    Ok(client.execute_typed(&sql, &[(&by, Type::TEXT), (&reason, Type::TEXT)]).await? == 1)
}

/// Lets them go on. `false`: nothing was paused.
///
/// # Errors
/// The server or the line failed.
pub async fn unpause(client: &Client, schema: &SchemaName) -> Result<bool, Error> {
    Ok(client.execute_typed(&schema.fill("DELETE FROM {schema}.pause"), &[]).await? == 1)
}

/// Who paused, since when and why, as the end of a sentence.
///
/// # Errors
/// The server or the line failed.
pub async fn paused(client: &Client, schema: &SchemaName) -> Result<Option<String>, Error> {
    let rows = client.query_typed(&schema.fill(&format!("SELECT {PAUSED}")), &[]).await?;
    rows.first().map_or(Ok(None), |row| row.try_get(0))
}

/// Looks, before anything runs, whether the tables of these chunks can be divided. Tables that are not there yet are
/// looked at when their turn comes.
///
/// # Errors
/// The server or the line failed.
pub async fn unusable(client: &Client, chunks: &[&Chunk]) -> Result<Vec<Option<Unusable>>, Error> {
    let mut found = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        found.push(match find(client, chunk).await? {
            Some(table) => check(client, chunk, table).await?.err(),
            None => None,
        });
    }
    Ok(found)
}

/// The key of a table, unless the statement changes it.
pub(crate) async fn check(client: &Client, chunk: &Chunk, table: u32) -> Result<Result<Divided, Unusable>, Error> {
    let divided = match divide(client, chunk, table).await? {
        Ok(divided) => divided,
        Err(unusable) => return Ok(Err(unusable)),
    };
    let changed = divided.key.columns.iter().find(|column| chunk.assigned.contains(column));
    Ok(match changed {
        Some(column) => {
            let (what, help) = (crate::migration::changes_key(column), crate::migration::OTHER_KEY.to_owned());
            Err(Unusable { what, help })
        }
        None => Ok(divided),
    })
}
