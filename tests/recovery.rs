//! Every row of the recovery table, reached with a real server and a real `kill -9`. Rows about a history that somebody
//! edited are reached by editing it.
#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use support::project::collect;
use support::scene::{row_of, step_field};
use support::{Output, Scene, kill_nine, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);
const IDS: [&str; 3] = ["001_m", "002_m", "003_m"];

/// Runs a command after a crash and checks the row each step met. A step may meet one of several rows where the
/// journal's last outcomes, which are flushed in batches, decide.
#[track_caller]
fn settle(scene: &Scene, args: &[&str], code: i32, rows: &[&str], at: &str) -> Output {
    let output = scene.run_logged(args, code);
    for (id, allowed) in IDS.iter().zip(rows) {
        let row = row_of(&output, id);
        assert!(allowed.contains(row), "{at}: {id} met row {row}, expected one of {allowed}: {output}");
    }
    output
}

const APPLY_CRASHES: &[(&str, [&str; 3])] = &[
    ("lock.after:1", ["A", "A", "A"]),
    ("step.before:1", ["E", "E", "E"]),
    ("step.answered:1", ["E", "E", "E"]),
    ("step.commit_answered:2", ["D", "E", "E"]),
    ("step.answered:3", ["DG", "DG", "E"]),
    ("commit.before:1", ["DG", "DG", "E"]),
    ("commit.after:1", ["DG", "DG", "D"]),
    ("verify.before:1", ["G", "G", "G"]),
];

#[test]
fn an_apply_killed_anywhere_is_finished_by_resume_with_every_effect_once() {
    for (at, rows) in APPLY_CRASHES {
        let scene = Scene::with_steps(3);
        scene.crash(at, &["apply"]);
        let output = settle(&scene, &["apply", "--resume"], 0, rows, at);
        assert_eq!(output.json()["state"], "Committed", "{at}");
        assert_eq!(scene.effects(), "+001 +002 +003", "{at}");
        assert_eq!(scene.tables(), "t001 t002 t003", "{at}");
        assert_eq!(scene.history(), "001_m:applied 002_m:applied 003_m:applied", "{at}");
        for (id, rows) in IDS.iter().zip(rows).filter(|(_, rows)| **rows == "D") {
            assert_eq!(step_field(&output, id, "recovered"), *rows, "{at}");
        }
        scene.run(&["apply"]).expect(0);
        assert_eq!(scene.effects(), "+001 +002 +003", "{at}: nothing is left to do");
    }
}

#[test]
fn an_apply_killed_anywhere_can_be_taken_back_instead() {
    for (at, rows) in APPLY_CRASHES {
        let scene = Scene::with_steps(3);
        let before = scene.db.dump();
        scene.crash(at, &["apply"]);
        let output = settle(&scene, &["rollback", "--run", "last"], 0, rows, at);
        assert_eq!(output.json()["state"], "RolledBack", "{at}");
        let effects = scene.effects();
        let there: Vec<&str> = effects.split(' ').filter_map(|effect| effect.strip_prefix('+')).collect();
        let back: Vec<&str> = effects.split(' ').filter_map(|effect| effect.strip_prefix('-')).rev().collect();
        assert_eq!(there, back, "{at}: what took effect was reversed, newest first, and nothing else was");
        assert_eq!((scene.history(), scene.db.dump()), (String::new(), before), "{at}");
    }
}

#[test]
fn a_run_killed_after_its_end_was_journaled_is_over() {
    let scene = Scene::with_steps(2);
    scene.crash("verify.after:1", &["apply"]);
    let output = scene.run_logged(&["apply", "--resume"], 0);
    assert!(output.stderr.contains("nothing to resume"), "{output}");
    scene.step(3);
    scene.run(&["apply"]).expect(0);
    assert_eq!(scene.effects(), "+001 +002 +003");
}

#[test]
fn an_unfinished_run_blocks_a_new_one() {
    let scene = Scene::with_steps(3);
    scene.crash("step.answered:2", &["apply"]);
    for command in [&["apply"][..], &["apply", "001"], &["rollback", "--last", "1"], &["rollback", "--resume"]] {
        let output = scene.run(command).expect(7);
        assert!(output.stderr.contains("ME410") && output.stderr.contains("apply --resume"), "{command:?}: {output}");
        assert!(output.stderr.contains("rollback --run"), "{command:?}: {output}");
    }
    scene.run(&["apply", "--resume"]).expect(0);
    assert_eq!(scene.effects(), "+001 +002 +003");
}

const ROLLBACK_CRASHES: &[(&str, [&str; 3])] = &[
    ("lock.after:1", ["G", "G", "G"]),
    ("step.before:1", ["L", "L", "L"]),
    ("step.answered:1", ["L", "L", "L"]),
    ("step.commit_answered:2", ["L", "L", "M"]),
    ("step.answered:3", ["L", "MO", "MO"]),
    ("commit.after:1", ["M", "MO", "MO"]),
    ("verify.before:1", ["O", "O", "O"]),
];

#[test]
fn a_rollback_killed_anywhere_is_finished_by_resume_with_every_reversal_once() {
    // `--resume` and `--run` both go on; they take turns.
    let ways = [&["rollback", "--resume"][..], &["rollback", "--run", "last"]];
    for ((at, rows), command) in ROLLBACK_CRASHES.iter().zip(ways.into_iter().cycle()) {
        let scene = Scene::with_steps(3);
        let before = scene.db.dump();
        scene.run(&["apply"]).expect(0);
        scene.crash(at, &["rollback", "--last", "3"]);
        let rows: Vec<&str> = rows.iter().rev().copied().collect();
        let output = scene.run_logged(command, 0);
        for (id, allowed) in IDS.iter().rev().zip(&rows) {
            let row = row_of(&output, id);
            assert!(allowed.contains(row), "{at}: {id} met row {row}, expected one of {allowed}: {output}");
        }
        assert_eq!(output.json()["state"], "RolledBack", "{at}");
        assert_eq!(scene.effects(), "+001 +002 +003 -003 -002 -001", "{at}");
        assert_eq!((scene.history(), scene.db.dump()), (String::new(), before), "{at}");
    }
}

#[test]
fn row_b_adopts_what_another_runner_applied_while_this_one_waited() {
    let scene = Scene::with_steps(2);
    scene.run(&["apply"]).expect(0);
    scene.project.write("003_m.sql", "SELECT pg_sleep(3); INSERT INTO effects (what) VALUES ('+003');");
    let first = scene.project.spawn(&["apply"]);
    let sleeping =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
    wait_until("the first runner is at work", PATIENCE, || scene.db.psql(sleeping) == "1");
    let elsewhere = scene.project.path().join("second").display().to_string();
    let second = ["-vv", "--format", "json", "--journal", &elsewhere, "apply", "--lock-wait-runner", "60s"];
    let second = collect(scene.project.spawn(&second)).expect(0);
    collect(first).expect(0);
    assert_eq!(scene.effects(), "+001 +002 +003", "{second}");
    assert!(second.stderr.contains("row=B") || second.stderr.contains("nothing to do"), "{second}");
}

/// A statement that copies one history row into another database where the same file was applied.
fn history_row(from: &Scene, id: &str) -> String {
    from.db.psql(&format!(
        "SELECT format('INSERT INTO migengine.history (id, state, run_id, attempt, epoch, content, tokens, requires, \
         header, up_sql, down_sql) VALUES (%L, %L, %L, 1, %L, %L, %L, %L, %L, %L, %L)', id, state, run_id, epoch, \
         content, tokens, requires, header, up_sql, down_sql) FROM migengine.history WHERE id = '{id}'"
    ))
}

#[test]
fn row_b_adopts_a_row_that_a_lost_journal_never_knew() {
    let donor = Scene::with_steps(2);
    donor.run(&["apply"]).expect(0);
    let scene = Scene::with_steps(2);
    scene.crash("lock.after:1", &["apply"]);
    scene.db.psql("CREATE TABLE t001 (n int); INSERT INTO effects (what) VALUES ('+001')");
    scene.db.psql(&history_row(&donor, "001_m"));
    let output = settle(&scene, &["apply", "--resume"], 0, &["B", "A"], "edited");
    assert_eq!(step_field(&output, "001_m", "recovered"), "B");
    assert_eq!(scene.effects(), "+001 +002");
}

/// Stops with exit 6 and the row's letter, and leaves the history alone.
#[track_caller]
fn diverges(scene: &Scene, args: &[&str], id: &str, row: char) {
    let history = || scene.db.psql("SELECT h FROM migengine.history h ORDER BY id");
    let before = (scene.db.dump(), scene.effects(), history());
    let output = scene.run_logged(args, 6);
    assert_eq!(row_of(&output, id), row, "{output}");
    assert_eq!(output.json()["rest"]["reason"], "diverged", "{output}");
    assert!(output.json()["rest"]["message"].as_str().unwrap().contains(&format!("row {row}")), "{output}");
    assert_eq!(before, (scene.db.dump(), scene.effects(), history()), "nothing may be written");
}

#[test]
fn row_c_stops_at_another_content() {
    for at in ["step.answered:1", "commit.after:1", "verify.before:1"] {
        let scene = Scene::with_steps(1);
        let donor = Scene::new();
        donor.project.pair("001_m", "CREATE TABLE other ();", "DROP TABLE other;");
        donor.run(&["apply"]).expect(0);
        scene.crash(at, &["apply"]);
        scene.db.psql("DELETE FROM migengine.history");
        scene.db.psql(&history_row(&donor, "001_m"));
        // Going forward, the changed file is named and refused before anything else is looked at.
        scene.run(&["apply", "--resume"]).expect(5);
        diverges(&scene, &["rollback", "--run", "last"], "001_m", 'C');
    }
}

#[test]
fn row_h_stops_at_a_database_that_went_back_in_time() {
    let scene = Scene::with_steps(1);
    scene.run(&["apply"]).expect(0);
    let (name, maintenance) = (scene.db.name(), support::Database::named("postgres", scene.db.cluster()));
    maintenance.psql(&format!("CREATE DATABASE {name}_backup TEMPLATE {name}"));
    scene.step(2);
    scene.crash("verify.before:1", &["apply"]);
    maintenance.psql(&format!("DROP DATABASE {name} WITH (FORCE)"));
    maintenance.psql(&format!("ALTER DATABASE {name}_backup RENAME TO {name}"));
    let before = scene.everything();
    for command in [&["apply", "--resume"][..], &["apply"], &["rollback", "--run", "last"]] {
        let output = scene.run(command).expect(6);
        assert!(output.stderr.contains("ME333") && output.stderr.contains("went back in time"), "{output}");
    }
    assert_eq!(before, scene.everything());
}

#[test]
fn row_i_stops_at_a_history_row_that_was_removed() {
    let scene = Scene::with_steps(2);
    scene.crash("verify.before:1", &["apply"]);
    scene.db.psql("DELETE FROM migengine.history WHERE id = '002_m'");
    diverges(&scene, &["apply", "--resume"], "002_m", 'I');
}

#[test]
fn row_j_runs_a_failed_step_again() {
    let scene = Scene::with_steps(3);
    scene.project.write("002_m.sql", "CREATE TABLE t002 (n int); SELECT 1/0;");
    scene.run(&["apply"]).expect(7);
    scene.step(2);
    let output = settle(&scene, &["apply", "--resume"], 0, &["G", "J", "A"], "failed");
    assert_eq!(step_field(&output, "002_m", "attempts"), 2);
    assert_eq!(scene.effects(), "+001 +002 +003");

    // And unwinds it, when that is asked for.
    let scene = Scene::with_steps(3);
    scene.project.write("002_m.sql", "CREATE TABLE t002 (n int); SELECT 1/0;");
    scene.run(&["apply"]).expect(7);
    settle(&scene, &["rollback", "--run", "last"], 0, &["G", "J", "A"], "failed");
    assert_eq!((scene.effects(), scene.history()), ("+001 -001".to_owned(), String::new()));
}

#[test]
fn row_k_stops_loudly_where_a_failed_step_is_in_effect() {
    let script = "SELECT 1 / n FROM divisor; INSERT INTO effects (what) VALUES ('+001');";
    let (scene, donor) = (Scene::new(), Scene::new());
    for (scene, n) in [(&scene, 0), (&donor, 1)] {
        scene.db.psql(&format!("CREATE TABLE divisor (n int); INSERT INTO divisor VALUES ({n})"));
        scene.project.pair("001_m", script, "SELECT 1;");
    }
    donor.run(&["apply"]).expect(0);
    scene.run(&["apply"]).expect(7);
    scene.db.psql(&history_row(&donor, "001_m"));
    diverges(&scene, &["apply", "--resume"], "001_m", 'K');
}

#[test]
fn row_p_stops_where_a_reversed_step_is_in_effect_again() {
    let scene = Scene::with_steps(2);
    scene.run(&["apply"]).expect(0);
    let row = history_row(&scene, "002_m");
    scene.crash("verify.before:1", &["rollback", "--last", "1"]);
    scene.db.psql(&row);
    diverges(&scene, &["rollback", "--resume"], "002_m", 'P');
}

#[test]
fn row_q_stays_stuck_until_the_reverse_script_is_mended() {
    let scene = Scene::with_steps(2);
    scene.project.write("001_m_rollback.sql", "SELECT 1/0;");
    scene.run(&["apply"]).expect(0);
    let output = scene.run_logged(&["rollback", "--last", "2"], 6);
    assert_eq!(output.json()["rest"]["reason"], "stuck", "{output}");
    assert_eq!(output.json()["rest"]["step"], "001_m", "{output}");
    let output = settle(&scene, &["apply", "--resume"], 6, &["Q"], "stuck");
    assert_eq!(output.json()["rest"]["reason"], "stuck", "{output}");
    scene.run(&["rollback", "--resume"]).expect(6);
    scene.step(1);
    scene.run(&["rollback", "--resume"]).expect(0);
    assert_eq!((scene.effects(), scene.history()), ("+001 +002 -002 -001".to_owned(), String::new()));
}

/// A script by parts, its reverse, and a query that tells which of the two is in effect.
struct ByParts {
    name: &'static str,
    before: &'static str,
    forward: &'static str,
    reverse: &'static str,
    probe: &'static str,
}

const VALID: &str = "SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
                     WHERE c.relname = 'ix' AND i.indisvalid AND i.indisready";

const SCRIPTS: &[ByParts] = &[
    ByParts {
        name: "an index",
        before: "CREATE TABLE big AS SELECT generate_series(1, 100) AS n",
        forward: "CREATE INDEX CONCURRENTLY ix ON big (n);",
        reverse: "DROP INDEX CONCURRENTLY ix;",
        probe: VALID,
    },
    ByParts {
        name: "an index dropped",
        before: "CREATE TABLE big AS SELECT generate_series(1, 100) AS n; CREATE INDEX ix ON big (n)",
        forward: "DROP INDEX CONCURRENTLY ix;",
        reverse: "CREATE INDEX CONCURRENTLY ix ON big (n);",
        probe: "SELECT 1 - count(*) FROM pg_class WHERE relname = 'ix'",
    },
    ByParts {
        name: "vacuum",
        before: "CREATE TABLE big AS SELECT generate_series(1, 100) AS n; CREATE TABLE log (what int)",
        forward: "VACUUM big;\nINSERT INTO log VALUES (1);",
        reverse: "DELETE FROM log;\nVACUUM big;",
        probe: "SELECT count(*) FROM log",
    },
];

/// Every crash of a script of three parts, the middle one alone, and the row that is met for it afterwards.
const PART_CRASHES: &[&str] = &[
    "part.before:1",
    "part.after:1",
    "mark.before:1",
    "mark.after:1",
    "alone.before:1",
    "alone.sent:1",
    "alone.after:1",
    "mark.before:2",
    "mark.after:2",
    "part.before:2",
    "part.after:2",
    "mark.after:3",
];

fn by_parts(script: &ByParts) -> Scene {
    let scene = Scene::new();
    scene.db.psql(script.before);
    let frame = |sign: char, middle: &str| {
        let note = |part: char| format!("INSERT INTO effects (what) VALUES ('{sign}{part}');");
        format!("-- Transaction: false\n{}\n{middle}\n{}\n", note('a'), note('b'))
    };
    scene.project.pair("001_m", &frame('+', script.forward), &frame('-', script.reverse));
    scene
}

#[test]
fn row_f_a_script_by_parts_is_finished_with_every_part_once() {
    for script in SCRIPTS {
        for at in PART_CRASHES {
            let scene = by_parts(script);
            let what = format!("{} at {at}", script.name);
            scene.crash(at, &["apply"]);
            let output = scene.run_logged(&["apply", "--resume"], 0);
            let row = row_of(&output, "001_m");
            // The last mark is the row that says applied.
            let expected = if *at == "mark.after:3" { 'D' } else { 'F' };
            assert!(row == expected || script.name == "vacuum", "{what}: row {row}: {output}");
            assert_eq!(scene.effects(), "+a +b", "{what}: {output}");
            assert_eq!(scene.db.psql(script.probe), "1", "{what}");
            assert_eq!(scene.history(), "001_m:applied", "{what}");
        }
    }
}

#[test]
fn row_n_a_reversal_by_parts_is_finished_with_every_part_once() {
    for script in &SCRIPTS[..2] {
        for at in PART_CRASHES.iter().filter(|at| !["mark.before:1", "part.before:2"].contains(at)) {
            let scene = by_parts(script);
            let before = scene.db.dump();
            let what = format!("{} at {at}", script.name);
            scene.run(&["apply"]).expect(0);
            scene.crash(at, &["rollback", "--last", "1"]);
            let output = scene.run_logged(&["rollback", "--resume"], 0);
            let row = row_of(&output, "001_m");
            assert!("LN".contains(row), "{what}: row {row}: {output}");
            assert_eq!(scene.effects(), "+a +b -a -b", "{what}: {output}");
            assert_eq!(scene.db.psql(script.probe), "0", "{what}");
            assert_eq!((scene.history(), scene.db.dump()), (String::new(), before), "{what}");
        }
    }
}

#[test]
fn row_f_a_script_by_parts_is_taken_back_from_where_it_stopped() {
    let script = &SCRIPTS[0];
    for at in ["part.before:1", "part.after:1", "alone.before:1", "alone.after:1", "part.after:2", "mark.after:3"] {
        let scene = by_parts(script);
        // A reverse script for one that stopped half-way has to bear with what is not there.
        scene.project.write(
            "001_m_rollback.sql",
            "-- Transaction: false\nDROP INDEX CONCURRENTLY IF EXISTS ix;\nDELETE FROM effects;\n",
        );
        let before = scene.db.dump();
        scene.crash(at, &["apply"]);
        let output = scene.run_logged(&["rollback", "--run", "last"], 0);
        assert_eq!(output.json()["state"], "RolledBack", "{at}: {output}");
        let left = (scene.effects(), scene.history(), scene.db.dump());
        assert_eq!(left, (String::new(), String::new(), before), "{at}: {output}");
    }
}

#[test]
fn row_f_a_part_that_was_only_announced_leaves_nothing_when_taken_back() {
    let reverse = "DROP INDEX CONCURRENTLY ix;";
    for at in ["journal.after:3", "mark.before:1", "mark.after:1", "alone.before:1"] {
        let scene = Scene::with_steps(1);
        scene.project.pair("002_m", "CREATE INDEX CONCURRENTLY ix ON t001 (n);", reverse);
        scene.run(&["apply", "001"]).expect(0);
        let before = scene.db.dump();
        scene.crash(at, &["apply"]);
        scene.run_logged(&["rollback", "--run", "last"], 0);
        assert_eq!((scene.history().as_str(), scene.db.dump()), ("001_m:applied", before), "{at}");
        scene.run(&["apply"]).expect(0);
        assert_eq!(scene.history(), "001_m:applied 002_m:applied", "{at}");
    }
}

#[test]
fn several_transactions_and_enum_values_are_finished_once() {
    let transactions = "BEGIN;\nINSERT INTO effects (what) VALUES ('+a');\nCOMMIT;\n\
                        BEGIN;\nINSERT INTO effects (what) VALUES ('+b');\nCOMMIT;\n";
    let value = "INSERT INTO effects (what) VALUES ('+a');\nALTER TYPE mood ADD VALUE 'fine';\n\
                 INSERT INTO effects (what) SELECT '+b' WHERE 'fine'::mood IS NOT NULL;\n";
    for script in [transactions, value] {
        for at in ["part.before:1", "part.after:1", "part.before:2", "part.after:2", "mark.before:1", "commit.before:2"]
        {
            let scene = Scene::new();
            scene.db.psql("CREATE TYPE mood AS ENUM ('good')");
            scene.project.pair("001_m", script, "-- Transaction: false\nDELETE FROM effects;\nVACUUM effects;\n");
            scene.crash(at, &["apply"]);
            let output = scene.run_logged(&["apply", "--resume"], 0);
            assert_eq!(row_of(&output, "001_m"), 'F', "{at}: {output}");
            assert_eq!(scene.effects(), "+a +b", "{at}: {script}: {output}");
            assert_eq!(scene.history(), "001_m:applied", "{at}");
        }
    }
}

#[test]
fn an_index_build_whose_server_process_died_is_swept_up_and_built() {
    let scene = by_parts(&SCRIPTS[0]);
    let mut psql = scene.db.cluster().program("psql");
    let mut holder = psql
        .args(["-Xq", "-d", &scene.db.url(), "-c", "BEGIN; LOCK TABLE big IN ROW EXCLUSIVE MODE; SELECT pg_sleep(60)"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let held =
        "SELECT count(*) FROM pg_locks WHERE relation = 'big'::regclass AND mode = 'RowExclusiveLock' AND granted";
    wait_until("the table is locked", PATIENCE, || scene.db.psql(held) == "1");
    let runner = scene.project.spawn(&["apply"]);
    let invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid";
    wait_until("the index is being built", PATIENCE, || scene.db.psql(invalid) == "1");
    kill_nine(runner);
    let of_engine = "datname = current_database() AND application_name LIKE 'migengine%'";
    scene.db.psql(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {of_engine}"));
    holder.kill().unwrap();
    holder.wait().unwrap();
    scene.db.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()");
    assert_eq!(scene.db.psql(invalid), "1", "the leavings of the build");
    let output = scene.run_logged(&["apply", "--resume"], 0);
    assert_eq!(row_of(&output, "001_m"), 'F', "{output}");
    assert_eq!((scene.db.psql(VALID), scene.db.psql(invalid)), ("1".to_owned(), "0".to_owned()), "{output}");
    assert_eq!(scene.effects(), "+a +b");
}

#[test]
fn a_lost_journal_is_taken_from_the_database() {
    for at in ["commit.after:1", "verify.before:1"] {
        let scene = Scene::with_steps(3);
        scene.crash(at, &["apply"]);
        std::fs::remove_dir_all(scene.project.journal()).unwrap();
        let output = scene.run_logged(&["apply", "--resume"], 0);
        assert_eq!(scene.effects(), "+001 +002 +003", "{at}: {output}");
        assert_eq!(output.json()["state"], "Committed", "{output}");
    }
}

#[test]
fn a_server_killed_in_the_middle_of_a_step_leaves_it_in_doubt_and_is_waited_for() {
    let cluster = support::Cluster::start_with(support::Options { fsync: true, ..Default::default() });
    let db = cluster.database();
    db.psql("CREATE TABLE effects (what text)");
    let project = support::Project::new(&db);
    project.pair("001_m", "INSERT INTO effects VALUES ('+001');", "DELETE FROM effects;");
    project.pair("002_m", "INSERT INTO effects VALUES ('+002'); SELECT pg_sleep(3);", "DELETE FROM effects;");
    let runner = project.spawn(&["apply"]);
    let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    wait_until("the second step runs", PATIENCE, || db.psql(sleeping) == "1");
    cluster.kill_nine();
    cluster.restart();
    let output = collect(runner).expect(0);
    assert!(output.stderr.contains("in doubt") && output.stderr.contains("recovery row E"), "{output}");
    assert_eq!(db.psql("SELECT string_agg(what, ' ' ORDER BY what) FROM effects"), "+001 +002");

    // Not there again in time: no verdict, exit 6, and resume settles it.
    project.pair("003_m", "INSERT INTO effects VALUES ('+003'); SELECT pg_sleep(3);", "DELETE FROM effects;");
    let runner = project.spawn(&["apply", "--reconnect", "1s", "--format", "json"]);
    wait_until("the third step runs", PATIENCE, || db.psql(sleeping) == "1");
    cluster.kill_nine();
    let output = collect(runner).expect(6);
    assert_eq!(output.json()["rest"]["reason"], "in_doubt", "{output}");
    assert_eq!(output.json()["steps"][0]["state"], "in_doubt", "{output}");
    cluster.restart();
    project.run(&["apply", "--resume"]).expect(0);
    assert_eq!(db.psql("SELECT string_agg(what, ' ' ORDER BY what) FROM effects"), "+001 +002 +003");
}
