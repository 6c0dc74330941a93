//! What is asked between two pieces of a statement: how far it has come, where the next piece ends, and how busy the
//! server is. The three travel together, behind the COMMIT of the piece before, so that they cost one round trip.

use std::time::Duration;

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row, Statement};

use super::chunk::{Divided, PAUSED, Reached, Who, texts};
use super::layout::SchemaName;
use crate::chunk::{Facts, boundary};
use crate::migration::Chunk;

/// Keys become text in a form that means the same value whatever the settings of database, role and script say, now and
/// when the run goes on: dates and intervals in ISO form, numbers with all their digits.
const EXACT: &str = "BEGIN READ ONLY; SET LOCAL datestyle = 'ISO'; SET LOCAL intervalstyle = 'iso_8601'; \
    SET LOCAL extra_float_digits = 3; SET LOCAL bytea_output = 'hex'";

const REACHED: &str = "SELECT key, cursor, pass, pass_rows, pass_keys, finished, rows, batches, size, estimate, worked_us \
    FROM {schema}.progress WHERE id = $1 AND undoing = $2 AND part = $3";

/// The questions about one statement, prepared in one session.
pub(crate) struct Questions {
    reached: Statement,
    first: Statement,
    further: Statement,
    facts: Statement,
    window: Option<(String, String)>,
}

/// What is known before a piece.
pub(crate) struct Ahead {
    /// How far the statement has come. This, and nothing in memory, is where the next piece begins.
    pub(crate) reached: Option<Reached>,
    /// Number of keys in the piece that begins at the place that was asked about, and the last of them; nothing where
    /// there are no more.
    pub(crate) next: Option<(i64, Vec<String>)>,
    /// How busy the server is, unless it refused to tell.
    pub(crate) facts: Result<Facts, Error>,
}

impl Questions {
    /// Prepares them. Without `sees`, the server is not asked how busy it is, only whether somebody paused the work.
    pub(crate) async fn prepare(
        client: &Client,
        schema: &SchemaName,
        chunk: &Chunk,
        divided: &Divided,
        sees: bool,
    ) -> Result<Self, Error> {
        let width = divided.key.columns.len();
        let bounds = [vec![Type::TEXT; width], vec![Type::INT8]].concat();
        let (relation, key) = (&divided.relation, &divided.key);
        let (reached, facts) = (schema.fill(REACHED), schema.fill(&facts_sql(sees)));
        let (first, further) = (boundary(relation, key, false), boundary(relation, key, true));
        let (reached, first, further, facts) = tokio::try_join!(
            client.prepare_typed(&reached, &[Type::TEXT, Type::BOOL, Type::INT4]),
            client.prepare_typed(&first, &[Type::INT8]),
            client.prepare_typed(&further, &bounds),
            client.prepare_typed(&facts, &[Type::TEXT, Type::TEXT]),
        )?;
        Ok(Self { reached, first, further, facts, window: chunk.window.clone() })
    }

    /// Asks all of them, in a transaction of their own; `cursor` is where the next piece is taken to begin, `size` how
    /// many keys it may have.
    pub(crate) async fn ask(
        &self,
        client: &Client,
        who: &Who,
        cursor: Option<&[String]>,
        size: u32,
    ) -> Result<Ahead, Error> {
        let place: [&(dyn ToSql + Sync); 3] = [&who.id, &who.undoing, &who.part];
        let size = i64::from(size);
        let mut bounds: Vec<&(dyn ToSql + Sync)> = cursor.unwrap_or_default().iter().map(|text| text as _).collect();
        bounds.push(&size);
        let boundary = if cursor.is_some() { &self.further } else { &self.first };
        let (from, to) = self.window.clone().unzip();
        let window: [&(dyn ToSql + Sync); 2] = [&from, &to];
        let (begun, reached, next, facts, ended) = tokio::join!(
            biased;
            client.batch_execute(EXACT),
            client.query(&self.reached, &place),
            client.query(boundary, &bounds),
            client.query(&self.facts, &window),
            client.batch_execute("COMMIT")
        );
        begun?;
        let reached = reached?.first().map(place_reached).transpose()?;
        let next = next?.first().map(|row| Ok::<_, Error>((row.try_get(0)?, row.try_get(1)?))).transpose()?;
        let facts = facts.and_then(|rows| rows.first().map_or(Ok(Facts::default()), busy));
        ended?;
        Ok(Ahead { reached, next, facts })
    }
}

/// Reads how far a statement has come.
pub(crate) async fn reached(client: &Client, schema: &SchemaName, who: &Who) -> Result<Option<Reached>, Error> {
    let sql = schema.fill(REACHED);
    let parameters = texts(std::slice::from_ref(&who.id));
    let parameters = [&parameters[..], &[(&who.undoing, Type::BOOL), (&who.part, Type::INT4)]].concat();
    client.query_typed(&sql, &parameters).await?.first().map(place_reached).transpose()
}

fn place_reached(row: &Row) -> Result<Reached, Error> {
    Ok(Reached {
        key: row.try_get(0)?,
        cursor: row.try_get(1)?,
        pass: row.try_get(2)?,
        pass_rows: row.try_get(3)?,
        pass_keys: row.try_get(4)?,
        finished: row.try_get(5)?,
        rows: row.try_get(6)?,
        batches: row.try_get(7)?,
        size: row.try_get(8)?,
        estimate: row.try_get(9)?,
        worked_us: row.try_get(10)?,
    })
}

fn facts_sql(sees: bool) -> String {
    let number = "('x' || substr({}, 9, 8))::bit(32)::int8 * (4294967296 / pg_size_bytes(current_setting('wal_segment_size'))) \
        + ('x' || substr({}, 17, 8))::bit(32)::int8";
    let load = if sees {
        format!(
            "(SELECT (extract(epoch FROM max(replay_lag)) * 1000)::float8 FROM pg_stat_replication), \
             (SELECT min(safe_wal_size)::int8 FROM pg_replication_slots), \
             (SELECT CASE WHEN current_setting('archive_mode') <> 'off' AND last_archived_wal ~ '^[0-9A-F]{{24}}$' \
                THEN ({}) - ({}) END FROM pg_stat_archiver), \
             (pg_current_wal_lsn() - '0/0')::int8, \
             (SELECT min(replay_lsn - '0/0')::int8 FROM pg_stat_replication)",
            number.replace("{}", "pg_walfile_name(pg_current_wal_lsn())"),
            number.replace("{}", "last_archived_wal"),
        )
    } else {
        "NULL::float8, NULL::int8, NULL::int8, 0::int8, NULL::int8".to_owned()
    };
    format!(
        "SELECT {PAUSED}, {load}, coalesce(NOT CASE WHEN $1::text::time < $2::text::time \
           THEN localtime >= $1::text::time AND localtime < $2::text::time \
           ELSE localtime >= $1::text::time OR localtime < $2::text::time END, false)"
    )
}

fn busy(row: &Row) -> Result<Facts, Error> {
    Ok(Facts {
        paused: row.try_get(0)?,
        lag: row.try_get::<_, Option<f64>>(1)?.map(|ms| Duration::from_secs_f64(ms.max(0.0) / 1000.0)),
        slot_left: row.try_get(2)?,
        archive_backlog: row.try_get(3)?,
        written: row.try_get(4)?,
        replayed: row.try_get(5)?,
        outside_window: row.try_get(6)?,
        author: false,
    })
}
