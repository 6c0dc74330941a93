//! The lock guard against a real server: whoever uses the tables must not notice a migration.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use support::project::collect;
use support::{Cluster, Database, Options, Output, Project, kill_nine, wait_until};

/// The slack for a machine that does other things too. Without the guard each of these stalls lasts for seconds.
const NOTICEABLE: Duration = Duration::from_millis(500);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A session that does what it is told and stays.
struct Holder {
    psql: Child,
    stdin: ChildStdin,
}

impl Holder {
    /// Runs SQL in a session of its own, and waits until somebody holds a lock on `table`.
    fn new(database: &Database<'_>, sql: &str, table: &str) -> Self {
        let mut psql = database.cluster().program("psql");
        psql.args(["-qXAt", "-d", &database.url()]).env("PGAPPNAME", "holder");
        let mut psql = psql.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut stdin = psql.stdin.take().unwrap();
        writeln!(stdin, "{sql}").unwrap();
        let held = format!(
            "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE relation = '{table}'::regclass \
             AND granted AND application_name = 'holder'"
        );
        wait_until("somebody holds the table", Duration::from_secs(20), || database.psql(&held) != "0");
        Self { psql, stdin }
    }

    fn say(&mut self, sql: &str) {
        writeln!(self.stdin, "{sql}").unwrap();
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.psql.kill().ok();
        self.psql.wait().ok();
    }
}

/// The application: asks the same question again and again, and notes how long it had to wait.
struct App {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl App {
    fn start(database: &Database<'_>, sql: &str) -> Self {
        let (url, sql) = (database.url(), sql.to_owned());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
                let driving = tokio::spawn(connection);
                let mut longest = Duration::ZERO;
                while !stopped.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    client.simple_query(&sql).await.unwrap();
                    longest = longest.max(asked.elapsed());
                    tokio::time::sleep(ms(5)).await;
                }
                driving.abort();
                longest
            })
        });
        Self { stop, thread }
    }

    fn longest_wait(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn users(database: &Database<'_>, rows: u32) {
    database.psql(&format!(
        "CREATE TABLE users (id int PRIMARY KEY, name text); \
         INSERT INTO users SELECT i, 'user ' || i FROM generate_series(1, {rows}) i; VACUUM ANALYZE users"
    ));
}

const READ: &str = "SELECT name FROM users WHERE id = 1";

fn columns(database: &Database<'_>) -> String {
    database.psql("SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'users'::regclass AND attnum > 0 AND NOT attisdropped")
}

fn apply(project: &Project, more: &[&str]) -> (Output, Duration) {
    let began = Instant::now();
    let output = project.run(&[&["apply", "--yes", "--format", "json"], more].concat());
    println!("{output}");
    (output, began.elapsed())
}

#[test]
fn a_change_behind_a_long_reader_is_not_noticed() {
    let database = Cluster::shared().database();
    users(&database, 1_000);
    let project = Project::new(&database);
    project.pair("001_a", "ALTER TABLE users ADD COLUMN a int;", "ALTER TABLE users DROP COLUMN a;");
    let _reader = Holder::new(&database, "BEGIN; SELECT count(*) FROM users; SELECT pg_sleep(3); COMMIT;", "users");
    let app = App::start(&database, READ);
    let (output, took) = apply(&project, &[]);
    let stall = app.longest_wait();
    println!("longest wait of the application: {stall:?}, the migration took {took:?}");
    let output = output.expect(0);
    assert!(took > ms(2_000), "it did not wait for the reader: {took:?}");
    assert!(stall < NOTICEABLE, "{stall:?}");
    assert!(output.stderr.contains("waits, without queueing up") && output.stderr.contains("\"holder\""), "{output}");
    assert_eq!(columns(&database), "id,name,a");
}

#[test]
fn the_way_back_is_guarded_too() {
    let database = Cluster::shared().database();
    users(&database, 10);
    let project = Project::new(&database);
    project.pair("001_a", "ALTER TABLE users ADD COLUMN a int;", "ALTER TABLE users DROP COLUMN a;");
    project.run(&["apply", "--yes"]).expect(0);
    let _reader = Holder::new(&database, "BEGIN; SELECT count(*) FROM users; SELECT pg_sleep(2); COMMIT;", "users");
    let app = App::start(&database, READ);
    let output = project.run(&["rollback", "--last", "1", "--yes"]).expect(0);
    let stall = app.longest_wait();
    println!("longest wait of the application: {stall:?}");
    assert!(stall < NOTICEABLE, "{stall:?}");
    assert!(output.stderr.contains("waits, without queueing up"), "{output}");
    assert_eq!(columns(&database), "id,name");
}

#[test]
fn a_script_by_parts_is_guarded_too() {
    let database = Cluster::shared().database();
    users(&database, 10);
    let project = Project::new(&database);
    let script =
        "-- Transaction: false\n\nCREATE INDEX CONCURRENTLY i ON users (name);\nALTER TABLE users ADD COLUMN a int;\n";
    project.write("001_a.sql", script);
    let _reader = Holder::new(&database, "BEGIN; SELECT count(*) FROM users; SELECT pg_sleep(2); COMMIT;", "users");
    let app = App::start(&database, READ);
    let (output, _) = apply(&project, &[]);
    let stall = app.longest_wait();
    println!("longest wait of the application: {stall:?}");
    output.expect(0);
    assert!(stall < NOTICEABLE, "{stall:?}");
    assert_eq!(columns(&database), "id,name,a");
}

#[test]
fn what_the_guard_could_not_foresee_is_tried_again() {
    let database = Cluster::shared().database();
    users(&database, 10);
    let project = Project::new(&database);
    project.write("001_a.sql", "DO $$ BEGIN EXECUTE 'ALTER TABLE users ADD COLUMN a int'; END $$;");
    project.write("002_b.sql", "ALTER TABLE users ADD COLUMN b int;");
    let _reader = Holder::new(&database, "BEGIN; SELECT count(*) FROM users; SELECT pg_sleep(2); COMMIT;", "users");
    let app = App::start(&database, READ);
    let (output, _) = apply(&project, &[]);
    let stall = app.longest_wait();
    println!("longest wait of the application: {stall:?}");
    let json = output.expect(0).json();
    assert!(stall < NOTICEABLE, "{stall:?}");
    assert!(json["steps"][0]["attempts"].as_u64().unwrap() > 1, "{json}");
    assert_eq!(json["state"], "Committed");
    assert_eq!(columns(&database), "id,name,a,b");
}

#[test]
fn readers_that_overlap_for_ever_are_named_and_left_alone() {
    let database = Cluster::shared().database();
    users(&database, 10);
    let project = Project::new(&database);
    project.write("001_a.sql", "ALTER TABLE users ADD COLUMN a int;");
    let _first =
        Holder::new(&database, &"BEGIN; SELECT count(*) FROM users; SELECT pg_sleep(0.7); COMMIT;".repeat(30), "users");
    sleep(ms(300));
    let _second =
        Holder::new(&database, &"BEGIN; SELECT count(*) FROM users; SELECT pg_sleep(0.7); COMMIT;".repeat(30), "users");
    let app = App::start(&database, READ);
    let (output, took) = apply(&project, &["--lock-wait", "3s"]);
    let stall = app.longest_wait();
    println!("longest wait of the application: {stall:?}, gave up after {took:?}");
    let json = output.expect(7).json();
    assert_eq!(json["error"]["code"], "ME430", "{json}");
    let message = json["error"]["message"].as_str().unwrap();
    assert!(message.contains("pid ") && message.contains("\"holder\"") && message.contains("holds users"), "{message}");
    assert!(stall < NOTICEABLE && took > ms(2_500), "{stall:?} {took:?}");
    assert_eq!(columns(&database), "id,name");
}

#[test]
fn an_idle_transaction_is_named_and_ended_where_that_is_asked_for() {
    let database = Cluster::shared().database();
    users(&database, 10);
    let project = Project::new(&database);
    project.write("001_a.sql", "ALTER TABLE users ADD COLUMN a int;");
    let mut idle = Holder::new(&database, "BEGIN; SELECT count(*) FROM users;", "users");
    sleep(ms(150));
    let (output, _) = apply(&project, &["--lock-wait", "1s"]);
    let json = output.clone().expect(7).json();
    assert_eq!(json["error"]["code"], "ME430", "{json}");
    assert!(json["error"]["message"].as_str().unwrap().contains("idle in transaction for"), "{json}");
    assert!(json["error"]["hint"].as_str().unwrap().contains("--on-blocker terminate"), "{json}");
    assert!(output.stderr.contains("guard     001_a: waits"), "{output}");
    idle.say("SELECT count(*) FROM users;");
    let (output, _) = apply(&project, &["--resume", "--on-blocker", "terminate"]);
    let output = output.expect(0);
    assert!(output.stderr.contains("ended, as asked for: pid"), "{output}");
    assert_eq!(columns(&database), "id,name,a");
}

#[test]
fn a_forgotten_prepared_transaction_is_named_at_once() {
    let cluster =
        Cluster::start_with(Options { conf: vec!["max_prepared_transactions = 2".to_owned()], ..Options::default() });
    let database = cluster.database();
    users(&database, 10);
    let project = Project::new(&database);
    project.write("001_a.sql", "ALTER TABLE users ADD COLUMN a int;");
    database.psql("BEGIN; UPDATE users SET name = '' WHERE id = 1; PREPARE TRANSACTION 'forgotten'");
    sleep(ms(5_100));
    let (output, took) = apply(&project, &[]);
    let json = output.expect(7).json();
    assert_eq!(json["error"]["code"], "ME432", "{json}");
    assert!(json["error"]["message"].as_str().unwrap().contains("'forgotten'"), "{json}");
    assert!(took < Duration::from_secs(30), "{took:?}");
    database.psql("ROLLBACK PREPARED 'forgotten'");
    apply(&project, &["--resume"]).0.expect(0);
}

#[test]
fn a_rewrite_that_keeps_the_application_waiting_is_cancelled_and_explained() {
    let database = Cluster::shared().database();
    users(&database, 600_000);
    let project = Project::new(&database);
    project.write("001_a.sql", "ALTER TABLE users ALTER COLUMN id TYPE bigint;");
    let app = App::start(&database, READ);
    let (output, _) = apply(&project, &["--lock-budget", "100ms"]);
    let stall = app.longest_wait();
    println!("longest wait of the application: {stall:?}");
    let json = output.expect(7).json();
    assert_eq!(json["error"]["code"], "ME431", "{json}");
    assert_eq!(json["error"]["sqlstate"], "57014", "{json}");
    assert!(json["error"]["hint"].as_str().unwrap().len() > 40, "no recipe: {json}");
    assert!(stall < ms(900), "{stall:?}");
    let unchanged =
        "SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = 'users'::regclass AND attname = 'id'";
    assert_eq!(database.psql(unchanged), "integer");
}

#[test]
fn a_concurrent_build_may_wait_for_old_transactions() {
    let database = Cluster::shared().database();
    users(&database, 10);
    let project = Project::new(&database);
    project.write("001_a.sql", "CREATE INDEX CONCURRENTLY i ON users (name);");
    let _reader = Holder::new(&database, "BEGIN; SELECT count(*) FROM users; SELECT pg_sleep(2); COMMIT;", "users");
    let (output, took) = apply(&project, &["--lock-budget", "50ms", "--lock-wait", "1s"]);
    output.expect(0);
    assert!(took > ms(1_000), "{took:?}");
    assert_eq!(database.psql("SELECT indisvalid FROM pg_index WHERE indexrelid = 'i'::regclass"), "t");
}

#[test]
fn a_killed_runner_leaves_nothing_in_the_queue() {
    let database = Cluster::shared().database();
    users(&database, 10);
    let project = Project::new(&database);
    // Not foreseen, and patient: it queues up.
    let script = "-- Lock-timeout: 1m\n\nDO $$ BEGIN EXECUTE 'ALTER TABLE users ADD COLUMN a int'; END $$;";
    project.write("001_a.sql", script);
    let mut reader = Holder::new(&database, "BEGIN; SELECT count(*) FROM users;", "users");
    let runner = project.spawn(&["apply", "--yes"]);
    let queued =
        || database.psql("SELECT count(*) FROM pg_locks WHERE relation = 'users'::regclass AND NOT granted") != "0";
    wait_until("the runner queues up", Duration::from_secs(20), queued);
    kill_nine(runner);
    wait_until("the queue is empty", Duration::from_secs(10), || !queued());
    reader.say("COMMIT;");
    sleep(ms(300));
    assert_eq!(columns(&database), "id,name");
    apply(&project, &["--resume"]).0.expect(0);
    assert_eq!(columns(&database), "id,name,a");
}

#[test]
fn autovacuum_is_made_to_give_way() {
    let conf = ["autovacuum_naptime = 1s", "autovacuum_vacuum_cost_limit = 1", "log_autovacuum_min_duration = 0"];
    let cluster = Cluster::start_with(Options { conf: conf.map(str::to_owned).to_vec(), ..Options::default() });
    let database = cluster.database();
    database.psql(
        "CREATE TABLE users (id int PRIMARY KEY, name text) WITH (autovacuum_vacuum_threshold = 1, \
         autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1); \
         INSERT INTO users SELECT i, repeat('x', 500) FROM generate_series(1, 20000) i; UPDATE users SET name = name || 'y'",
    );
    let at_work = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) \
        WHERE backend_type = 'autovacuum worker' AND relation = 'users'::regclass AND mode = 'ShareUpdateExclusiveLock'";
    wait_until("autovacuum begins", Duration::from_secs(60), || database.psql(at_work) != "0");
    let project = Project::new(&database);
    project.write("001_a.sql", "ALTER TABLE users ADD COLUMN a int;");
    let app = App::start(&database, READ);
    let (output, took) = apply(&project, &[]);
    let stall = app.longest_wait();
    println!("longest wait of the application: {stall:?}, the migration took {took:?}");
    let output = output.expect(0);
    assert!(output.stderr.contains("makes autovacuum give way"), "{output}");
    assert!(stall < NOTICEABLE && took < Duration::from_secs(8), "{stall:?} {took:?}");
    assert!(cluster.log().contains("canceling autovacuum task"), "autovacuum was not in the way");
}

#[test]
fn a_role_that_sees_only_itself_goes_on_with_time_limits() {
    let database = Cluster::shared().database();
    users(&database, 10);
    let role = format!("plain_{}", database.name());
    database.psql(&format!(
        "CREATE ROLE {role} LOGIN; ALTER TABLE users OWNER TO {role}; GRANT ALL ON DATABASE {} TO {role}; \
         GRANT ALL ON SCHEMA public TO {role}",
        database.name()
    ));
    let project = Project::with_url(&database.url().replace("user=postgres", &format!("user={role}")));
    project.write("001_a.sql", "ALTER TABLE users ADD COLUMN a int;");
    let _reader = Holder::new(&database, "BEGIN; SELECT count(*) FROM users; SELECT pg_sleep(2); COMMIT;", "users");
    let app = App::start(&database, READ);
    let (output, _) = apply(&project, &[]);
    let stall = app.longest_wait();
    println!("longest wait of the application: {stall:?}");
    let output = output.expect(0);
    assert!(output.stderr.contains("this role sees only its own sessions"), "{output}");
    assert!(stall < NOTICEABLE, "{stall:?}");
    assert_eq!(columns(&database), "id,name,a");
}

#[test]
fn limits_that_would_mean_no_limit_are_refused() {
    let database = Cluster::shared().database();
    let project = Project::new(&database);
    project.write("001_a.sql", "SELECT 1;");
    for flag in ["--lock-budget", "--lock-timeout"] {
        let output = project.run(&["apply", "--yes", flag, "0s"]).expect(2);
        assert!(output.stderr.contains("1ms at least"), "{output}");
    }
    std::fs::write(project.path().join("migengine.toml"), "lock_budget = \"0s\"\n").unwrap();
    project.run(&["apply", "--yes"]).expect(2);
    std::fs::remove_file(project.path().join("migengine.toml")).unwrap();
    project.write("001_a.sql", "-- Lock-budget: 0s\n\nSELECT 1;");
    let output = project.run(&["apply", "--yes"]).expect(5);
    assert!(output.stderr.contains("001_a.sql:1:") && output.stderr.contains("1ms at least"), "{output}");
}

#[test]
fn what_the_guard_did_is_in_the_journal_of_the_database() {
    let database = Cluster::shared().database();
    users(&database, 10);
    let project = Project::new(&database);
    project.write("001_a.sql", "ALTER TABLE users ADD COLUMN a int;");
    let reader = Holder::new(&database, "BEGIN; SELECT count(*) FROM users;", "users");
    sleep(ms(150));
    let runner = project.spawn(&["apply", "--yes"]);
    let noted = "SELECT count(*) FROM migengine.record WHERE kind = 'noted'";
    sleep(ms(1_000));
    drop(reader);
    collect(runner).expect(0);
    assert_ne!(database.psql(noted), "0");
}

#[test]
fn each_environment_has_limits_of_its_own_and_the_header_wins() {
    let database = Cluster::shared().database();
    users(&database, 10);
    let project = Project::new(&database);
    let config = "lock_wait = \"10m\"\n\n[env.quick]\nlock_wait = \"300ms\"\n";
    std::fs::write(project.path().join("migengine.toml"), config).unwrap();
    project.pair("001_a", "ALTER TABLE users ADD COLUMN a int;", "ALTER TABLE users DROP COLUMN a;");
    let _idle = Holder::new(&database, "BEGIN; SELECT count(*) FROM users;", "users");
    let (output, _) = apply(&project, &["--env", "quick"]);
    let output = output.expect(7);
    assert!(output.stderr.contains("ME430") && output.stderr.contains("within 300 ms"), "{output}");
    project.pair(
        "001_a",
        "-- Lock-wait: 200ms\n\nALTER TABLE users ADD COLUMN a int;",
        "ALTER TABLE users DROP COLUMN a;",
    );
    let output = project.run(&["apply", "--resume"]).expect(7);
    assert!(output.stderr.contains("within 200 ms"), "{output}");
}

/// Passes bytes on between the program and the server, and misspells one word of the program's.
fn misspelling(database: &Database<'_>, folder: &std::path::Path, word: &'static str) -> String {
    let cluster = database.cluster();
    let name = format!(".s.PGSQL.{}", cluster.port());
    let (listener, server) = (UnixListener::bind(folder.join(&name)).unwrap(), cluster.dir().join(&name));
    spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = UnixStream::connect(&server) else { break };
            let (mut from, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            spawn(move || {
                std::io::copy(&mut from, &mut to).ok();
                to.shutdown(std::net::Shutdown::Both).ok();
            });
            let (mut from, mut to) = (client, server);
            spawn(move || {
                let mut piece = vec![0; 1 << 20];
                while let Ok(read @ 1..) = from.read(&mut piece) {
                    let said = &mut piece[..read];
                    for at in 0..=said.len().saturating_sub(word.len()) {
                        if said[at..].starts_with(word.as_bytes()) {
                            said[at] = b'x';
                        }
                    }
                    if to.write_all(said).is_err() {
                        break;
                    }
                }
                to.shutdown(std::net::Shutdown::Both).ok();
            });
        }
    });
    let host = cluster.dir().display().to_string();
    database.url().replace(&host, &folder.display().to_string())
}

/// As managed services do with settings that they keep to themselves.
#[test]
fn a_refused_setting_is_told_once_and_the_rest_goes_on() {
    let database = Cluster::shared().database();
    users(&database, 10);
    let folder = tempfile::Builder::new().prefix("me-proxy-").tempdir_in("/tmp").unwrap();
    let project = Project::with_url(&misspelling(&database, folder.path(), "client_connection_check_interval"));
    project.write("001_a.sql", "ALTER TABLE users ADD COLUMN a int;");
    project.write("002_b.sql", "ALTER TABLE users ADD COLUMN b int;");
    // Somebody is in the way, so that the guard opens its own session too.
    let _reader = Holder::new(&database, "BEGIN; SELECT count(*) FROM users; SELECT pg_sleep(1); COMMIT;", "users");
    let (output, _) = apply(&project, &[]);
    let output = output.expect(0);
    let told = output.stderr.matches("refused the setting xlient_connection_check_interval").count()
        + output.stderr.matches("refused the setting client_connection_check_interval").count();
    assert_eq!(told, 1, "{output}");
    assert_eq!(columns(&database), "id,name,a,b");
    let lease = "SELECT count(*) FROM migengine.history WHERE state = 'applied'";
    assert_eq!(database.psql(lease), "2");
}

#[test]
fn several_tables_are_locked_before_anything_is_done_and_what_it_cost_is_kept() {
    let database = Cluster::shared().database();
    users(&database, 1_000);
    database.psql("CREATE TABLE teams (id int PRIMARY KEY); CREATE TABLE log (what text)");
    // While the later table is not free, the step must hold nothing: the earlier one would keep its users waiting.
    let mut reader = Holder::new(&database, "BEGIN; SELECT count(*) FROM teams;", "teams");
    let project = Project::new(&database);
    let script = "ALTER TABLE teams ADD COLUMN a int;\nALTER TABLE users ADD COLUMN a int;\n\
        CREATE TABLE big AS SELECT i, repeat('x', 100) AS x FROM generate_series(1, 20000) i;\n";
    project.write("001_a.sql", script);
    let child = project.command(&["apply", "--yes", "--lock-wait", "1m"]).spawn().unwrap();
    wait_until("it waits", Duration::from_secs(30), || {
        database.psql("SELECT count(*) FROM pg_stat_activity WHERE application_name ~ 'guard$'") != "0"
    });
    reader.say("COMMIT;");
    let output = collect(child).expect(0);
    assert_eq!(columns(&database), "id,name,a");
    assert!(output.stderr.contains("  figures   001_a: held locks for"), "{output}");
    let shown = project.run_json(&["journal", "show", "last"], 0);
    let figures = &shown["runs"][0]["steps"][0]["figures"];
    let number = |name: &str| figures[name].as_u64().unwrap_or_else(|| panic!("no {name}: {shown}"));
    assert!(number("wal_bytes") > 1 << 20, "{figures}");
    assert!(number("rows") >= 20_000, "{figures}");
    assert!(number("size_after") >= number("size_before"), "{figures}");
    // The server's own trace of the locks: by OID, whatever the order of the script.
    database.psql("ALTER TABLE users ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES teams");
    let order = database.psql(
        "BEGIN; SELECT migengine.lock_first(ARRAY['teams', 'nowhere', 'users'], ARRAY['SHARE', 'SHARE', 'ACCESS EXCLUSIVE'], \
         ARRAY[false, false, false]); SELECT string_agg(relation::regclass || ' ' || mode, ', ' ORDER BY relation) FROM pg_locks \
         WHERE pid = pg_backend_pid() AND relation IN ('users'::regclass, 'teams'::regclass); ROLLBACK",
    );
    assert_eq!(order.trim(), "users AccessExclusiveLock, teams ShareLock");
}
