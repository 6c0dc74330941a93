//! Gathers what the checks before a run want to know: one query, one round trip, and nothing is changed.

use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::session::Session;
use super::sqlstate::ServerError;
use crate::preflight::data::{Answer, EACH, Question, each_found};
use crate::preflight::{Facts, history_tables};

/// Settings that are looked at. A role without the right sees fewer rows of `pg_settings`.
const SETTINGS: &[&str] = &[
    "synchronous_commit",
    "session_replication_role",
    "transaction_timeout",
    "fsync",
    "full_page_writes",
    "data_directory",
];

/// Builds [`Facts`] as JSON. `$1`: tables, as written in SQL. `$2`: names of settings. `$3`: names of history tables.
/// `$4`: the engine's schema.
///
/// Sessions, settings, slots and the rest are asked for with the functions under their views, as the views of 14 to 18 do it:
/// each view joins the catalogs of roles and databases, and making a plan for all of that took the server as long as a
/// whole migration.
const GATHER: &str = r#"
WITH here AS (SELECT oid AS db FROM pg_database WHERE datname = current_database()),
activity AS MATERIALIZED (SELECT pid, datid, usesysid, coalesce(application_name, '') AS application, xact_start, ssl, sslversion,
    backend_type = 'client backend' AND pid <> pg_backend_pid() AS other FROM pg_stat_get_activity(NULL))
SELECT jsonb_build_object(
  'now_us', (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
  'role', current_user,
  'superuser', current_setting('is_superuser')::bool,
  'may_create_schemas', has_database_privilege(current_database(), 'CREATE'),
  'current_schema', current_schema(),
  'may_create_here', coalesce(has_schema_privilege(current_schema(), 'CREATE'), false),
  'own_schema', EXISTS (SELECT FROM pg_namespace WHERE nspname = $4 AND has_schema_privilege(oid, 'CREATE')),
  'tls', coalesce((SELECT jsonb_build_object('on', ssl, 'version', sslversion) FROM activity WHERE pid = pg_backend_pid() AND ssl IS NOT NULL), '{"on":false}'),
  'same_machine', inet_server_addr() IS NULL OR inet_server_addr() = inet_client_addr(),
  'settings', coalesce((SELECT jsonb_object_agg(name, setting) FROM pg_show_all_settings() WHERE name = ANY ($2)), '{}'),
  'slots', coalesce((SELECT jsonb_agg(jsonb_build_object('name', slot_name, 'active', active, 'wal_status', wal_status, 'kept',
      (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END - restart_lsn)::bigint)) FROM pg_get_replication_slots()), '[]'),
  'standbys', coalesce((SELECT jsonb_agg(jsonb_build_object('name', application, 'behind',
      (CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_current_wal_lsn() END - replay_lsn)::bigint)) FROM pg_stat_get_wal_senders() JOIN activity USING (pid)
      WHERE replay_lsn IS NOT NULL), '[]'),
  'long', coalesce((SELECT jsonb_agg(jsonb_build_object('pid', pid, 'application', coalesce(nullif(application, ''), pg_get_userbyid(usesysid)::text, ''),
      'seconds', extract(epoch FROM clock_timestamp() - xact_start)::bigint) ORDER BY xact_start) FROM activity
      WHERE other AND xact_start < clock_timestamp() - interval '1 minute'), '[]'),
  'prepared', coalesce((SELECT jsonb_agg(jsonb_build_object('gid', gid, 'seconds', extract(epoch FROM clock_timestamp() - prepared)::bigint))
      FROM pg_prepared_xact() JOIN here ON dbid = db), '[]'),
  'invalid_indexes', coalesce((SELECT jsonb_agg(indexrelid::regclass::text ORDER BY 1) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
      WHERE NOT indisvalid AND c.relkind = 'i'), '[]'),
  'not_valid', coalesce((SELECT jsonb_agg(conrelid::regclass::text || '.' || conname ORDER BY 1) FROM pg_constraint
      WHERE NOT convalidated AND conrelid <> 0), '[]'),
  'histories', coalesce((SELECT jsonb_agg(jsonb_build_object('table', c.oid::regclass::text, 'name', c.relname) ORDER BY c.relname) FROM pg_class c
      JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND c.relname = ANY ($3) AND n.nspname <> $4), '[]'),
  'sessions', coalesce((SELECT jsonb_object_agg(application, times) FROM (SELECT application, count(*) AS times
      FROM activity JOIN here ON datid = db WHERE other AND application NOT LIKE 'migengine%' GROUP BY 1) AS applications), '{}'),
  'archiver', (SELECT jsonb_build_object('on', current_setting('archive_mode') <> 'off', 'archived_ago', extract(epoch FROM clock_timestamp() - last_archived_time)::bigint,
      'failing', coalesce(last_failed_time > last_archived_time, last_failed_time IS NOT NULL)) FROM pg_stat_get_archiver()),
  'tables', coalesce((SELECT jsonb_object_agg(asked, jsonb_build_object('owner', pg_get_userbyid(c.relowner), 'owned', pg_has_role(c.relowner, 'MEMBER'),
      'rows', c.reltuples::bigint, 'size', coalesce(pg_table_size(c.oid), 0), 'total', coalesce(pg_total_relation_size(c.oid), 0),
      'key', coalesce((SELECT jsonb_agg(quote_ident(a.attname) ORDER BY array_position(i.indkey::int2[], a.attnum)) FROM pg_index i
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey) WHERE i.indrelid = c.oid AND i.indisprimary), '[]')))
      FROM unnest($1) AS asked JOIN pg_class c ON c.oid = to_regclass(asked) WHERE c.relkind IN ('r', 'p')), '{}')
)"#;

/// Why the facts are not there.
#[derive(Debug, thiserror::Error)]
pub enum GatherError {
    /// The server or the line said no.
    #[error(transparent)]
    Server(#[from] tokio_postgres::Error),
    /// The server answered with something else.
    #[error("the server's answer has another shape: {0}")]
    Shape(#[from] serde_json::Error),
}

/// Gathers.
///
/// # Errors
/// The server refused one of its views, or the line broke.
pub async fn gather(session: &Session, tables: &[String]) -> Result<Facts, GatherError> {
    let raw = session.schema.raw();
    let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 4] = [
        (&tables, Type::TEXT_ARRAY),
        (&SETTINGS, Type::TEXT_ARRAY),
        (&history_tables(), Type::TEXT_ARRAY),
        (&raw, Type::TEXT),
    ];
    let rows = session.client.query_typed(GATHER, &parameters).await?;
    let value = rows.first().map_or(Ok(serde_json::Value::Null), |row| row.try_get(0))?;
    Ok(serde_json::from_value(value)?)
}

/// Asks a question about rows. The transaction is read-only, and is always taken back. The question is a single
/// statement by the protocol: what stands in it cannot end the transaction.
///
/// # Errors
/// The line broke.
pub async fn ask(session: &Session, question: &Question, limit: Duration) -> Result<Answer, tokio_postgres::Error> {
    let error = match carefully(session, &question.sql, limit).await? {
        Ok(rows) => {
            return Ok(match rows.first() {
                Some(row) => Answer::Rows(row.try_get(0)?, row.try_get(1)?),
                None => Answer::Skipped("no answer".to_owned()),
            });
        }
        Err(error) => error,
    };
    let state = error.code().map(|code| code.code().to_owned()).unwrap_or_default();
    if matches!(state.as_str(), "57014" | "55P03") {
        return Ok(Answer::Skipped("it takes too long".to_owned()));
    }
    let words = said(&error);
    let Some(each) = question.each.as_ref().filter(|_| state.starts_with("22")) else {
        return Ok(Answer::Error(state, words));
    };
    // Which rows those are: where that takes too long, one value is known at least.
    let found = carefully(session, each, limit).await?.err();
    let found = found.filter(|error| error.code().is_some_and(|code| code.code() == EACH));
    let found = found.and_then(|error| each_found(&said(&error))).filter(|(rows, _)| *rows > 0);
    Ok(found.map_or(Answer::Error(state, words.clone()), |(rows, keys)| Answer::Values(rows, keys, words)))
}

/// Runs one statement in a transaction that is read-only and is taken back, under a time limit. The inner error is the
/// server's.
async fn carefully(
    session: &Session,
    sql: &str,
    limit: Duration,
) -> Result<Result<Vec<Row>, tokio_postgres::Error>, tokio_postgres::Error> {
    let begin = format!(
        "BEGIN READ ONLY; SET LOCAL statement_timeout = {0}; SET LOCAL lock_timeout = {0}",
        limit.as_millis().max(1)
    );
    let (begun, answer, ended) = tokio::join!(
        session.client.batch_execute(&begin),
        session.client.query_typed(sql, &[]),
        session.client.batch_execute("ROLLBACK"),
    );
    begun?;
    ended?;
    match answer {
        Err(error) if ServerError::from_pg(&error).is_err() => Err(error),
        answer => Ok(answer),
    }
}

/// The server's message.
fn said(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |db| db.message().to_owned())
}
