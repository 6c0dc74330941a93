//! The hazard classifier against the truth: each operation of `tests/fixtures/hazards` runs on a real server, where
//! its locks, rewrites and scans are measured, and the classifier must have said the same from the text alone.
#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use migengine_engine::diag::Severity;
use migengine_engine::hazard::{Blocks, Context, LockMode, LockOn, ObjectLock, StatementFacts, classify, learn};
use migengine_engine::sql::{self, Statement, TxRule};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::Cluster;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// So many rows read are a scan; the tables hold twice as many.
const SCAN: i64 = 10_000;

type Locks = BTreeMap<String, LockMode>;

/// What a statement does, measured or claimed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Truth {
    /// By table; those that hinder at least maintenance.
    locks: Locks,
    rewrite: bool,
    scan: bool,
}

impl Truth {
    fn dangerous(&self) -> bool {
        // EXCLUSIVE is taken on materialized views only, which nobody writes.
        let blocks = self.locks.values().any(|mode| mode.blocks() != Blocks::None && *mode != LockMode::Exclusive);
        self.rewrite || (self.scan && blocks)
    }

    fn show(&self) -> String {
        let short = |mode: LockMode| mode.as_sql().split(' ').map(|word| &word[..1]).collect::<String>();
        let locks: Vec<_> = self.locks.iter().map(|(table, mode)| format!("{table}:{}", short(*mode))).collect();
        let flag = |on: bool, name: &str| if on { format!(" {name}") } else { String::new() };
        format!("{}{}{}", locks.join(" "), flag(self.rewrite, "rewrite"), flag(self.scan, "scan"))
    }
}

/// One operation.
struct Fixture {
    name: String,
    setup: String,
    operation: String,
}

fn fixtures() -> Vec<Fixture> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/hazards");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if name == "setup" {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let (setup, operation) = text.split_once("-- operation\n").unwrap_or(("", &text));
        all.push(Fixture { name, setup: setup.to_owned(), operation: operation.to_owned() });
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

struct Bench {
    runtime: tokio::runtime::Runtime,
    client: Client,
    url: String,
    pid: String,
}

impl Bench {
    fn connect(runtime: &tokio::runtime::Runtime, url: &str) -> Client {
        let (client, connection) = runtime.block_on(tokio_postgres::connect(url, NoTls)).unwrap();
        runtime.spawn(async move { connection.await.ok() });
        client
    }

    fn new(url: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = Self::connect(&runtime, url);
        let mut bench = Self { runtime, client, url: url.to_owned(), pid: String::new() };
        bench.run(
            "SET max_parallel_maintenance_workers = 0; SET max_parallel_workers_per_gather = 0; SET timezone = 'UTC'",
        );
        // So that the sampler sees VACUUM at work.
        bench.run("SET vacuum_cost_delay = '2ms'; SET vacuum_cost_limit = 20");
        bench.pid = bench.rows("SELECT pg_backend_pid()")[0][0].clone();
        bench
    }

    fn run(&self, sql: &str) {
        self.runtime.block_on(self.client.batch_execute(sql)).unwrap_or_else(|error| {
            panic!("{error}: {:?}\nin: {sql}", error.as_db_error().map(tokio_postgres::error::DbError::message))
        });
    }

    fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        rows(&self.runtime, &self.client, sql)
    }

    /// Names of all tables, by object id, before anything of them is dropped or renamed.
    fn names(&self) -> BTreeMap<String, String> {
        let sql = "SELECT oid, relname FROM pg_class WHERE relkind IN ('r', 'p', 'm', 'v') AND oid >= 16384";
        self.rows(sql).into_iter().map(|row| (row[0].clone(), row[1].clone())).collect()
    }

    /// Files of the tables that hold something.
    fn files(&self) -> BTreeMap<String, String> {
        let sql = "SELECT oid, relfilenode FROM pg_class WHERE relkind IN ('r', 'm') AND oid >= 16384
                   AND pg_relation_size(oid) > 0";
        self.rows(sql).into_iter().map(|row| (row[0].clone(), row[1].clone())).collect()
    }

    fn read(&self, view: &str) -> i64 {
        let sql = format!("SELECT coalesce(sum(seq_tup_read), 0) FROM {view}");
        self.rows(&sql)[0][0].parse().unwrap()
    }

    fn in_transaction(&self, operation: &str) -> Truth {
        let (names, files) = (self.names(), self.files());
        self.run("BEGIN");
        let before = self.read("pg_stat_xact_user_tables");
        self.run(operation);
        let sql = format!("SELECT relation, mode FROM pg_locks WHERE locktype = 'relation' AND pid = {}", self.pid);
        let locks = strongest(&self.rows(&sql), &names);
        // A dropped table takes its count along, so a sum may shrink.
        let scan = self.read("pg_stat_xact_user_tables") - before >= SCAN;
        let rewrite = self.files().iter().any(|(oid, file)| files.get(oid).is_some_and(|before| before != file));
        self.run("ROLLBACK");
        // A rewrite reads all rows, possibly by an index.
        Truth { locks, rewrite, scan: scan || rewrite }
    }

    /// Watched from another session.
    fn outside(&self, operation: &str) -> Truth {
        let (names, files) = (self.names(), self.files());
        self.run("SELECT pg_stat_force_next_flush()");
        let before = self.read("pg_stat_user_tables");
        let done = Arc::new(AtomicBool::new(false));
        let ready = Arc::new(AtomicBool::new(false));
        let sampler = {
            let (url, pid, done, ready) = (self.url.clone(), self.pid.clone(), done.clone(), ready.clone());
            std::thread::spawn(move || sample(&url, &pid, &done, &ready))
        };
        while !ready.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.run(operation);
        done.store(true, Ordering::SeqCst);
        let locks = strongest(&sampler.join().unwrap(), &names);
        self.run("SELECT pg_stat_force_next_flush()");
        let scan = self.read("pg_stat_user_tables") - before >= SCAN;
        let rewrite = self.files().iter().any(|(oid, file)| files.get(oid).is_some_and(|before| before != file));
        Truth { locks, rewrite, scan: scan || rewrite }
    }

    /// Which tables a claim means, asked of the catalogs.
    fn resolve(&self, lock: &ObjectLock) -> Vec<String> {
        let name = lock.object.to_string().replace('\'', "''");
        let schema = lock.object.schema.clone().unwrap_or_default().replace('\'', "''");
        let bare = lock.object.name.replace('\'', "''");
        let class = format!("to_regclass('{name}')");
        let sql = match lock.on {
            LockOn::Itself => format!("SELECT {class}"),
            LockOn::Tree => format!(
                "WITH RECURSIVE tree AS (SELECT {class}::oid AS oid UNION ALL
                 SELECT inhrelid FROM pg_inherits JOIN tree ON inhparent = oid) SELECT oid FROM tree"
            ),
            LockOn::TableOfIndex => format!("SELECT indrelid FROM pg_index WHERE indexrelid = {class}"),
            LockOn::Referenced => format!("SELECT confrelid FROM pg_constraint WHERE contype = 'f' AND conrelid = {class}"),
            LockOn::Referencing => format!(
                "WITH RECURSIVE more AS (SELECT {class}::oid AS oid UNION
                 SELECT conrelid FROM pg_constraint JOIN more ON confrelid = more.oid WHERE contype = 'f') SELECT oid FROM more"
            ),
            LockOn::OtherSideOfConstraint => format!(
                "SELECT confrelid FROM pg_constraint WHERE conrelid = to_regclass('{schema}') AND conname = '{bare}'"
            ),
            LockOn::UsersOfDomain => format!(
                "SELECT attrelid FROM pg_attribute WHERE atttypid = to_regtype('{name}') AND attnum > 0"
            ),
            LockOn::ParentOf => format!("SELECT inhparent FROM pg_inherits WHERE inhrelid = {class}"),
        };
        let sql = format!(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p', 'm', 'v') AND oid IN (SELECT x::oid FROM ({sql}) AS s (x))"
        );
        self.rows(&sql).into_iter().map(|row| row[0].clone()).collect()
    }

    fn claim(&self, facts: &StatementFacts) -> Truth {
        let mut locks = Locks::new();
        for lock in facts.locks.iter().filter(|lock| lock.mode >= LockMode::RowExclusive) {
            for table in self.resolve(lock) {
                let mode = locks.entry(table).or_insert(lock.mode);
                *mode = (*mode).max(lock.mode);
            }
        }
        Truth { locks, rewrite: facts.rewrite, scan: facts.scan }
    }
}

fn rows(runtime: &tokio::runtime::Runtime, client: &Client, sql: &str) -> Vec<Vec<String>> {
    let messages = runtime.block_on(client.simple_query(sql)).unwrap_or_else(|error| panic!("{error}\nin: {sql}"));
    let mut rows = Vec::new();
    for message in messages {
        if let SimpleQueryMessage::Row(row) = message {
            rows.push((0..row.len()).map(|index| row.get(index).unwrap_or_default().to_owned()).collect());
        }
    }
    rows
}

fn strongest(found: &[Vec<String>], names: &BTreeMap<String, String>) -> Locks {
    let mut locks = Locks::new();
    for row in found {
        let (Some(name), Some(mode)) = (names.get(&row[0]), LockMode::from_pg_locks(&row[1])) else { continue };
        if mode >= LockMode::RowExclusive {
            let known = locks.entry(name.clone()).or_insert(mode);
            *known = (*known).max(mode);
        }
    }
    locks
}

/// Collects the locks of a session, granted or awaited, until told to stop. Two others stand in its way, so that locks
/// that are held for a moment only are awaited long enough to be seen: one until the first lock shows, one a little
/// longer.
fn sample(url: &str, pid: &str, done: &AtomicBool, ready: &AtomicBool) -> Vec<Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let [watcher, first, second] = [(); 3].map(|()| Bench::connect(&runtime, url));
    let tables =
        "SELECT string_agg(oid::regclass::text, ', ') FROM pg_class WHERE relkind IN ('r', 'p') AND oid >= 16384";
    let tables = rows(&runtime, &watcher, tables)[0][0].clone();
    rows(&runtime, &second, &format!("BEGIN; LOCK TABLE {tables} IN ACCESS SHARE MODE"));
    rows(&runtime, &first, &format!("BEGIN; LOCK TABLE {tables} IN SHARE UPDATE EXCLUSIVE MODE"));
    let start = std::time::Instant::now();
    let (mut until, mut held) = (None, true);
    let mut seen = BTreeSet::new();
    let sql = format!(
        "SELECT relation, mode FROM pg_locks WHERE locktype = 'relation' AND pid = {pid} AND relation >= 16384"
    );
    ready.store(true, Ordering::SeqCst);
    while !done.load(Ordering::SeqCst) {
        seen.extend(rows(&runtime, &watcher, &sql));
        if until.is_none() && (!seen.is_empty() || start.elapsed() > Duration::from_secs(2)) {
            std::thread::sleep(Duration::from_millis(20));
            seen.extend(rows(&runtime, &watcher, &sql));
            rows(&runtime, &first, "COMMIT");
            until = Some(start.elapsed() + Duration::from_millis(150));
        }
        if held && until.is_some_and(|until| start.elapsed() > until) {
            rows(&runtime, &second, "COMMIT");
            held = false;
        }
    }
    seen.into_iter().collect()
}

fn teach(context: &mut Context, text: &str) {
    for statement in &sql::split(text).statements {
        learn(context, text, statement);
    }
    context.applied();
}

#[test]
fn the_classifier_says_what_the_server_does() {
    let cluster = Cluster::shared();
    let database = cluster.database();
    let setup = include_str!("fixtures/hazards/setup.sql");
    database.psql(setup);
    let bench = Bench::new(&database.url());
    let mut context = Context::new(Some(15));
    teach(&mut context, setup);

    let (mut agreed, mut missed, mut alarms) = (0, Vec::new(), Vec::new());
    let (mut dangerous, mut unknown, mut other) = (0, Vec::new(), Vec::new());
    let all = fixtures();
    let mut table = String::new();
    for fixture in &all {
        bench.run(&fixture.setup);
        teach(&mut context, &fixture.setup);
        let split = sql::split(&fixture.operation);
        let statement: &Statement = &split.statements[0];
        let facts = classify(&fixture.operation, statement, &context);
        let claim = bench.claim(&facts);
        let inside = statement.class(&fixture.operation).tx == TxRule::Anywhere;
        let truth = if inside { bench.in_transaction(&fixture.operation) } else { bench.outside(&fixture.operation) };
        let warned = facts.findings.iter().any(|finding| finding.severity >= Severity::Warning);
        let hinted = facts.findings.iter().any(|finding| finding.cost.rewrite || finding.cost.scan);
        let same = claim == truth;
        agreed += usize::from(same);
        dangerous += usize::from(truth.dangerous());
        if truth.dangerous() && !warned {
            if facts.classified { missed.push(&fixture.name) } else { unknown.push(&fixture.name) }
        }
        if hinted && warned && !truth.dangerous() && !truth.scan {
            alarms.push(&fixture.name);
        }
        let alarm = alarms.last().is_some_and(|last| **last == fixture.name);
        table.push_str(&format!("{}\t{}\t{warned}\t{alarm}\n", fixture.name, truth.dangerous()));
        let codes: Vec<_> = facts.findings.iter().map(|finding| finding.code).collect();
        let mark = if same { "=" } else { "#" };
        println!("{mark} {:32} {:44} {}", fixture.name, truth.show(), codes.join(" "));
        if !same {
            println!("    claimed: {}", claim.show());
            other.push(&fixture.name);
        }
    }
    let count = all.len();
    println!(
        "{agreed} of {count} agree; {dangerous} are dangerous; missed {missed:?}; not classified {unknown:?}; false alarms {alarms:?}"
    );
    // For scripts/compare-linters.sh: name, dangerous, found, false alarm.
    if let Some(path) = std::env::var_os("MIGENGINE_LINT_TABLE") {
        std::fs::write(path, table).unwrap();
    }
    assert!(count >= 100, "only {count} fixtures");
    assert!(agreed * 100 >= count * 95, "{agreed} of {count} agree, but not {other:?}");
    assert_eq!(missed, Vec::<&String>::new(), "known kinds that are dangerous");
    assert!(alarms.len() * 100 <= count * 3, "false alarms: {alarms:?}");
}
