//! How large tables really are, and how fast the rehearsal's server is.

use std::collections::BTreeMap;
use std::time::Instant;

use tokio_postgres::SimpleQueryMessage;

use super::{RehearseError, Stand};
use crate::pg::session::Session;
use crate::rehearse::{Size, Speed};

/// Tables with their sizes, as people name them; a partitioned table has those of its partitions.
const SIZES: &str = "BEGIN READ ONLY; SELECT CASE n.nspname WHEN 'public' THEN '' ELSE quote_ident(n.nspname) || '.' END \
    || quote_ident(c.relname), s.rows, s.bytes, s.index_bytes FROM pg_catalog.pg_class c \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    CROSS JOIN LATERAL (SELECT sum(greatest(l.reltuples, 0))::bigint AS rows, sum(pg_table_size(l.oid)) AS bytes, \
    sum(pg_indexes_size(l.oid)) AS index_bytes FROM pg_catalog.pg_class l WHERE CASE c.relkind WHEN 'p' \
    THEN l.oid IN (SELECT relid FROM pg_partition_tree(c.oid)) ELSE l.oid = c.oid END) s \
    WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'; COMMIT";

/// Reads the sizes of all tables. Changes nothing.
///
/// # Errors
/// The database cannot be asked.
pub async fn table_sizes(session: &Session) -> Result<BTreeMap<String, Size>, RehearseError> {
    let messages = session.client.simple_query(SIZES).await.map_err(RehearseError::server("tell sizes of tables"))?;
    let mut sizes = BTreeMap::new();
    for message in messages {
        let SimpleQueryMessage::Row(row) = message else { continue };
        let number = |at: usize| row.get(at).and_then(|text| text.parse().ok()).unwrap_or_default();
        if let Some(name) = row.get(0) {
            sizes.insert(name.to_owned(), Size { rows: number(1), bytes: number(2), index_bytes: number(3) });
        }
    }
    Ok(sizes)
}

/// Some ten megabytes, as rows of tables are.
const SAMPLE: &str = "CREATE TABLE public.sample AS SELECT i AS a, i % 1000 AS b, md5(i::text) AS c, repeat('x', 40) AS d \
    FROM generate_series(1, 100000) i";

impl Stand {
    /// Measures how fast the server works on a table of some megabytes.
    ///
    /// # Errors
    /// It cannot be asked.
    pub async fn speed(&mut self) -> Result<Speed, RehearseError> {
        let database = self.create().await?;
        let session = self.session(&database).await?;
        let measured = measure(&session).await;
        drop(session);
        self.discard(&database).await;
        measured
    }
}

async fn measure(session: &Session) -> Result<Speed, RehearseError> {
    let run = async |sql: &str| -> Result<u64, RehearseError> {
        let began = Instant::now();
        session.client.batch_execute(sql).await.map_err(RehearseError::server("measure its speed"))?;
        Ok(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX).max(1))
    };
    run(SAMPLE).await?;
    let sizes = table_sizes(session).await?;
    let bytes = sizes.get("sample").map_or(0, |size| size.bytes);
    let per_second = |micros: u64| (bytes.saturating_mul(1_000_000) / micros).max(1);
    // The first reading also settles what the loading left to do.
    run("SELECT count(*) FROM public.sample").await?;
    let scan = run("ALTER TABLE public.sample ADD CHECK (b >= 0)").await?;
    let rewrite = run("ALTER TABLE public.sample ALTER a TYPE bigint").await?;
    let build = run("CREATE INDEX ON public.sample (c)").await?;
    Ok(Speed { scan: per_second(scan), rewrite: per_second(rewrite), build: per_second(build) })
}
