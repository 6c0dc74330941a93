//! A run as it can be seen from anywhere: what its sessions are at, by the server's statistics, and how far statements in
//! pieces have come, by the place that each piece leaves.

use std::time::Duration;

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::layout::SchemaName;
use super::read::{ReadError, is_missing};
use crate::chunk::Meter;
use crate::id::RunId;
use crate::progress::{Building, Progress, Work};

/// Work that the server counts, by backend. A table that is rewritten has its indexes built meanwhile, which
/// `pg_stat_progress_cluster` tells by itself.
pub(crate) const COUNTED: &str = "SELECT pid, 'INDEX' AS work, phase, \
      CASE WHEN tuples_total > 0 THEN 1.0 * tuples_done / tuples_total \
        WHEN blocks_total > 0 THEN 1.0 * blocks_done / blocks_total END::float8 AS done, \
      CASE WHEN lockers_total > lockers_done THEN current_locker_pid END::int4 AS waits_for \
    FROM pg_stat_progress_create_index \
  UNION ALL SELECT pid, 'VACUUM', phase, \
      CASE WHEN phase = 'scanning heap' AND heap_blks_total > 0 THEN 1.0 * heap_blks_scanned / heap_blks_total \
        WHEN phase = 'vacuuming heap' AND heap_blks_total > 0 THEN 1.0 * heap_blks_vacuumed / heap_blks_total END::float8, NULL \
    FROM pg_stat_progress_vacuum \
  UNION ALL SELECT pid, command, phase, \
      CASE WHEN phase = 'seq scanning heap' AND heap_blks_total > 0 THEN 1.0 * heap_blks_scanned / heap_blks_total END::float8, NULL \
    FROM pg_stat_progress_cluster";

/// The sessions of a run that are at work on a step, with the work that the server counts. Sessions of other roles are seen
/// by `pg_read_all_stats` only.
const AT_WORK: &str = "SELECT substr(a.application_name, length($1) + 1), \
    (extract(epoch FROM clock_timestamp() - coalesce(a.query_start, clock_timestamp())) * 1000)::float8, \
    CASE WHEN a.wait_event_type = 'Lock' THEN pg_blocking_pids(a.pid) ELSE '{}' END, c.work, c.phase, c.done, c.waits_for \
  FROM pg_stat_activity a LEFT JOIN ({counted}) AS c ON c.pid = a.pid \
  WHERE starts_with(a.application_name, $1) AND a.state = 'active' AND a.datname = current_database() \
  ORDER BY 1";

/// Statements in pieces that this run is at. The rate is that of the statement's whole life.
const PIECES: &str = "SELECT id, rows, pass_keys, estimate, pass, \
    (extract(epoch FROM clock_timestamp() - started_at) * 1000)::float8 \
  FROM {schema}.progress WHERE run_id = $1 AND NOT finished ORDER BY id, part";

/// What a run is at: the names of steps, and how far each has come.
///
/// # Errors
/// The server or the line failed.
pub async fn at_work(client: &Client, schema: &SchemaName, run: RunId) -> Result<Vec<(String, Progress)>, ReadError> {
    let mut seen: Vec<(String, Progress)> = Vec::new();
    let pieces = client.query_typed(&schema.fill(PIECES), &[(&run.to_string(), Type::TEXT)]).await;
    match pieces {
        Ok(rows) => {
            for row in rows {
                let number = |count: i64| u64::try_from(count).unwrap_or_default();
                let keys = number(row.try_get(2)?);
                let pass = u32::try_from(row.try_get::<_, i32>(4)?).unwrap_or(1);
                let meter = Meter {
                    rows: number(row.try_get(1)?),
                    keys,
                    estimate: number(row.try_get(3)?),
                    mine: (keys, millis(row.try_get(5)?)),
                    pass,
                };
                seen.push((row.try_get(0)?, Progress::Rows(meter)));
            }
        }
        Err(error) if is_missing(&error) => {}
        Err(error) => return Err(error.into()),
    }
    let prefix = format!("migengine:{run}:");
    let sql = AT_WORK.replace("{counted}", COUNTED);
    for row in client.query_typed(&sql, &[(&prefix, Type::TEXT)]).await? {
        let step: String = row.try_get(0)?;
        // The guard's own session, and steps whose place says more. The server cuts names at 63 bytes.
        if step == "guard" || seen.iter().any(|(name, _)| name.starts_with(&step)) {
            continue;
        }
        let work: Option<String> = row.try_get(3)?;
        let progress = match work.as_deref().map(Work::of) {
            Some(work) => Progress::Building(Building {
                work,
                phase: row.try_get(4)?,
                done: row.try_get(5)?,
                waits_for: row.try_get(6)?,
            }),
            None => Progress::Working { time: millis(row.try_get(1)?), behind: row.try_get(2)? },
        };
        seen.push((step, progress));
    }
    Ok(seen)
}

/// From the server's milliseconds; a clock that was set back gives zero.
fn millis(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms.max(0.0) / 1000.0).unwrap_or_default()
}
