//! What a run does with scripts of every kind, with failures, signals and other runners, on a real server.
#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use std::process::Child;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::process::signal;
use support::project::collect;
use support::scene::{row_of, step_field};
use support::{Output, Scene, kill_nine, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);
const SLEEPING: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";

/// Scripts that must apply as they are, a query, and what it must answer afterwards.
const SCRIPTS: &[(&str, &str, &str)] = &[
    ("CREATE TABLE a (n int);\nINSERT INTO a VALUES (1);", "SELECT n FROM a", "1"),
    ("BEGIN;\nCREATE TABLE a (n int);\nINSERT INTO a VALUES (1);\nCOMMIT;\n", "SELECT n FROM a", "1"),
    (
        "BEGIN ISOLATION LEVEL SERIALIZABLE;\nCREATE TABLE a AS SELECT current_setting('transaction_isolation');\nEND",
        "TABLE a",
        "serializable",
    ),
    ("BEGIN;\nCREATE TABLE a (n int);\nCOMMIT;\nBEGIN;\nINSERT INTO a VALUES (2);\nCOMMIT;\n", "TABLE a", "2"),
    (
        "CREATE TABLE a (n int);\nSAVEPOINT s;\nINSERT INTO a VALUES (1);\nROLLBACK TO s;\nINSERT INTO a VALUES (2);\n",
        "TABLE a",
        "2",
    ),
    (
        "CREATE TABLE a (n int, t text);\nCOPY a FROM stdin;\n1\tone; 'two' $$ -- three\n2\t\\N\n\\.\nINSERT INTO a VALUES (3, 'x');\n",
        "SELECT n, t FROM a ORDER BY n",
        "1|one; 'two' $$ -- three\n2|\n3|x",
    ),
    (
        "CREATE TABLE a (n int, t text);\nCOPY a (n, t) FROM STDIN WITH (FORMAT csv);\n1,\"a,b\"\n\\.\n",
        "TABLE a",
        "1|a,b",
    ),
    ("CREATE TABLE a (n int);\nCOPY a FROM stdin;\n\\.\n", "SELECT count(*) FROM a", "0"),
    (
        "CREATE TABLE a (n int);\r\nCOPY a FROM stdin;\r\n1\r\n2\r\n\\.\r\nINSERT INTO a VALUES (3);\r\n",
        "SELECT sum(n) FROM a",
        "6",
    ),
    (
        "CREATE TABLE a (t text);\nSET standard_conforming_strings = off;\nSET escape_string_warning = off;\nINSERT INTO a VALUES ('it\\'s; fine');\nSET standard_conforming_strings = on;\nINSERT INTO a VALUES ('\\');\n",
        "SELECT t FROM a ORDER BY t DESC",
        "it's; fine\n\\",
    ),
    (
        "SET standard_conforming_strings = off; CREATE TABLE a (t text); INSERT INTO a VALUES (E'\\'x');",
        "TABLE a",
        "'x",
    ),
    (
        "CREATE SCHEMA deep;\nSET search_path = deep;\nCREATE TABLE a (n int);\nCREATE TABLE history (n int);\n",
        "SELECT to_regclass('deep.a') IS NULL, to_regclass('deep.history') IS NULL",
        "f|f",
    ),
    ("SET search_path = '';\nCREATE TABLE public.a (n int);\n", "SELECT count(*) FROM public.a", "0"),
    (
        "CREATE ROLE {role};\nGRANT CREATE ON SCHEMA public TO {role};\nSET ROLE {role};\nCREATE TABLE a (n int);\n",
        "SELECT tableowner = '{role}' FROM pg_tables WHERE tablename = 'a'",
        "t",
    ),
    (
        "CREATE ROLE {role};\nGRANT CREATE ON SCHEMA public TO {role};\nSET SESSION AUTHORIZATION {role};\nCREATE TABLE a (n int);\n",
        "SELECT tableowner = '{role}' FROM pg_tables WHERE tablename = 'a'",
        "t",
    ),
    (
        "SET lock_timeout = '1ms'; SET statement_timeout = '100s'; SET default_transaction_read_only = off; CREATE TABLE a (n int);",
        "SELECT count(*) FROM a",
        "0",
    ),
    (
        "SET row_security = off; SET session_replication_role = replica; CREATE TABLE a (n int);",
        "SELECT count(*) FROM a",
        "0",
    ),
    ("CREATE TEMP TABLE scratch AS SELECT 7 AS n;\nCREATE TABLE a AS SELECT n FROM scratch;\n", "TABLE a", "7"),
    (
        "CREATE TEMP TABLE history (id text) ON COMMIT DROP;\nCREATE TEMP TABLE lease (epoch text);\nCREATE TABLE a (n int);",
        "SELECT count(*) FROM a",
        "0",
    ),
    ("SELECT pg_advisory_unlock_all();\nCREATE TABLE a (n int);", "SELECT count(*) FROM a", "0"),
    ("PREPARE p AS SELECT 1; EXECUTE p; DEALLOCATE p; CREATE TABLE a (n int);", "SELECT count(*) FROM a", "0"),
    ("LISTEN x; NOTIFY x; UNLISTEN *; DECLARE c CURSOR FOR SELECT 1; FETCH ALL FROM c; CLOSE ALL;", "SELECT 1", "1"),
    ("-- nothing but a comment\n", "SELECT 1", "1"),
    ("", "SELECT 1", "1"),
    (";;\n;", "SELECT 1", "1"),
    ("CREATE TABLE a (n int)", "SELECT count(*) FROM a", "0"),
    (
        "CREATE TABLE \"größe\" (\"naïve 列\" text);\nINSERT INTO \"größe\" VALUES ('日本; 語 🦀');\n",
        "TABLE \"größe\"",
        "日本; 語 🦀",
    ),
    ("\u{feff}CREATE TABLE a (n int);\r\nINSERT INTO a\r\nVALUES (1);\r\n", "TABLE a", "1"),
    (
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END;\nCREATE TABLE a AS SELECT f();",
        "TABLE a",
        "2",
    ),
    ("DO $x$ BEGIN EXECUTE $q$CREATE TABLE a (n int); INSERT INTO a VALUES (1)$q$; END $x$;", "TABLE a", "1"),
    (
        "CREATE TABLE a (n int); CREATE RULE r AS ON INSERT TO a DO ALSO (SELECT 1; SELECT 2);",
        "SELECT count(*) FROM pg_rules WHERE rulename = 'r'",
        "1",
    ),
    ("CREATE TYPE mood AS ENUM ('good');\nALTER TYPE mood ADD VALUE 'fine';\n", "SELECT 'fine'::mood", "fine"),
    ("CREATE TABLE a (n int);\nVACUUM a;\nINSERT INTO a VALUES (1);", "TABLE a", "1"),
    (
        "SELECT set_config('search_path', 'pg_catalog', false);\nCREATE TABLE public.a (n int);\nCREATE INDEX CONCURRENTLY ix ON public.a (n);\nCREATE TABLE public.b (n int);",
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix'::regclass",
        "t",
    ),
    (
        "CREATE TABLE a (n int);\nCREATE INDEX CONCURRENTLY ON a (n);\nREINDEX TABLE CONCURRENTLY a;",
        "SELECT indisvalid FROM pg_index WHERE indrelid = 'a'::regclass",
        "t",
    ),
    (
        "SET search_path = pg_catalog;\nCREATE TABLE public.a (n int);\nVACUUM public.a;\nSET search_path = public;\nCREATE TABLE b (n int);",
        "SELECT count(*) FROM public.b",
        "0",
    ),
];

#[test]
fn scripts_of_every_kind_apply_and_the_next_step_finds_a_clean_session() {
    for (number, (script, probe, expected)) in (0..).zip(SCRIPTS) {
        let scene = Scene::new();
        let role = format!("role_{}_{number}", scene.db.name());
        scene.project.write("001_it.sql", script.replace("{role}", &role));
        let clean = "DO $$ BEGIN ASSERT current_setting('search_path') = '\"$user\", public'; \
                     ASSERT session_user = current_user AND current_user = 'postgres'; \
                     ASSERT current_setting('standard_conforming_strings')::bool; \
                     ASSERT current_setting('transaction_isolation') = 'read committed'; END $$;";
        scene.project.pair("002_clean", clean, "SELECT 1;");
        let output = scene.run(&["apply"]);
        assert_eq!(output.code, Some(0), "{script}\n{output}");
        assert_eq!(scene.db.psql(&probe.replace("{role}", &role)), *expected, "{script}\n{output}");
        assert_eq!(scene.history(), "001_it:applied 002_clean:applied", "{script}");
        let kept = scene.db.psql("SELECT up_sql FROM migengine.history WHERE id = '001_it'");
        assert!(script.contains("{role}") || kept.len() + 4 >= script.trim().replace('\r', "").len(), "{kept}");
    }
}

#[test]
fn a_step_and_its_history_row_are_one_transaction() {
    for script in
        ["INSERT INTO effects (what) VALUES ('x');", "BEGIN; INSERT INTO effects (what) VALUES ('x'); COMMIT;"]
    {
        let scene = Scene::new();
        scene.project.write("001_m.sql", script);
        scene.run(&["apply"]).expect(0);
        let same = "SELECT e.xmin = h.xmin FROM effects e, migengine.history h";
        assert_eq!(scene.db.psql(same), "t", "{script}");
    }
}

#[test]
fn three_hundred_statements_are_one_step() {
    let scene = Scene::new();
    let mut script = String::from("CREATE TABLE a (n int, t text);\n");
    for n in 0..300 {
        script += &format!("INSERT INTO a VALUES ({n}, '{}');\n", "x".repeat(n * 7));
    }
    scene.project.write("001_m.sql", &script);
    scene.run(&["apply"]).expect(0);
    assert_eq!(scene.db.psql("SELECT count(*), sum(length(t)) FROM a"), "300|313950");

    // And an error in the last of them is found at its line, with nothing left.
    scene
        .project
        .write("002_m.sql", script.replace("TABLE a ", "TABLE b ").replace("INTO a", "INTO b") + "SELECT 1/0;\n");
    let error = scene.run_logged(&["apply"], 7).json()["error"].clone();
    assert_eq!((error["line"].as_i64(), error["sqlstate"].as_str()), (Some(302), Some("22012")), "{error}");
    assert_eq!(scene.db.psql("SELECT to_regclass('b') IS NULL"), "t");
}

#[test]
fn a_deferred_constraint_that_fails_at_commit_leaves_nothing_and_stops_the_steps_behind() {
    let scene = Scene::with_steps(4);
    scene.db.psql("CREATE TABLE parent (n int PRIMARY KEY); CREATE TABLE child (n int REFERENCES parent DEFERRABLE INITIALLY DEFERRED)");
    scene.project.write("002_m.sql", "INSERT INTO effects (what) VALUES ('+002'); INSERT INTO child VALUES (1);");
    let output = scene.run_logged(&["apply"], 7);
    assert_eq!(output.json()["error"]["sqlstate"], "23503", "{output}");
    assert_eq!(output.json()["rest"]["step"], "002_m", "{output}");
    assert_eq!(scene.effects(), "+001");
    assert_eq!(scene.history(), "001_m:applied");
    assert_eq!(step_field(&output, "003_m", "state"), "pending", "{output}");
    scene.db.psql("INSERT INTO parent VALUES (1)");
    scene.run(&["apply", "--resume"]).expect(0);
    assert_eq!(scene.effects(), "+001 +002 +003 +004");
}

#[test]
fn a_check_that_is_false_or_fails_fails_the_step() {
    for (check, code, says) in [
        ("SELECT count(*) = 1 FROM t001;", 7, "not true"),
        ("SELECT true; SELECT n > 5, n FROM (VALUES (7), (3)) v (n);", 7, "not true"),
        ("SELECT nothing FROM t001;", 7, "42703"),
        ("DO $$ BEGIN INSERT INTO t001 VALUES (1); END $$;", 7, "25006"),
        ("INSERT INTO t001 VALUES (1);", 5, "only reads"),
        ("SELECT count(*) = 0 FROM t001; SELECT 'false alarm';", 0, ""),
        ("SELECT NULL::bool;", 0, ""),
    ] {
        for by_parts in ["", "-- Transaction: false\n"] {
            let scene = Scene::with_steps(2);
            let script = format!("{by_parts}CREATE TABLE t001 (n int);\nINSERT INTO effects (what) VALUES ('+001');\n");
            scene.project.write("001_m.sql", script);
            scene.project.write("001_m_verify.sql", check);
            let output = scene.run(&["apply"]).expect(code);
            assert!(output.stderr.contains(says), "{check}: {output}");
            if code == 5 {
                continue;
            }
            if code == 7 {
                assert!(output.stderr.contains("001_m_verify.sql"), "{check}: {output}");
                assert_eq!(scene.tables().is_empty(), by_parts.is_empty(), "{check}: {output}");
                scene.project.write("001_m_verify.sql", "SELECT true;");
                scene.run(&["apply", "--resume"]).expect(0);
            }
            assert_eq!(scene.effects(), "+001 +002", "{check}: {output}");
        }
    }
}

#[test]
fn a_failing_step_rests_the_run_which_goes_on_once_the_file_is_mended() {
    let scene = Scene::with_steps(4);
    scene
        .project
        .write("003_m.sql", "CREATE TABLE t003 (n int);\nINSERT INTO effects (what)\n  VALUES ('+003', 1/0);\n");
    let output = scene.run_logged(&["apply"], 7);
    let json = output.json();
    assert_eq!((json["rest"]["reason"].as_str(), json["rest"]["step"].as_str()), (Some("failed"), Some("003_m")));
    let error = &json["error"];
    assert_eq!((error["sqlstate"].as_str(), error["line"].as_i64()), (Some("42601"), Some(3)), "{error}");
    assert!(error["file"].as_str().unwrap().ends_with("003_m.sql"), "{error}");
    for (id, state) in [("001_m", "applied"), ("002_m", "applied"), ("003_m", "failed"), ("004_m", "pending")] {
        assert_eq!(step_field(&output, id, "state"), state, "{output}");
    }
    for word in ["001_m and 002_m are in effect", "apply --resume", "rollback --run", "003_m.sql:3:"] {
        assert!(output.stderr.contains(word), "{word}: {output}");
    }
    assert_eq!(scene.effects(), "+001 +002");
    scene.run(&["apply", "--resume"]).expect(7);
    scene.step(3);
    let output = scene.run_logged(&["apply", "--resume"], 0);
    assert_eq!(row_of(&output, "003_m"), 'J', "{output}");
    assert_eq!(step_field(&output, "003_m", "attempts"), 3);
    assert_eq!(scene.effects(), "+001 +002 +003 +004");
}

#[test]
fn with_on_failure_rollback_the_schema_is_as_before() {
    let scene = Scene::with_steps(2);
    scene.run(&["apply"]).expect(0);
    scene.step(3);
    scene.step(4);
    scene.project.pair("005_m", "CREATE TABLE t005 (n int); SELECT 1/0;", "DROP TABLE t005;");
    let before = scene.db.dump();
    let output = scene.run_logged(&["apply", "--on-failure", "rollback"], 1);
    assert_eq!(output.json()["state"], "RolledBack", "{output}");
    assert_eq!(output.json()["error"]["sqlstate"], "22012", "{output}");
    assert_eq!(scene.db.dump(), before);
    assert_eq!(scene.effects(), "+001 +002 +003 +004 -004 -003");
    assert_eq!(scene.history(), "001_m:applied 002_m:applied");
    scene.step(5);
    scene.run(&["apply"]).expect(0);
    assert_eq!(scene.history().split(' ').count(), 5);
}

#[track_caller]
fn interrupted(child: Child, how: Signal) -> Output {
    signal(i32::try_from(child.id()).unwrap(), how);
    let start = Instant::now();
    let output = collect(child).expect(7);
    assert!(start.elapsed() < Duration::from_secs(20), "the running statement must be cancelled");
    assert!(output.stderr.contains("apply --resume"), "{output}");
    output
}

#[test]
fn a_signal_cancels_the_statement_and_leaves_a_run_to_resume() {
    for how in [Signal::SIGINT, Signal::SIGTERM] {
        let scene = Scene::with_steps(3);
        scene.project.write("002_m.sql", "INSERT INTO effects (what) VALUES ('+002'); SELECT pg_sleep(600);");
        let runner = scene.project.spawn(&["apply", "--format", "json"]);
        wait_until("the second step sleeps", PATIENCE, || scene.db.psql(SLEEPING) == "1");
        let output = interrupted(runner, how);
        assert_eq!(output.json()["rest"]["reason"], "interrupted", "{output}");
        assert_eq!(scene.effects(), "+001");
        assert_eq!(scene.db.psql(SLEEPING), "0");
        scene.step(2);
        scene.run(&["apply", "--resume"]).expect(0);
        assert_eq!(scene.effects(), "+001 +002 +003");
    }
}

#[test]
fn a_signal_during_an_index_build_leaves_a_run_that_resumes_to_a_valid_index() {
    let scene = Scene::with_steps(1);
    scene.project.pair("002_ix", "CREATE INDEX CONCURRENTLY ix ON t001 (n);", "DROP INDEX CONCURRENTLY ix;");
    scene.run(&["apply", "001"]).expect(0);
    let mut psql = scene.db.cluster().program("psql");
    let sql = "BEGIN; LOCK TABLE t001 IN ROW EXCLUSIVE MODE; SELECT pg_sleep(600)";
    let mut holder = psql.args(["-Xq", "-d", &scene.db.url(), "-c", sql]).spawn().unwrap();
    wait_until("the table is locked", PATIENCE, || scene.db.psql(SLEEPING) == "1");
    let runner = scene.project.spawn(&["apply", "--format", "json"]);
    let invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid";
    wait_until("the index is being built", PATIENCE, || scene.db.psql(invalid) == "1");
    interrupted(runner, Signal::SIGINT);
    holder.kill().unwrap();
    holder.wait().unwrap();
    let sleepers = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
    scene.db.psql(sleepers);
    scene.run(&["apply", "--resume"]).expect(0);
    assert_eq!(scene.db.psql("SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix'::regclass"), "t");
    assert_eq!(scene.history(), "001_m:applied 002_ix:applied");
}

#[test]
fn a_second_signal_ends_the_program_at_once() {
    let scene = Scene::with_steps(2);
    // A statement that does not take the cancel: the program would wait for it.
    let deaf = "CREATE FUNCTION deaf() RETURNS void LANGUAGE plpgsql AS $$ BEGIN LOOP BEGIN PERFORM pg_sleep(600); \
                EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$";
    scene.db.psql(deaf);
    scene.project.write("002_m.sql", "SELECT deaf();");
    let runner = scene.project.spawn(&["apply"]);
    wait_until("the second step sleeps", PATIENCE, || scene.db.psql(SLEEPING) == "1");
    let pid = i32::try_from(runner.id()).unwrap();
    signal(pid, Signal::SIGINT);
    std::thread::sleep(Duration::from_millis(500));
    signal(pid, Signal::SIGINT);
    let start = Instant::now();
    let output = collect(runner).expect(7);
    assert!(start.elapsed() < Duration::from_secs(10), "{output}");
    let orphans = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'migengine%' AND datname = current_database()";
    scene.db.psql(orphans);
    scene.step(2);
    scene.run(&["apply", "--resume"]).expect(0);
    assert_eq!(scene.effects(), "+001 +002");
}

#[test]
fn of_two_runners_one_works_and_the_other_says_who_does() {
    let scene = Scene::with_steps(1);
    scene.run(&["apply"]).expect(0);
    scene.project.write("002_m.sql", "SELECT pg_sleep(600);");
    let first = scene.project.spawn(&["apply"]);
    wait_until("the first runner is at work", PATIENCE, || scene.db.psql(SLEEPING) == "1");
    let elsewhere = scene.project.path().join("second").display().to_string();
    // The same journal is in use; another journal meets the lock in the database.
    for journal in [scene.project.journal().display().to_string(), elsewhere] {
        for command in [&["apply"][..], &["rollback", "--last", "1"]] {
            let start = Instant::now();
            let output = scene.run(&[&["--journal", &journal], command].concat());
            assert!(matches!(output.code, Some(4)), "{journal} {command:?}: {output}");
            assert!(start.elapsed() < Duration::from_secs(30), "it must not wait");
        }
    }
    interrupted(first, Signal::SIGTERM);
    scene.step(2);
    scene.run(&["apply", "--resume"]).expect(0);
    assert_eq!(scene.effects(), "+001 +002");
}

#[test]
fn tables_that_another_runner_is_just_making_are_not_taken_for_somebody_elses() {
    let scene = Scene::with_steps(1);
    scene.run(&["apply"]).expect(0);
    scene.db.psql("CREATE TABLE kept AS TABLE migengine.identity; DELETE FROM migengine.identity");
    // Whoever looks meanwhile waits for the table, and then reads it as of a moment before its row was there.
    let making =
        "BEGIN; LOCK migengine.identity; INSERT INTO migengine.identity TABLE kept; SELECT pg_sleep(1.5); COMMIT";
    let held = "SELECT count(*) FROM pg_locks WHERE relation = 'migengine.identity'::regclass AND mode = 'AccessExclusiveLock'";
    std::thread::scope(|scope| {
        scope.spawn(|| scene.db.psql(making));
        wait_until("the table is locked", PATIENCE, || scene.db.psql(held) == "1");
        scene.run(&["apply"]).expect(0);
    });
}

#[test]
fn a_runner_that_waits_for_the_lock_finds_the_work_done() {
    let scene = Scene::with_steps(3);
    let journal = scene.project.path().join("second").display().to_string();
    scene.project.write("002_m.sql", "INSERT INTO effects (what) VALUES ('+002'); SELECT pg_sleep(1);");
    let first = scene.project.spawn(&["apply", "--lock-wait-runner", "60s"]);
    let second = scene.project.spawn(&["--journal", &journal, "apply", "--lock-wait-runner", "60s"]);
    let (first, second) = (collect(first), collect(second));
    assert_eq!((first.code, second.code), (Some(0), Some(0)), "{first}\n{second}");
    assert_eq!(scene.effects(), "+001 +002 +003");
    assert_eq!(scene.history(), "001_m:applied 002_m:applied 003_m:applied");
}

#[test]
fn a_statement_that_ends_its_own_session_is_not_run_for_ever() {
    let scene = Scene::with_steps(2);
    scene.project.write(
        "002_m.sql",
        "INSERT INTO effects (what) VALUES ('+002'); SELECT pg_terminate_backend(pg_backend_pid());",
    );
    let output = scene.run(&["apply", "--reconnect", "5s"]);
    assert!(matches!(output.code, Some(6 | 7)), "{output}");
    assert_eq!((scene.effects(), scene.history()), ("+001".to_owned(), "001_m:applied".to_owned()), "{output}");
    scene.step(2);
    scene.run(&["apply", "--resume"]).expect(0);
    assert_eq!(scene.effects(), "+001 +002");
}

#[test]
fn what_would_take_the_lock_along_is_refused_before_anything_runs() {
    for script in ["CREATE TABLE t (n int);\nDISCARD ALL;\n", "CREATE TABLE t (n int);\ndeallocate prepare all;\n"] {
        let scene = Scene::with_steps(1);
        scene.project.write("002_m.sql", script);
        let output = scene.run(&["apply"]).expect(5);
        assert!(output.stderr.contains("002_m.sql:2:1") && output.stderr.contains("ME160"), "{output}");
        assert_eq!(scene.effects(), "");
    }
}

#[test]
fn a_script_that_writes_its_own_history_row_takes_no_effect() {
    let forged = "INSERT INTO migengine.history (id, state, run_id, attempt, epoch, content, tokens, requires, header, up_sql) \
        VALUES ('002_m', 'applied', 'none', 1, 1, '', '', '{}', '{}', '')";
    let one_by_one = (&["apply"][..], "001_m:applied", &["apply", "--resume"][..]);
    let at_once = (&["apply", "--atomic"][..], "", &["apply"][..]);
    for (how, history, next) in [one_by_one, at_once] {
        let scene = Scene::with_steps(3);
        scene.project.write("002_m.sql", format!("INSERT INTO effects (what) VALUES ('+002');\n{forged};\n"));
        let output = scene.run(how);
        assert!(output.stderr.contains("ME407"), "{output}");
        assert_eq!((scene.effects().contains("+002"), scene.history()), (false, history.to_owned()), "{output}");
        scene.step(2);
        scene.run(next).expect(0);
        assert_eq!(scene.effects(), "+001 +002 +003");
    }
}

#[test]
fn a_part_that_lets_go_of_the_lock_is_noticed() {
    let scene = Scene::with_steps(2);
    let script = "-- Transaction: false\nCREATE TABLE t001 (n int);\nSELECT pg_advisory_unlock_all();\nVACUUM t001;\nINSERT INTO effects (what) VALUES ('+001');\n";
    scene.project.write("001_m.sql", script);
    let output = scene.run(&["apply"]);
    assert!(matches!(output.code, Some(0 | 7)), "{output}");
    if output.code == Some(7) {
        assert!(output.stderr.contains("ME409"), "{output}");
        scene.run(&["apply", "--resume"]).expect(0);
    }
    assert_eq!(scene.effects(), "+001 +002");
}

#[test]
fn targets_bring_what_they_require_and_nothing_else() {
    let scene = Scene::with_steps(4);
    scene.project.pair("010_branch", "-- Requires: 001\nINSERT INTO effects (what) VALUES ('+010');", "SELECT 1;");
    scene.run(&["apply", "--to", "002"]).expect(0);
    assert_eq!(scene.effects(), "+001 +002");
    scene.run(&["apply", "migrations/003_m.sql"]).expect(0);
    assert_eq!(scene.effects(), "+001 +002 +003");
    scene.project.pair(
        "011_branch",
        "-- Requires: 010_branch\nINSERT INTO effects (what) VALUES ('+011');",
        "SELECT 1;",
    );
    scene.run(&["apply", "11"]).expect(0);
    assert_eq!(scene.effects(), "+001 +002 +003 +010 +011", "what is not required stays pending");
    scene.run(&["apply", "4", "--out-of-order"]).expect(0);
    assert_eq!(scene.history().split(' ').count(), 6);
    for (target, says) in [("99", "99"), ("nothing_such", "nothing_such"), ("migrations/zzz.sql", "zzz")] {
        let output = scene.run(&["apply", target]).expect(2);
        assert!(output.stderr.contains(says), "{output}");
    }
}

#[test]
fn out_of_order_is_refused_unless_it_says_what_it_requires_or_is_allowed() {
    let scene = Scene::with_steps(3);
    scene.project.remove("002_m.sql");
    scene.project.remove("002_m_rollback.sql");
    scene.run(&["apply"]).expect(0);
    scene.step(2);
    let before = scene.everything();
    let output = scene.run(&["apply"]).expect(5);
    assert!(output.stderr.contains("002_m") && output.stderr.contains("--out-of-order"), "{output}");
    assert_eq!(before, scene.everything());
    scene.run(&["apply", "--out-of-order"]).expect(0);
    scene.project.pair("002_x", "-- Requires: 001\nINSERT INTO effects (what) VALUES ('+002x');", "SELECT 1;");
    scene.run(&["apply"]).expect(0);
    assert_eq!(scene.effects(), "+001 +003 +002 +002x");
}

#[test]
fn branches_join_again_and_conflicts_are_refused() {
    let scene = Scene::new();
    for (id, header) in [
        ("001_root", "-- Requires: none"),
        ("002_left", "-- Requires: 001"),
        ("002_right", "-- Requires: 001_root"),
        ("003_join", "-- Requires: 002_left, 002_right"),
    ] {
        let reverse = format!("INSERT INTO effects (what) VALUES ('-{id}');");
        scene.project.pair(id, &format!("{header}\nINSERT INTO effects (what) VALUES ('+{id}');"), &reverse);
    }
    let output = scene.run(&["apply", "2"]).expect(2);
    assert!(output.stderr.contains("002_left") && output.stderr.contains("002_right"), "{output}");
    scene.run(&["apply", "003"]).expect(0);
    assert_eq!(scene.effects(), "+001_root +002_left +002_right +003_join");
    scene.project.write("004_enemy.sql", "-- Conflicts: 002_left\nSELECT 1;");
    let before = scene.everything();
    let output = scene.run(&["apply"]).expect(5);
    assert!(output.stderr.contains("004_enemy") && output.stderr.contains("002_left"), "{output}");
    assert_eq!(before, scene.everything());
}

#[test]
fn an_orphan_of_the_killed_runner_is_waited_for() {
    let scene = Scene::with_steps(2);
    scene.project.write("002_m.sql", "INSERT INTO effects (what) VALUES ('+002'); SELECT pg_sleep(2);");
    let runner = scene.project.spawn(&["apply"]);
    wait_until("the second step sleeps", PATIENCE, || scene.db.psql(SLEEPING) == "1");
    kill_nine(runner);
    scene.run(&["apply", "--resume"]).expect(0);
    assert_eq!(scene.effects(), "+001 +002");
}
