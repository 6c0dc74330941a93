//! Everything the engine wants to know of a database before it decides: read in one round trip, changing nothing.

use std::collections::BTreeMap;

use tokio_postgres::{Client, Row};

use super::layout::{LAYOUT, SchemaName};
use crate::audit::Anchor;
use crate::id::{Digest, Epoch, MigrationId, RunId, Timestamp};
use crate::protect::Mark;

/// Facts about the server and the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFacts {
    /// `server_version_num`, 150018 for 15.18.
    pub version: i32,
    /// `server_version`, for people.
    pub version_text: String,
    /// Backend of this session.
    pub pid: i32,
    /// Start of that backend.
    pub backend_start: Timestamp,
    /// A standby, or set read-only.
    pub read_only: bool,
    /// Database.
    pub database: String,
    /// Role.
    pub role: String,
    /// `system_identifier`, 0 where it may not be read.
    pub system: u64,
}

/// One history row without its SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryRow {
    /// The migration.
    pub id: MigrationId,
    /// Order of application.
    pub position: i64,
    /// `begun`, `applied` or `undoing`.
    pub state: HistoryState,
    /// The run that wrote it.
    pub run: Option<RunId>,
    /// Checksum over bytes.
    pub content: Digest,
    /// Checksum over tokens.
    pub tokens: Digest,
    /// What it required.
    pub requires: Vec<MigrationId>,
    /// Whether a reverse script is kept.
    pub has_down: bool,
    /// Parts done in the direction of `state`.
    pub parts_done: u32,
    /// Token checksums of those parts.
    pub part_tokens: Vec<Digest>,
    /// Catalog state before the part after those, as the predicate needs it; absent when none was begun.
    pub part_before: Option<String>,
    /// When it took effect.
    pub applied_at: Timestamp,
    /// How long that took, in microseconds.
    pub duration_us: Option<i64>,
}

/// What a history row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryState {
    /// A script by parts was begun.
    Begun,
    /// In effect.
    Applied,
    /// In effect, and its reverse script by parts was begun.
    Undoing,
}

/// One row of the run table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRow {
    /// The run.
    pub run: RunId,
    /// `apply` or `rollback`.
    pub kind: String,
    /// State by name.
    pub state: String,
    /// Rest reason by name.
    pub rest: Option<String>,
    /// Rest in words.
    pub rest_message: Option<String>,
    /// Epoch under which it was last moved.
    pub epoch: Epoch,
    /// Records in its journal when that happened.
    pub records: u64,
    /// Head of its journal then.
    pub head: Option<Digest>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it became final.
    pub finished_at: Option<Timestamp>,
}

/// The engine's tables, read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ledger {
    /// Identity of the database.
    pub uuid: String,
    /// Current epoch.
    pub epoch: Epoch,
    /// Who holds or last held the lease, for people.
    pub holder: Option<String>,
    /// Backend that holds or last held it.
    pub holder_pid: Option<i32>,
    /// The mark that protects this database.
    pub mark: Option<Mark>,
    /// History by id.
    pub history: BTreeMap<MigrationId, HistoryRow>,
    /// Runs that are not final, oldest first.
    pub unfinished: Vec<RunRow>,
    /// The last entry of the audit log.
    pub audit: Option<Anchor>,
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseState {
    /// The server.
    pub server: ServerFacts,
    /// The engine's tables; absent when they were never made.
    pub ledger: Option<Ledger>,
}

/// Why the state could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The tables were made by a newer engine.
    #[error(
        "[ME336] the schema {schema} was made by a newer migengine (layout {found}); this one knows layout {known}. Nothing was changed; use the newer migengine"
    )]
    Newer {
        /// The schema.
        schema: String,
        /// Layout found.
        found: i32,
        /// Layout known.
        known: i32,
    },
    /// The tables hold something no engine wrote.
    #[error("[ME337] the schema {schema} holds what migengine did not write: {what}. Nothing was changed")]
    Foreign {
        /// The schema.
        schema: String,
        /// What.
        what: String,
    },
    /// The server is too old.
    #[error("[ME338] the server is PostgreSQL {found}; migengine needs 14 or newer. Nothing was changed")]
    TooOld {
        /// Its version.
        found: String,
    },
    /// The server or the line failed.
    #[error(transparent)]
    Server(#[from] tokio_postgres::Error),
}

impl ReadError {
    /// What happened in the server's words, and its SQLSTATE where it was the server that spoke.
    #[must_use]
    pub fn server_words(&self) -> (String, Option<String>) {
        match self {
            Self::Server(error) => match error.as_db_error() {
                Some(db) => (db.message().to_owned(), Some(db.code().code().to_owned())),
                None => (error.to_string(), None),
            },
            other => (other.to_string(), None),
        }
    }
}

const SERVER: &str = "SELECT current_setting('server_version_num')::int, current_setting('server_version'), \
    pg_backend_pid(), (extract(epoch FROM (SELECT backend_start FROM pg_stat_get_activity(pg_backend_pid()))) * 1000000)::bigint, \
    pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool, current_database()::text, session_user::text, \
    CASE WHEN has_function_privilege('pg_control_system()', 'EXECUTE') THEN (SELECT system_identifier FROM pg_control_system()) ELSE 0 END";

const LEDGER: &str = "SELECT i.uuid::text, i.layout, l.epoch, l.holder, l.pid, p.actor, (extract(epoch FROM p.at) * 1000000)::bigint, \
    a.seq, a.hash \
    FROM {schema}.identity i CROSS JOIN {schema}.lease l LEFT JOIN {schema}.audit_head a ON true LEFT JOIN {schema}.protection p \
    ON p.marked AND p.number = (SELECT max(number) FROM {schema}.protection)";

const HISTORY: &str = "SELECT id, position, state, run_id, content, tokens, requires, down_sql IS NOT NULL, parts_done, part_tokens, \
    part_before, (extract(epoch FROM applied_at) * 1000000)::bigint, duration_us FROM {schema}.history ORDER BY position";

const RUNS: &str = "SELECT run_id, kind, state, rest, rest_message, epoch, records, head, \
    (extract(epoch FROM started_at) * 1000000)::bigint, (extract(epoch FROM finished_at) * 1000000)::bigint FROM {schema}.run \
    WHERE finished_at IS NULL ORDER BY started_at";

/// The epoch, the history and the runs are of one moment: a plan made of a history from before another runner's end and
/// an epoch from after it would take that runner's steps for its own.
const ONE_MOMENT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Reads everything. The queries travel together.
///
/// # Errors
/// See [`ReadError`].
pub async fn read(client: &Client, schema: &SchemaName) -> Result<DatabaseState, ReadError> {
    let (server, ledger) = tokio::join!(biased; server(client, schema), read_ledger(client, schema));
    // Before what came of the tables: a server that is too old has other words for that.
    Ok(DatabaseState { server: server?, ledger: ledger? })
}

async fn server(client: &Client, schema: &SchemaName) -> Result<ServerFacts, ReadError> {
    let none: [(&(dyn tokio_postgres::types::ToSql + Sync), tokio_postgres::types::Type); 0] = [];
    let server = match client.query_typed(SERVER, &none).await?.first() {
        Some(row) => server_facts(row)?,
        None => return Err(ReadError::Foreign { schema: schema.quoted().to_owned(), what: "no answer".to_owned() }),
    };
    if server.version < 140_000 {
        return Err(ReadError::TooOld { found: server.version_text });
    }
    Ok(server)
}

/// Reads the engine's tables, for whoever knows the server. Nothing where they were never made.
///
/// # Errors
/// See [`ReadError`].
pub async fn read_ledger(client: &Client, schema: &SchemaName) -> Result<Option<Ledger>, ReadError> {
    // Names are looked up as they are now, rows as they were at the transaction's moment. Where another runner made the tables in
    // between, they are there and seem empty; the next moment tells that from tables that are.
    for _ in 0..2 {
        match at_one_moment(client, schema).await? {
            Found::NeverMade => return Ok(None),
            Found::JustMade => {}
            Found::There(ledger) => return Ok(Some(*ledger)),
        }
    }
    Err(ReadError::Foreign { schema: schema.quoted().to_owned(), what: "an empty identity".to_owned() })
}

/// What a look at the engine's tables shows.
enum Found {
    NeverMade,
    /// There is an identity without a row.
    JustMade,
    There(Box<Ledger>),
}

async fn at_one_moment(client: &Client, schema: &SchemaName) -> Result<Found, ReadError> {
    let (ledger_sql, history_sql, runs_sql) = (schema.fill(LEDGER), schema.fill(HISTORY), schema.fill(RUNS));
    let none: [(&(dyn tokio_postgres::types::ToSql + Sync), tokio_postgres::types::Type); 0] = [];
    let (begun, ledger, history, runs, ended) = tokio::join!(
        biased;
        client.batch_execute(ONE_MOMENT),
        client.query_typed(&ledger_sql, &none),
        client.query_typed(&history_sql, &none),
        client.query_typed(&runs_sql, &none),
        client.batch_execute("COMMIT"),
    );
    begun?;
    ended?;
    let ledger = match ledger {
        Ok(rows) => rows,
        Err(error) if is_missing(&error) => return Ok(Found::NeverMade),
        Err(error) => return Err(error.into()),
    };
    let Some(row) = ledger.first() else { return Ok(Found::JustMade) };
    let layout: i32 = row.try_get(1)?;
    if layout > LAYOUT {
        return Err(ReadError::Newer { schema: schema.quoted().to_owned(), found: layout, known: LAYOUT });
    }
    let ledger = Ledger {
        uuid: row.try_get(0)?,
        epoch: Epoch(u64::try_from(row.try_get::<_, i64>(2)?).unwrap_or_default()),
        holder: row.try_get(3)?,
        holder_pid: row.try_get(4)?,
        mark: mark(row)?,
        history: history?.iter().map(|row| history_row(row, schema)).collect::<Result<_, _>>()?,
        audit: row
            .try_get::<_, Option<&[u8]>>(8)?
            .and_then(Digest::from_slice)
            .zip(row.try_get(7)?)
            .map(|(hash, seq)| Anchor { seq, hash }),
        unfinished: runs?.iter().map(|row| run_row(row, schema)).collect::<Result<_, _>>()?,
    };
    Ok(Found::There(Box::new(ledger)))
}

/// All runs, finished ones included, oldest first.
///
/// # Errors
/// See [`ReadError`]; an empty list when the tables were never made.
pub async fn all_runs(client: &Client, schema: &SchemaName) -> Result<Vec<RunRow>, ReadError> {
    match client.query(&schema.fill(&RUNS.replace("WHERE finished_at IS NULL ", "")), &[]).await {
        Ok(rows) => rows.iter().map(|row| run_row(row, schema)).collect(),
        Err(error) if is_missing(&error) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// Whether the server says that a table or its schema does not exist.
pub(crate) fn is_missing(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| matches!(code.code(), "42P01" | "3F000"))
}

fn mark(row: &Row) -> Result<Option<Mark>, ReadError> {
    let (by, at): (Option<String>, Option<i64>) = (row.try_get(5)?, row.try_get(6)?);
    Ok(by.zip(at).map(|(by, at)| Mark { by, at: Timestamp(at) }))
}

fn server_facts(row: &Row) -> Result<ServerFacts, ReadError> {
    Ok(ServerFacts {
        version: row.try_get(0)?,
        version_text: row.try_get(1)?,
        pid: row.try_get(2)?,
        backend_start: Timestamp(row.try_get(3)?),
        read_only: row.try_get(4)?,
        database: row.try_get(5)?,
        role: row.try_get(6)?,
        system: row.try_get::<_, i64>(7)?.cast_unsigned(),
    })
}

fn history_row(row: &Row, schema: &SchemaName) -> Result<(MigrationId, HistoryRow), ReadError> {
    let foreign = |what: String| ReadError::Foreign { schema: schema.quoted().to_owned(), what };
    let id: String = row.try_get(0)?;
    let id = MigrationId::new(id).map_err(|error| foreign(error.to_string()))?;
    let digest = |bytes: &[u8]| Digest::from_slice(bytes).ok_or_else(|| foreign(format!("a checksum of {id}")));
    let state = match row.try_get::<_, &str>(2)? {
        "begun" => HistoryState::Begun,
        "applied" => HistoryState::Applied,
        "undoing" => HistoryState::Undoing,
        other => return Err(foreign(format!("the state `{other}` of {id}"))),
    };
    let requires: Vec<String> = row.try_get(6)?;
    let part_tokens: Vec<&[u8]> = row.try_get(9)?;
    let history = HistoryRow {
        position: row.try_get(1)?,
        state,
        run: row.try_get::<_, &str>(3)?.parse().ok(),
        content: digest(row.try_get(4)?)?,
        tokens: digest(row.try_get(5)?)?,
        requires: requires.into_iter().filter_map(|id| MigrationId::new(id).ok()).collect(),
        has_down: row.try_get(7)?,
        parts_done: u32::try_from(row.try_get::<_, i32>(8)?).unwrap_or_default(),
        part_tokens: part_tokens.into_iter().map(digest).collect::<Result<_, _>>()?,
        part_before: row.try_get(10)?,
        applied_at: Timestamp(row.try_get(11)?),
        duration_us: row.try_get(12)?,
        id: id.clone(),
    };
    Ok((id, history))
}

fn run_row(row: &Row, schema: &SchemaName) -> Result<RunRow, ReadError> {
    let text: &str = row.try_get(0)?;
    let run = text.parse().map_err(|_| ReadError::Foreign {
        schema: schema.quoted().to_owned(),
        what: format!("a run named `{text}`"),
    })?;
    Ok(RunRow {
        run,
        kind: row.try_get(1)?,
        state: row.try_get(2)?,
        rest: row.try_get(3)?,
        rest_message: row.try_get(4)?,
        epoch: Epoch(u64::try_from(row.try_get::<_, i64>(5)?).unwrap_or_default()),
        records: u64::try_from(row.try_get::<_, i64>(6)?).unwrap_or_default(),
        head: row.try_get::<_, Option<&[u8]>>(7)?.and_then(Digest::from_slice),
        started_at: Timestamp(row.try_get(8)?),
        finished_at: row.try_get::<_, Option<i64>>(9)?.map(Timestamp),
    })
}

/// How long migrations took when they were applied here before, in microseconds, by id: the last time that counts, of
/// those that were reversed since.
///
/// # Errors
/// The server or the line failed.
pub async fn earlier_durations(
    client: &Client,
    schema: &SchemaName,
) -> Result<BTreeMap<String, i64>, tokio_postgres::Error> {
    let sql = schema.fill(
        "SELECT DISTINCT ON (id) id, duration_us FROM {schema}.reversed WHERE duration_us > 0 ORDER BY id, reversed_at DESC",
    );
    let rows = client.query_typed(&sql, &[]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}
