//! Statements that run in pieces, against a real server: every row exactly once whatever happens, nobody kept waiting,
//! and a clear word about what cannot be divided.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use support::project::collect;
use support::standby::{self, Standby};
use support::{Cluster, Database, Output, Project, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

/// A table of `rows` rows with a number that counts how often each was changed.
fn numbers(database: &Database<'_>, rows: u32) {
    database.psql(&format!(
        "CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0, name text); \
         INSERT INTO t SELECT i, 0, 'N' || i FROM generate_series(1, {rows}) i; ANALYZE t"
    ));
}

/// How many rows were changed how often: `0:3 1:997`.
fn counts(database: &Database<'_>) -> String {
    database
        .psql("SELECT string_agg(n || ':' || c, ' ' ORDER BY n) FROM (SELECT n, count(*) AS c FROM t GROUP BY n) AS x")
}

const UP: &str = "-- chunk: t by id, size 100, max-size 150\nUPDATE t SET n = n + 1;\n";
const DOWN: &str = "-- chunk: t by id, size 100, max-size 150\nUPDATE t SET n = n - 1 WHERE n > 0;\n";

fn scene(rows: u32, up: &str, down: &str) -> (Database<'static>, Project) {
    let database = Cluster::shared().database();
    numbers(&database, rows);
    let project = Project::new(&database);
    project.pair("001_t", up, down);
    (database, project)
}

fn crash(project: &Project, at: &str, args: &[&str]) {
    let output = collect(project.command(args).env("MIGENGINE_CRASH_AT", at).spawn().unwrap());
    assert_eq!(output.code, None, "it must be killed at {at}: {output}");
}

#[test]
fn every_row_is_changed_once_though_the_runner_is_killed_again_and_again() {
    let (database, project) = scene(1_000, UP, DOWN);
    crash(&project, "chunk.before:1", &["apply", "--yes"]);
    for at in ["chunk.after:1", "chunk.before:3", "chunk.answered:2", "chunk.after:2", "chunk.answered:1"] {
        crash(&project, at, &["apply", "--resume"]);
    }
    let half = counts(&database);
    assert!(half.contains("0:") && half.contains("1:"), "it must stand half-way: {half}");
    let output = project.run(&["apply", "--resume"]).expect(0);
    assert_eq!(counts(&database), "1:1000", "{output}");
    assert!(output.stderr.contains("1000 rows changed"), "{output}");
    crash(&project, "chunk.answered:2", &["rollback", "--last", "1", "--yes"]);
    crash(&project, "chunk.after:2", &["rollback", "--resume"]);
    project.run(&["rollback", "--resume"]).expect(0);
    assert_eq!(counts(&database), "0:1000");
    // A new life begins at the beginning.
    project.run(&["apply", "--yes"]).expect(0);
    assert_eq!(counts(&database), "1:1000");
}

#[test]
fn a_run_that_stopped_between_two_pieces_can_be_taken_back() {
    let (database, project) = scene(1_000, UP, DOWN);
    crash(&project, "chunk.after:4", &["apply", "--yes"]);
    assert!(counts(&database).contains("0:"), "{}", counts(&database));
    let run = database.psql("SELECT run_id FROM migengine.run");
    project.run(&["rollback", "--run", &run, "--yes"]).expect(0);
    assert_eq!(counts(&database), "0:1000");
    assert_eq!(database.psql("SELECT count(*) FROM migengine.history"), "0");
}

#[test]
fn keys_of_any_type_and_of_several_columns_divide() {
    let database = Cluster::shared().database();
    let keys = [
        ("a bigint", "i * 7 - 900", "a"),
        ("a text", "md5(i::text)", "a"),
        ("a text COLLATE \"C\"", "chr(97 + i % 26) || 'Ä''\\' || i", "a"),
        ("a uuid", "md5(i::text)::uuid", "a"),
        ("a timestamptz", "now() - i * interval '1.000001 s'", "a"),
        ("a numeric", "i / 7.0", "a"),
        ("a float8", "1 / i::float8", "a"),
        ("a bytea", "decode(md5(i::text), 'hex')", "a"),
        ("a date, b int", "date '2026-01-01' + i / 10, i", "(a, b)"),
        ("\"Odd \"\"one\" uuid, b text", "md5((i / 9)::text)::uuid, 'x' || i", "(\"Odd \"\"one\", b)"),
        ("a inet", "inet '10.0.0.0' + i", "a"),
    ];
    let project = Project::new(&database);
    for (number, (columns, values, key)) in (1..).zip(keys) {
        let names = key.trim_matches(['(', ')']);
        database.psql(&format!(
            "CREATE TABLE k{number} ({columns}, n int NOT NULL DEFAULT 0, PRIMARY KEY ({names})); \
             INSERT INTO k{number} SELECT {values} FROM generate_series(1, 300) i"
        ));
        let up = format!(
            "SET DateStyle = 'SQL, DMY';\n-- chunk: k{number} by {key}, size 40, max-size 50\nUPDATE k{number} AS x SET n = x.n + 1;\n"
        );
        project.pair(&format!("{number:03}_k"), &up, "SELECT 1;\n");
    }
    project.run(&["apply", "--yes"]).expect(0);
    for number in 1..=keys.len() {
        let sql = format!(
            "SELECT count(*) FILTER (WHERE n = 1), count(*), (SELECT batches > 5 FROM migengine.progress WHERE id = '{number:03}_k') FROM k{number}"
        );
        assert_eq!(database.psql(&sql), "300|300|t", "{:?}", keys[number - 1]);
    }
}

#[test]
fn a_marked_insert_copies_each_row_once() {
    let up = "CREATE TABLE copy (id int, low text);\n\
        -- chunk: t by id, size 100\n\
        INSERT INTO copy SELECT x.id, lower(x.name) FROM t AS x JOIN (SELECT 1 AS id) AS one ON true WHERE x.n = 0 AND true /*chunk*/;\n";
    let (database, project) = scene(1_000, up, "DROP TABLE copy;\n");
    crash(&project, "chunk.after:3", &["apply", "--yes"]);
    project.run(&["apply", "--resume"]).expect(0);
    assert_eq!(database.psql("SELECT count(*), count(DISTINCT id), min(low) FROM copy"), "1000|1000|n1");
}

#[test]
fn rows_that_come_in_behind_are_swept_and_the_verify_query_is_asked() {
    let up = "-- chunk: t by id, size 100\n\
        -- verify: SELECT NOT EXISTS (SELECT FROM t WHERE low IS NULL)\n\
        UPDATE t SET low = lower(name) WHERE low IS NULL;\n";
    let (database, project) = scene(1_000, up, "UPDATE t SET low = NULL;\n");
    database.psql(
        "ALTER TABLE t ADD COLUMN low text; \
         CREATE FUNCTION behind() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
           INSERT INTO t VALUES (-new.id, 0, 'B' || new.id) ON CONFLICT DO NOTHING; RETURN NULL; END $$; \
         CREATE TRIGGER behind AFTER UPDATE ON t FOR EACH ROW WHEN (new.id IN (500, 900)) EXECUTE FUNCTION behind()",
    );
    let output = project.run(&["apply", "--yes"]).expect(0);
    assert_eq!(database.psql("SELECT count(*), count(low) FROM t"), "1002|1002", "{output}");
    assert_eq!(database.psql("SELECT rows, finished FROM migengine.progress"), "1002|t");
}

#[test]
fn what_is_left_over_fails_the_step_and_is_swept_when_it_goes_on() {
    let up = "-- chunk: t by id, size 500\n\
        -- verify: SELECT NOT EXISTS (SELECT FROM t WHERE name = 'left')\n\
        DELETE FROM t WHERE name = 'N7' OR (name = 'left' AND n = 1);\n";
    let (database, project) = scene(1_000, up, "SELECT 1;\n");
    database.psql("INSERT INTO t VALUES (5000, 0, 'left')");
    let output = project.run(&["apply", "--yes"]).expect(7);
    assert!(output.stderr.contains("ME442") && output.stderr.contains("001_t.sql:3"), "{output}");
    assert_eq!(database.psql("SELECT count(*) FROM t"), "1000");
    database.psql("UPDATE t SET n = 1 WHERE id = 5000");
    project.run(&["apply", "--resume"]).expect(0);
    assert_eq!(database.psql("SELECT count(*) FROM t"), "999");
}

#[test]
fn the_one_bad_row_is_named_and_all_before_it_is_kept() {
    let up = "-- chunk: t by id, size 300\nUPDATE t SET n = n + 1 / (length(name) - 3);\n";
    let (database, project) = scene(1_000, up, "-- chunk: t by id\nUPDATE t SET n = 0;\n");
    database.psql("UPDATE t SET name = 'xxxx'; UPDATE t SET name = 'bad' WHERE id = 777");
    let output = project.run(&["apply", "--yes", "--format", "json"]).expect(7);
    assert!(output.stderr.contains("ME439") && output.stderr.contains("(id) = (777)"), "{output}");
    assert!(output.stderr.contains("22012") && output.stderr.contains("001_t.sql:2"), "{output}");
    assert_eq!(counts(&database), "0:224 1:776", "{output}");
    database.psql("UPDATE t SET name = 'good' WHERE id = 777");
    project.run(&["apply", "--resume"]).expect(0);
    assert_eq!(counts(&database), "1:1000");
}

#[test]
fn a_locked_row_and_a_cancelled_batch_cost_a_try_and_nothing_else() {
    let (database, project) = scene(1_000, UP, DOWN);
    database.psql("CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.002); RETURN new; END $$; \
         CREATE TRIGGER slow BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION slow()");
    let url = database.url();
    let psql = Cluster::shared()
        .program("psql")
        .args([
            "-qXAt",
            "-d",
            &url,
            "-c",
            "BEGIN",
            "-c",
            "SELECT id FROM t WHERE id = 350 FOR UPDATE",
            "-c",
            "SELECT pg_sleep(1.5)",
            "-c",
            "COMMIT",
        ])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the row is locked", PATIENCE, || {
        database.psql(
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(1.5)%' AND pid <> pg_backend_pid()",
        ) != "0"
    });
    let child = project.spawn(&["apply", "--yes"]);
    wait_until("a batch runs", PATIENCE, || {
        database.psql("SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'UPDATE t SET n%' AND state = 'active'") != "0"
    });
    let output: Output = collect(child).expect(0);
    drop(psql.wait_with_output());
    assert!(output.stderr.contains("trying again with"), "{output}");
    assert_eq!(counts(&database), "1:1000", "{output}");
}

#[test]
fn pause_and_resume_work_from_anywhere() {
    let (database, project) = scene(1_000, UP, DOWN);
    let refused = project.run(&["pause"]).expect(5);
    assert!(refused.stderr.contains("ME443"), "{refused}");
    crash(&project, "chunk.after:2", &["apply", "--yes"]);
    let before = counts(&database);
    let elsewhere = Project::new(&database);
    elsewhere.run(&["pause", "--reason", "payday"]).expect(0);
    assert!(elsewhere.run(&["pause"]).expect(0).stderr.contains("already"));
    let mut child = project.spawn(&["apply", "--resume"]);
    wait_until("the runner holds", PATIENCE, || {
        database.psql(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name ~ '^migengine:' AND query = 'COMMIT' \
            AND state = 'idle' AND clock_timestamp() - state_change > '200 ms'",
        ) != "0"
    });
    assert_eq!(counts(&database), before);
    assert!(child.try_wait().unwrap().is_none(), "it must wait");
    elsewhere.run(&["resume"]).expect(0);
    let output = collect(child).expect(0);
    assert!(output.stderr.contains("payday") && output.stderr.contains("goes on"), "{output}");
    assert_eq!(counts(&database), "1:1000");
    assert!(elsewhere.run(&["resume"]).expect(0).stderr.contains("nothing was paused"));
}

#[test]
fn the_authors_throttle_query_holds_the_work() {
    let up = "-- chunk: t by id, size 100\n-- throttle: SELECT busy FROM load\nUPDATE t SET n = n + 1;\n";
    let (database, project) = scene(500, up, DOWN);
    database.psql("CREATE TABLE load AS SELECT true AS busy");
    let mut child = project.spawn(&["apply", "--yes"]);
    wait_until("the query is asked", PATIENCE, || {
        database.psql("SELECT count(*) FROM pg_stat_user_tables WHERE relname = 'load' AND seq_scan > 2") != "0"
    });
    assert_eq!(counts(&database), "0:500");
    assert!(child.try_wait().unwrap().is_none(), "it must wait");
    database.psql("UPDATE load SET busy = false");
    let output = collect(child).expect(0);
    assert!(output.stderr.contains("holds: the script's own throttle query"), "{output}");
    assert_eq!(counts(&database), "1:500");
}

#[test]
fn what_cannot_be_divided_is_refused_with_its_place_and_nothing_is_changed() {
    let database = Cluster::shared().database();
    numbers(&database, 10);
    database.psql(
        "CREATE TABLE nokey (a int); CREATE VIEW v AS SELECT * FROM t; \
         CREATE TABLE nullable (a int UNIQUE, b int); \
         CREATE TABLE part (a int NOT NULL, b int); CREATE UNIQUE INDEX ON part (a) WHERE b > 0",
    );
    for (script, code, place, words) in [
        ("-- chunk: nokey by a\nUPDATE nokey SET a = 1;", "ME438", "1:1", "part of the key"),
        ("-- chunk: nokey\nUPDATE nokey SET a = 1;", "ME437", "1:1", "no primary key"),
        ("-- chunk: nokey by b\nUPDATE nokey SET a = 1;", "ME437", "1:1", "no unique key"),
        ("-- chunk: nullable by a\nUPDATE nullable SET b = 1;", "ME437", "1:1", "no unique key"),
        ("-- chunk: part by a\nUPDATE part SET b = 1;", "ME437", "1:1", "no unique key"),
        ("-- chunk: t\nUPDATE t SET id = id + 1;", "ME437", "1:1", "part of the key"),
        ("-- chunk: v by id\nUPDATE v SET n = 1;", "ME437", "1:1", "is a view"),
        ("-- chunk: t by id\nUPDATE t SET n = 1 WHERE id IN (SELECT id FROM t LIMIT 5);", "ME435", "2:50", "own limit"),
        (
            "-- chunk: t by id\nINSERT INTO t SELECT id + 99 FROM t WHERE true /*chunk*/ LIMIT 5;",
            "ME435",
            "2:58",
            "own limit",
        ),
        ("-- chunk: t, nokey by id\nUPDATE t SET n = 1;", "ME435", "1:1", "one target"),
        ("-- chunk: t by id\n-- chunk: nokey by a\nUPDATE t SET n = 1;", "ME435", "1:1", "two `chunk` lines"),
        ("-- chunk: nokey by a\nUPDATE t SET n = 1;", "ME435", "2:8", "the statement changes t"),
        ("-- chunk: t by id\nWITH x AS (DELETE FROM nokey) UPDATE t SET n = 1;", "ME435", "2:1", "several tables"),
        ("-- chunk: t by id\nINSERT INTO nokey SELECT id FROM t;", "ME435", "2:1", "/*chunk*/"),
        ("-- chunk: t by id\nALTER TABLE t ADD a int;", "ME435", "2:1", "in pieces"),
        ("-- chunk: t by id, target 0\nUPDATE t SET n = 1;", "ME434", "1:1", "cannot be zero"),
        ("-- chunk: t by id, target soon\nUPDATE t SET n = 1;", "ME434", "1:1", "no duration"),
        ("-- chunk: t by id, colour red\nUPDATE t SET n = 1;", "ME434", "1:1", "no option"),
        ("-- chunk: t by id, size 0\nUPDATE t SET n = 1;", "ME434", "1:1", "1 at least"),
        ("BEGIN;\n-- chunk: t by id\nUPDATE t SET n = 1;\nCOMMIT;", "ME436", "3:1", "`BEGIN`"),
        ("-- Transaction: true\n\n-- chunk: t by id\nUPDATE t SET n = 1;", "ME436", "4:1", "Transaction: true"),
    ] {
        let project = Project::new(&database);
        project.pair("001_x", script, "SELECT 1;");
        let output = project.run(&["apply", "--yes"]).expect(5);
        let shown = output.stderr.contains(code) && output.stderr.contains(&format!("001_x.sql:{place}"));
        assert!(shown && output.stderr.contains(words), "{script}\n{output}");
    }
    assert_eq!(database.psql("SELECT to_regnamespace('migengine') IS NULL"), "t");
    assert_eq!(counts(&database), "0:10");
    let zero = Project::new(&database);
    zero.pair("001_x", "SELECT 1;", "SELECT 1;");
    let output = zero.run(&["apply", "--yes", "--lock-budget", "0ms"]).expect(2);
    assert!(output.stderr.contains("1ms at least"), "{output}");
}

#[test]
fn the_plan_says_how_long_a_step_took_before() {
    let (_database, project) = scene(300, UP, DOWN);
    assert!(!project.run(&["plan"]).expect(0).stdout.contains("took "));
    project.run(&["apply", "--yes"]).expect(0);
    project.run(&["rollback", "--last", "1", "--yes"]).expect(0);
    let plan = project.run(&["plan"]).expect(0);
    assert!(plan.stdout.contains("when it was last applied here"), "{plan}");
    let json = project.run_json(&["plan"], 0);
    assert!(json["steps"][0]["earlier_duration_ms"].is_u64(), "{json}");
}

/// Text of a file that the program's clock looks at: so many seconds ahead that it is `hour` o'clock UTC of a day.
fn at(hour: i64, days: i64) -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let now = i64::try_from(since).unwrap();
    (hour * 3_600 - now % 86_400 + days * 86_400).to_string()
}

fn set_clock(project: &Project, text: &str) {
    let file = project.path().join("clock");
    std::fs::write(file.with_extension("new"), text).unwrap();
    std::fs::rename(file.with_extension("new"), file).unwrap();
}

#[test]
fn it_rests_when_the_window_closes_and_goes_on_in_the_next_one() {
    let (database, project) = scene(1_000, UP, DOWN);
    database.psql(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.002); RETURN new; END $$; \
         CREATE TRIGGER slow BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION slow()",
    );
    std::fs::write(project.path().join("migengine.toml"), "[env.night]\nwindow = \"daily 02:00-05:00 UTC\"\n").unwrap();
    let clock = project.path().join("clock").to_str().unwrap().to_owned();
    let project = project.with_env("MIGENGINE_CLOCK_AHEAD", &clock);
    set_clock(&project, &at(3, 1));
    let child = project.spawn(&["--env", "night", "apply", "--yes"]);
    wait_until("a batch went through", PATIENCE, || {
        database.psql("SELECT to_regclass('migengine.progress') IS NOT NULL") == "t"
            && database.psql("SELECT count(*) FROM migengine.progress WHERE batches > 1") == "1"
    });
    set_clock(&project, &at(6, 1));
    let output = collect(child).expect(7);
    let said = output.stderr.contains("outside of the maintenance window") && output.stderr.contains("02:00 UTC");
    assert!(said, "it must name the next opening: {output}");
    let half = counts(&database);
    assert!(half.contains("0:") && half.contains("1:"), "it must stand half-way: {half}");
    let status = project.run_json(&["status"], 0);
    assert_eq!(status["unfinished_run"]["rest"]["reason"], "interrupted", "{status}");
    let refused = project.run(&["--env", "night", "apply", "--resume"]).expect(5);
    assert!(refused.stderr.contains("ME703"), "{refused}");
    assert_eq!(counts(&database), half);
    database.psql("DROP TRIGGER slow ON t");
    set_clock(&project, &at(4, 2));
    project.run(&["--env", "night", "apply", "--resume"]).expect(0);
    assert_eq!(counts(&database), "1:1000");
}

#[test]
fn a_key_means_the_same_under_other_settings_of_the_database() {
    let database = Cluster::shared().database();
    let set = |date: &str, interval: &str, digits: &str, bytes: &str| {
        let name = database.name();
        database.psql(&format!(
            "ALTER DATABASE {name} SET DateStyle = '{date}'; ALTER DATABASE {name} SET IntervalStyle = '{interval}'; \
             ALTER DATABASE {name} SET extra_float_digits = {digits}; ALTER DATABASE {name} SET bytea_output = '{bytes}'; \
             ALTER DATABASE {name} SET TimeZone = '{}'",
            if digits == "0" { "Asia/Kolkata" } else { "America/New_York" }
        ));
    };
    // Without exact digits many of these numbers look the same; 03/04 is a day in March or in April.
    let keys = [
        ("date", "date '2026-01-01' + i"),
        ("timestamptz", "timestamptz '2026-01-01 00:00:00.000001Z' + i * interval '7 h'"),
        ("float8", "1 + i * 1e-15::float8"),
        ("interval", "i * interval '-1 day 1 hour'"),
        ("bytea", "decode('5c' || md5(i::text), 'hex')"),
    ];
    let project = Project::new(&database);
    for (number, (kind, value)) in (1..).zip(keys) {
        database.psql(&format!(
            "CREATE TABLE k{number} (k {kind} PRIMARY KEY, n int NOT NULL DEFAULT 0); \
             INSERT INTO k{number} SELECT {value} FROM generate_series(1, 200) i"
        ));
        let up = format!("-- chunk: k{number} by k, size 30, max-size 30\nUPDATE k{number} SET n = n + 1;\n");
        project.pair(&format!("{number:03}_k"), &up, "SELECT 1;\n");
    }
    set("SQL, DMY", "sql_standard", "-5", "escape");
    crash(&project, "chunk.after:3", &["apply", "--yes"]);
    for number in 2..=keys.len() {
        set("German, MDY", "postgres_verbose", "0", "escape");
        crash(&project, "chunk.after:9", &["apply", "--resume"]);
        set("SQL, DMY", "sql_standard", "-5", "hex");
        assert_eq!(
            database.psql(&format!("SELECT count(*) > 0 FROM k{number} WHERE n = 1")),
            "t",
            "{number} was begun"
        );
    }
    project.run(&["apply", "--resume"]).expect(0);
    for (number, (kind, _)) in (1..).zip(keys) {
        let sql = format!("SELECT count(*) FILTER (WHERE n = 1), count(*) FROM k{number}");
        assert_eq!(database.psql(&sql), "200|200", "{kind}");
    }
}

#[test]
fn it_holds_while_a_standby_replays_nothing_and_goes_on_when_it_does() {
    const PORT: u16 = 6544;
    let cluster = Cluster::start_with(standby::options());
    let database = cluster.database();
    numbers(&database, 1_000);
    database.psql(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.005); RETURN new; END $$; \
         CREATE TRIGGER slow BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION slow()",
    );
    let project = Project::new(&database);
    project.pair("001_t", "-- chunk: t by id, size 50, max-size 50, max-lag 500ms\nUPDATE t SET n = n + 1;\n", DOWN);
    let _standby = Standby::start(&cluster, PORT);
    wait_until("the standby streams", PATIENCE, || {
        database.psql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND replay_lsn IS NOT NULL")
            == "1"
    });
    let there = |sql: &str| {
        let url = database.url().replace(&format!("port={}", cluster.port()), &format!("port={PORT}"));
        let output = cluster.program("psql").args(["-qXAt", "-d", &url, "-c", sql]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let mut child = project.spawn(&["apply", "--yes"]);
    wait_until("a batch went through", PATIENCE, || {
        database.psql("SELECT to_regclass('migengine.progress') IS NOT NULL") == "t"
            && database.psql("SELECT count(*) FROM migengine.progress WHERE batches > 0") == "1"
    });
    there("SELECT pg_wal_replay_pause()");
    wait_until("it holds", PATIENCE, || {
        assert!(child.try_wait().unwrap().is_none(), "it went through: {}", counts(&database));
        database.psql(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name ~ '^migengine:' AND query = 'COMMIT' \
             AND state = 'idle' AND clock_timestamp() - state_change > '200 ms'",
        ) != "0"
    });
    let held = counts(&database);
    assert!(held.contains("0:") && held.contains("1:"), "it must stand half-way: {held}");
    database.psql("ALTER TABLE t DISABLE TRIGGER slow");
    there("SELECT pg_wal_replay_resume()");
    let output = collect(child).expect(0);
    assert!(output.stderr.contains("holds: a replica is") && output.stderr.contains("goes on"), "{output}");
    assert_eq!(counts(&database), "1:1000");
}
