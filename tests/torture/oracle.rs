//! What must hold when all is over, whatever happened on the way.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use migengine_engine::id::RunId;
use migengine_engine::run::event::Recorded;
use migengine_engine::run::journal::{Journal as _, JournalError};
use migengine_engine::run::transition::fold;
use migengine_journal::{Opened, SledJournal};

use super::lab::Scratch;
use crate::support::Project;

/// The schema outside of the engine's, from the catalogs, with no help of the engine's own reading. Unfinished detaches
/// and unusable indexes are part of it.
pub const SHAPE: &str = "
SELECT 'class', c.relname::text, c.relkind::text, ''::text FROM pg_class c WHERE relnamespace = 'public'::regnamespace
UNION ALL SELECT 'column', a.attrelid::regclass::text, a.attname::text,
    format_type(a.atttypid, a.atttypmod) || a.attnotnull::text || coalesce(pg_get_expr(d.adbin, d.adrelid), '')
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid LEFT JOIN pg_attrdef d ON (adrelid, adnum) = (attrelid, attnum)
  WHERE c.relnamespace = 'public'::regnamespace AND attnum > 0 AND NOT attisdropped
UNION ALL SELECT 'index', indrelid::regclass::text, pg_get_indexdef(indexrelid),
    concat(indisvalid, indisready, indislive) FROM pg_index WHERE indrelid >= 16384
  AND indrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)
UNION ALL SELECT 'constraint', conname::text, conrelid::regclass::text, pg_get_constraintdef(oid)
  FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT 'label', enumtypid::regtype::text, enumlabel::text,
    (row_number() OVER (PARTITION BY enumtypid ORDER BY enumsortorder))::text FROM pg_enum
UNION ALL SELECT 'child', inhrelid::regclass::text, inhparent::regclass::text, inhdetachpending::text
  FROM pg_inherits WHERE inhrelid IN (SELECT oid FROM pg_class WHERE relkind IN ('r', 'p'))
UNION ALL SELECT 'rows', 'big', count(*)::text, sum(n)::text FROM big
UNION ALL SELECT 'rows', 'p', count(*)::text, sum(n)::text FROM p
ORDER BY 1, 2, 3, 4";

/// The schema and the data of the base tables, for comparison.
pub fn shape(db: &Scratch<'_>) -> String {
    db.sql(SHAPE)
}

/// Counted effects: tag to (forward, back).
pub fn counted(db: &Scratch<'_>) -> BTreeMap<String, (u32, u32)> {
    let sql =
        "SELECT tag, count(*) FILTER (WHERE way = 'up'), count(*) FILTER (WHERE way = 'down') FROM counter GROUP BY 1";
    let parse = |text: &str| text.parse().unwrap();
    let lines = db.sql(sql);
    let cells = lines.lines().map(|line| line.split('|').collect::<Vec<_>>());
    cells.map(|cells| (cells[0].to_owned(), (parse(cells[1]), parse(cells[2])))).collect()
}

/// Every tag forward exactly once, and never back.
pub fn all_once(db: &Scratch<'_>, tags: &[String]) -> Result<(), String> {
    let expected: BTreeMap<String, (u32, u32)> = tags.iter().map(|tag| (tag.clone(), (1, 0))).collect();
    same("effects (tag: forward, back)", &format!("{:?}", counted(db)), &format!("{expected:?}"))
}

/// Whether there is nothing left to do: these are in effect, and the database knows of no run that is not over.
pub fn all_applied(db: &Scratch<'_>, ids: &[String]) -> bool {
    if db.sql("SELECT to_regclass('migengine.history') IS NOT NULL") == "f" {
        return false;
    }
    let told = "SELECT (SELECT count(*) FROM migengine.history WHERE state = 'applied'), \
        (SELECT count(*) FROM migengine.run WHERE state NOT IN ('Committed', 'RolledBack'))";
    db.sql(told) == format!("{}|0", ids.len())
}

/// Nothing forward more than once, nothing back more than once, and nothing forward that did not come back. A reverse
/// script of several parts also takes back what its forward script had not reached.
pub fn all_undone(db: &Scratch<'_>) -> Result<(), String> {
    for (tag, (up, down)) in counted(db) {
        if up > 1 || down > 1 || up > down {
            return Err(format!("effect {tag} happened {up} times forward and {down} times back"));
        }
    }
    Ok(())
}

/// What concerns the engine's own books: history, runs, records, journal, locks, sessions.
pub fn books(db: &Scratch<'_>, project: &Project, applied: &[String]) -> Result<(), String> {
    quiet(db)?;
    let mut applied = applied.to_vec();
    applied.sort_unstable();
    if db.sql("SELECT to_regclass('migengine.history') IS NOT NULL") == "f" {
        return same("history", "", &applied.join("\n"));
    }
    let history = db
        .sql("SELECT id || CASE state WHEN 'applied' THEN '' ELSE ' ' || state END FROM migengine.history ORDER BY 1");
    let mut history: Vec<&str> = history.lines().collect();
    history.sort_unstable();
    same("history", &history.join("\n"), &applied.join("\n"))?;
    same("runs that are not over, by the database", &unfinished(db), "")?;
    let gaps = db.sql(
        "SELECT r.run_id, r.records, count(c.seq), max(c.seq) FROM migengine.run r LEFT JOIN migengine.record c USING (run_id) \
         GROUP BY 1, 2 HAVING r.records <> count(c.seq) OR r.records <> coalesce(max(c.seq), 0)",
    );
    same("runs whose mirror has gaps", &gaps, "")?;
    journal(db, project)
}

/// Runs of which the database does not know that they are over.
pub fn unfinished(db: &Scratch<'_>) -> String {
    db.sql(
        "SELECT run_id, state, coalesce(rest, '-') FROM migengine.run WHERE state NOT IN ('Committed', 'RolledBack')",
    )
}

/// No lock of ours, no session of ours. The last session may take a moment to end.
pub fn quiet(db: &Scratch<'_>) -> Result<(), String> {
    let sql = "WITH here AS (SELECT oid FROM pg_database WHERE datname = current_database()) \
        SELECT 'session ' || application_name || ' ' || state FROM pg_stat_get_activity(NULL) JOIN here ON datid = oid \
        WHERE application_name LIKE 'migengine%' \
        UNION ALL SELECT 'lock of ' || pid FROM pg_locks JOIN here ON database = oid WHERE locktype = 'advisory'";
    let mut left = String::new();
    for _ in 0..60 {
        left = db.sql(sql);
        if left.is_empty() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    same("left behind", &left, "")
}

/// The journal is sound, all its runs are over, and the database holds the same records.
fn journal(db: &Scratch<'_>, project: &Project) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Killed after the engine's tables were made and before the first record: there was never a run to tell of.
    let none = open(project)?.is_none();
    if none && db.sql("SELECT count(*) FROM migengine.run") == "0" {
        return Ok(());
    }
    for (run, mine) in runtime.block_on(sound_runs(project))? {
        let sql = format!("SELECT encode(bytes, 'hex') FROM migengine.record WHERE run_id = '{run}' ORDER BY seq");
        let theirs = db.sql(&sql);
        let locked = mine.iter().any(|(kind, _)| *kind == "locked");
        if !locked && theirs.is_empty() {
            continue; // It never held the lock, so the database need not know it.
        }
        if !mine.iter().map(|(_, hex)| hex.as_str()).eq(theirs.lines()) {
            let kinds: Vec<_> = mine.iter().map(|(kind, _)| *kind).collect();
            let theirs = theirs.lines().count();
            return Err(format!("run {run}: the database has {theirs} records, the journal these: {kinds:?}"));
        }
    }
    Ok(())
}

/// Opens the journal. A child that another thread of the laboratory is just starting has every open file of this process,
/// and so its locks, until it becomes another program: what is in use for a moment only is asked for again.
fn open(project: &Project) -> Result<Option<Opened>, String> {
    let patience = Instant::now() + Duration::from_secs(10);
    loop {
        match SledJournal::open_read_only(project.journal()) {
            Err(JournalError::InUse { .. }) if Instant::now() < patience => {
                std::thread::sleep(Duration::from_millis(5));
            }
            opened => return opened.map_err(|error| error.to_string()),
        }
    }
}

type Books = Vec<(RunId, Vec<(&'static str, String)>)>;

/// Every run with the kinds and the bytes of its records, once the journal was checked.
async fn sound_runs(project: &Project) -> Result<Books, String> {
    let Some(opened) = open(project)? else { return Err("there is no journal".to_owned()) };
    let over = |records: &[Recorded]| {
        let Some(run) = records.first().map(|record| record.run) else { return Err("an empty run".to_owned()) };
        match fold(run, records) {
            Ok(Some(run)) if run.state.is_final() => Ok(()),
            Ok(Some(run)) => Err(format!("not over: {} {:?}", run.state, run.rest)),
            Ok(None) => Err("an empty run".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    };
    let report = opened.journal.check(over).await.map_err(|error| error.to_string())?;
    let sick: Vec<_> = report.runs.iter().filter(|run| run.verdict.is_err()).collect();
    same("runs that are not right, by the journal", &format!("{sick:?}"), "[]")?;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut books = Vec::new();
    for run in opened.journal.runs().await.map_err(|error| error.to_string())? {
        let records = opened.journal.records(run).await.map_err(|error| error.to_string())?;
        let lines = records.iter().map(|(record, sealed)| (record.event.kind().name(), hex(&sealed.bytes)));
        books.push((run, lines.collect()));
    }
    Ok(books)
}

/// Compares; the error shows the lines that differ.
pub fn same(what: &str, is: &str, should: &str) -> Result<(), String> {
    if is == should {
        return Ok(());
    }
    let more: Vec<&str> = is.lines().filter(|line| !should.lines().any(|other| other == *line)).collect();
    let less: Vec<&str> = should.lines().filter(|line| !is.lines().any(|other| other == *line)).collect();
    Err(format!("{what}: too much {more:?}, missing {less:?}"))
}
