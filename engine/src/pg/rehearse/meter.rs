//! Measures what each statement of a script costs: locks, storage, scans, write-ahead log, drops.
//!
//! Inside a transaction one look after each statement is enough, because locks are kept to its end. A statement outside
//! of transactions gives its locks back before anybody can look; it is watched from a second session ([`Watch`]).

use std::collections::BTreeMap;
use std::time::Instant;

use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};

use super::script::Broken;
use super::watch::Watch;
use crate::hazard::{LockMode, StatementFacts};
use crate::migration::Script;
use crate::pg::session::Session;
use crate::rehearse::{Dropped, Observed, Oid, Relation, StatementCost, Tally};
use crate::sql::Command;

/// The relation `c` with its schema `n`, the table of an index `i`.
const RELATION: &str = "CASE n.nspname WHEN 'public' THEN '' ELSE quote_ident(n.nspname) || '.' END \
    || quote_ident(c.relname) AS name, c.relkind AS kind, c.relfilenode AS file, i.indrelid AS of";
const JOINED: &str = "LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid";
/// Variables in which the event triggers of [`INSTALL`] collect what happens; and the place in the log.
const TOLD: &str = "SELECT pg_catalog.pg_current_wal_insert_lsn() - '0/0' AS wal, \
    pg_catalog.current_setting('migengine.dropped', true) AS dropped, \
    pg_catalog.current_setting('migengine.rewritten', true) AS rewritten";
const FORGET: &str = "SELECT pg_catalog.set_config('migengine.dropped', '', false), \
    pg_catalog.set_config('migengine.rewritten', '', false)";

/// Event triggers, in the engine's schema, which no fingerprint shows. They write into variables of the session, so
/// that they leave no trace in the database. What a dropped object is made of is not told: a foreign key's own triggers,
/// for one, have numbers for names, which differ from server to server.
const INSTALL: &str = r"
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE FUNCTION {schema}.rehearsal_dropped() RETURNS event_trigger LANGUAGE plpgsql AS $$
DECLARE
    seen record;
    list text := '';
BEGIN
    FOR seen IN SELECT * FROM pg_catalog.pg_event_trigger_dropped_objects() WHERE NOT is_temporary LOOP
        CONTINUE WHEN seen.object_type IN ('toast table', 'default value', 'rule')
            OR (seen.object_type IN ('type', 'toast index') AND NOT seen.original AND NOT seen.normal)
            OR (seen.object_type = 'trigger' AND seen.object_identity LIKE '%RI\_ConstraintTrigger\_%');
        list := list || CASE WHEN seen.original THEN '-' ELSE '+' END || seen.object_type || ' '
            || pg_catalog.replace(seen.object_identity, E'\n', ' ') || E'\n';
    END LOOP;
    PERFORM pg_catalog.set_config('migengine.dropped',
        COALESCE(pg_catalog.current_setting('migengine.dropped', true), '') || list, false);
END $$;
CREATE FUNCTION {schema}.rehearsal_rewritten() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_catalog.set_config('migengine.rewritten',
        COALESCE(pg_catalog.current_setting('migengine.rewritten', true), '')
        || pg_catalog.pg_event_trigger_table_rewrite_oid()::pg_catalog.text || ' ', false);
END $$;
CREATE EVENT TRIGGER migengine_rehearsal_dropped ON sql_drop EXECUTE FUNCTION {schema}.rehearsal_dropped();
CREATE EVENT TRIGGER migengine_rehearsal_rewritten ON table_rewrite EXECUTE FUNCTION {schema}.rehearsal_rewritten();
";

/// Lets the scratch database tell of drops and rewrites. Event triggers need a superuser: elsewhere only relations that
/// vanish are told.
pub(super) async fn install(session: &Session) -> bool {
    let batch = format!("BEGIN; {} COMMIT", session.schema.fill(INSTALL));
    let installed = session.client.batch_execute(&batch).await.is_ok();
    if !installed {
        let _ignored = session.client.batch_execute("ROLLBACK").await;
    }
    installed
}

/// Measures one script.
pub(super) struct Meter {
    tally: Tally,
    /// What the text of each statement promises.
    expected: Vec<StatementFacts>,
    tells: bool,
    watch: Watch,
    part: usize,
}

impl Meter {
    /// What is there before the script. Nothing is measured where that cannot be asked.
    pub(super) async fn before(
        session: &Session,
        expected: Vec<StatementFacts>,
        tells: bool,
        watch: Watch,
    ) -> Option<Self> {
        let seen = everything(session).await?;
        Some(Self { tally: Tally::new(seen.relations, seen.wal), expected, tells, watch, part: 0 })
    }

    /// What was read before the transaction that has just begun: the server counts on until it next sends its numbers
    /// off, which it never does inside a transaction.
    pub(super) async fn baseline(&mut self, session: &Session) {
        let sql = "SELECT c.oid, c.relkind AS kind, pg_catalog.pg_stat_get_xact_numscans(c.oid) AS scans, \
                   pg_catalog.pg_stat_get_xact_tuples_returned(c.oid) AS rows FROM pg_catalog.pg_class c \
                   WHERE c.relkind IN ('r', 'm') AND c.oid >= 16384";
        if let Ok(messages) = session.client.simple_query(sql).await {
            self.tally.baseline(observed(&messages, false).scans);
        }
    }

    /// A transaction begins, or a statement alone.
    pub(super) fn begin_part(&mut self, part: usize) {
        self.part = part;
        self.tally.begin_part();
    }

    /// The same part again, after its transaction was rolled back.
    pub(super) fn begin_again(&mut self) {
        self.tally.begin_again();
    }

    /// Looks after a statement inside a transaction. A question that fails leaves the rest as it is.
    pub(super) async fn look(&mut self, session: &Session, script: &Script, index: usize, began: Instant) {
        let Some(cost) = self.cost(script, index, began) else { return };
        let batch = format!(
            "SAVEPOINT migengine_meter; SELECT l.relation AS oid, l.mode, {RELATION}, \
             pg_catalog.pg_stat_get_xact_numscans(l.relation) AS scans, \
             pg_catalog.pg_stat_get_xact_tuples_returned(l.relation) AS rows \
             FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_class c ON c.oid = l.relation {JOINED} \
             WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation' AND l.granted AND l.relation >= 16384; \
             {TOLD}; ROLLBACK TO SAVEPOINT migengine_meter; RELEASE SAVEPOINT migengine_meter"
        );
        let Ok(messages) = session.client.simple_query(&batch).await else {
            let _ignored = session.client.batch_execute("ROLLBACK TO SAVEPOINT migengine_meter").await;
            return;
        };
        let mut seen = observed(&messages, self.tells);
        seen.gone = seen.locks.iter().map(|(oid, _)| *oid).filter(|oid| !seen.relations.contains_key(oid)).collect();
        self.take(session, index, cost, seen).await;
    }

    /// Runs a statement outside of any transaction, watched from another session.
    pub(super) async fn alone<T>(
        &mut self,
        session: &Session,
        script: &Script,
        index: usize,
        work: impl Future<Output = Result<T, Broken>>,
    ) -> Result<T, Broken> {
        let before = everything(session).await.unwrap_or_default();
        self.tally.mark(before.wal);
        let tables: Vec<&Relation> = self.tally.before().values().filter(|one| matches!(one.kind, 'r' | 'p')).collect();
        let began = Instant::now();
        let (result, locks) = self.watch.during(session, &tables, work).await;
        let answer = result?;
        let Some(cost) = self.cost(script, index, began) else { return Ok(answer) };
        let Some(mut seen) = everything(session).await else { return Ok(answer) };
        seen.tells = false;
        seen.gone = before.relations.keys().filter(|oid| !seen.relations.contains_key(oid)).copied().collect();
        seen.locks = locks;
        self.take(session, index, cost, seen).await;
        Ok(answer)
    }

    async fn take(&mut self, session: &Session, index: usize, cost: StatementCost, seen: Observed) {
        let told = !seen.dropped.is_empty() || !seen.rewritten.is_empty();
        self.tally.statement(cost, seen, self.expected.get(index));
        if told {
            let _ignored = session.client.batch_execute(FORGET).await;
        }
    }

    /// The statement as it is reported; nothing for statements that only change the session.
    fn cost(&self, script: &Script, index: usize, began: Instant) -> Option<StatementCost> {
        let statement = script.statements.get(index)?;
        let session_only = matches!(
            statement.command(&script.text),
            Command::Begin { .. }
                | Command::Commit { .. }
                | Command::Rollback
                | Command::Savepoint
                | Command::Set { .. }
                | Command::SetTransaction { .. }
                | Command::DiscardAll
        );
        let duration_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        (!session_only).then(|| StatementCost {
            file: script.file.clone(),
            line: statement.position.line,
            verb: self.expected.get(index).map(|facts| facts.verb.clone()).unwrap_or_default(),
            part: self.part,
            duration_us,
            ..StatementCost::default()
        })
    }

    /// Everything measured.
    pub(super) async fn finish(self) -> Vec<StatementCost> {
        self.watch.close().await;
        self.tally.into_costs()
    }
}

/// All relations of the user's, and the place in the log.
async fn everything(session: &Session) -> Option<Observed> {
    let batch = format!(
        "SELECT c.oid, NULL AS mode, {RELATION} FROM pg_catalog.pg_class c {JOINED} WHERE c.oid >= 16384 \
         AND c.relkind IN ('r', 'p', 'm', 'v', 'f', 'i', 'I', 'S') AND n.nspname !~ '^pg_(toast|temp)'; {TOLD}"
    );
    Some(observed(&session.client.simple_query(&batch).await.ok()?, false))
}

fn observed(messages: &[SimpleQueryMessage], tells: bool) -> Observed {
    let mut seen = Observed { tells, ..Observed::default() };
    for message in messages {
        let SimpleQueryMessage::Row(row) = message else { continue };
        if let Some(wal) = cell(row, "wal") {
            seen.wal = wal.parse().unwrap_or_default();
            if tells {
                seen.dropped = cell(row, "dropped").unwrap_or_default().lines().filter_map(dropped).collect();
                let rewritten = cell(row, "rewritten").unwrap_or_default().split_whitespace();
                seen.rewritten = rewritten.filter_map(|oid| oid.parse().ok()).collect();
            }
            continue;
        }
        // One row a lock, or a relation.
        let Some(oid) = cell(row, "oid").and_then(|oid| oid.parse::<Oid>().ok()) else { continue };
        if let Some(mode) = cell(row, "mode").and_then(LockMode::from_pg_locks) {
            seen.locks.push((oid, mode));
        }
        if let Some(relation) = relation(row) {
            seen.relations.insert(oid, relation);
        }
        let count = |name: &str| cell(row, name).and_then(|count| count.parse::<u64>().ok());
        if let (Some(scans), Some(rows), Some("r" | "m")) = (count("scans"), count("rows"), cell(row, "kind")) {
            seen.scans.insert(oid, (scans, rows));
        }
    }
    seen
}

fn relation(row: &SimpleQueryRow) -> Option<Relation> {
    Some(Relation {
        name: cell(row, "name")?.to_owned(),
        kind: cell(row, "kind")?.chars().next()?,
        table: cell(row, "of").and_then(|oid| oid.parse().ok()),
        file: cell(row, "file")?.parse().ok()?,
    })
}

/// A line of the variable: `-` or `+` for what went along, kind and name.
fn dropped(line: &str) -> Option<Dropped> {
    let (sign, object) = line.split_at_checked(1)?;
    let object = object.replacen(" public.", " ", 1).replace(" on public.", " on ");
    Some(Dropped { object, cascade: sign == "+" })
}

fn cell<'a>(row: &'a SimpleQueryRow, name: &str) -> Option<&'a str> {
    row.columns().iter().position(|column| column.name() == name).and_then(|index| row.get(index))
}

/// Kept for statements of one kind: strongest lock by relation.
pub(super) fn strongest(locks: impl IntoIterator<Item = (Oid, LockMode)>) -> Vec<(Oid, LockMode)> {
    let mut strongest: BTreeMap<Oid, LockMode> = BTreeMap::new();
    for (oid, mode) in locks {
        let known = strongest.entry(oid).or_insert(mode);
        *known = mode.max(*known);
    }
    strongest.into_iter().collect()
}
