//! Steps that make new things only share one wait for the disk. Nobody is told of one before it is on it, and what a crash of
//! the server takes back is done again.
#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use support::process::signal;
use support::project::collect;
use support::scene::step_field;
use support::{Cluster, Database, Options, Project, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

/// `count` steps, each a table with an index.
fn steps(db: &Database<'_>, count: usize) -> Project {
    let project = Project::new(db);
    for number in 1..=count {
        step(&project, number, &format!("t{number:03}"));
    }
    project
}

fn step(project: &Project, number: usize, table: &str) {
    let up = format!("CREATE TABLE {table} (n int PRIMARY KEY);\nCREATE INDEX {table}_i ON {table} (n);\n");
    project.pair(&format!("{number:03}_m"), &up, &format!("DROP TABLE {table};\n"));
}

const HISTORY: &str = "SELECT count(*) FROM migengine.history";

#[test]
fn what_a_dying_server_takes_back_is_done_again_and_was_never_told() {
    // Nobody but the engine writes, and the WAL writer sleeps: what is not waited for is not on the disk.
    let conf = vec!["wal_writer_delay = '10s'".to_owned(), "autovacuum = off".to_owned()];
    let mut taken_back = 0;
    // A busy machine may let the time pass after which a COMMIT waits for the disk again.
    for _ in 0..5 {
        let cluster = Cluster::start_with(Options { conf: conf.clone(), ..Options::default() });
        let db = cluster.database();
        let project = steps(&db, 8);
        let pause = project.path().join("paused");
        let mut command = project.command(&["apply", "--format", "json"]);
        command.env("MIGENGINE_CRASH_AT", "step.commit_answered:5").env("MIGENGINE_CRASH_ACTION", "pause");
        let runner = command.env("MIGENGINE_CRASH_PAUSE", &pause).spawn().unwrap();
        wait_until("four steps are answered", PATIENCE, || pause.exists());
        // The server goes on with what was sent, and the last of them waits for its COMMIT.
        wait_until("the server has done all that it was sent", PATIENCE, || db.psql(HISTORY) == "7");
        cluster.kill_nine();
        cluster.restart();
        let left: usize = db.psql(HISTORY).parse().unwrap();
        std::fs::remove_file(&pause).unwrap();
        let output = collect(runner).expect(0);
        assert_eq!(output.json()["state"], "Committed", "{output}");
        assert_eq!(db.psql(HISTORY), "8", "{output}");
        assert_eq!(db.psql("SELECT count(*) FROM pg_class WHERE relname ~ '^t[0-9]+$'"), "8");
        for number in 1..=8 {
            let journaled = step_field(&output, &format!("{number:03}_m"), "state");
            assert_eq!(journaled, "applied", "{output}");
        }
        project.run(&["journal", "check"]).expect(0);
        taken_back += 7 - left;
        if taken_back > 0 {
            return;
        }
    }
    panic!("no crash took anything back: is every COMMIT waited for?");
}

#[test]
fn a_runner_killed_between_them_leaves_nothing_to_do_twice() {
    for at in
        ["step.commit_answered:2", "step.commit_answered:4", "step.answered:4", "commit.before:1", "commit.after:1"]
    {
        let db = Cluster::shared().database();
        let project = steps(&db, 4);
        let child = project.command(&["apply"]).env("MIGENGINE_CRASH_AT", at).spawn().unwrap();
        assert_eq!(collect(child).code, None, "{at}");
        let told = "SELECT count(*) FROM migengine.record WHERE kind = 'step_applied'";
        assert_eq!(db.psql(told), "0", "{at}: told before anything was waited for");
        let output = project.run(&["apply", "--resume"]).expect(0);
        assert_eq!(db.psql(HISTORY), "4", "{at}: {output}");
        project.run(&["rollback", "--last", "4"]).expect(0);
        assert_eq!(db.psql("SELECT count(*) FROM pg_class WHERE relname ~ '^t[0-9]+$'"), "0", "{at}");
    }
}

#[test]
fn a_refused_step_behind_them_leaves_them_in_effect_and_told_of() {
    let db = Cluster::shared().database();
    let project = steps(&db, 5);
    step(&project, 4, "t002");
    let output = project.run(&["apply", "--format", "json"]).expect(7);
    let states: Vec<_> = (1..=5).map(|number| step_field(&output, &format!("{number:03}_m"), "state")).collect();
    assert_eq!(states, ["applied", "applied", "applied", "failed", "pending"], "{output}");
    assert!(output.stderr.contains("004_m.sql:1:"), "{output}");
    assert_eq!(db.psql(HISTORY), "3");
    let kept = "SELECT string_agg(step, ' ' ORDER BY seq) FROM migengine.record WHERE kind = 'step_applied'";
    assert_eq!(db.psql(kept), "001_m 002_m 003_m");
    step(&project, 4, "t004");
    project.run(&["apply", "--resume"]).expect(0);
    assert_eq!(db.psql(HISTORY), "5");
}

#[test]
fn a_refused_step_in_a_long_train_takes_nothing_along_that_is_behind_it() {
    let twice = "CREATE TABLE t001 (n int);\n";
    let deferred = |table: &str| {
        format!(
            "CREATE TABLE {table} (n int PRIMARY KEY, m int REFERENCES {table} DEFERRABLE INITIALLY DEFERRED);\n\
             INSERT INTO {table} VALUES (1, 2);\n"
        )
    };
    let table = |at: usize| format!("CREATE TABLE t{at:03} (n int);\n");
    // A train has 32 steps, and a COMMIT that is waited for stands between it and the next.
    for at in [2, 20, 31, 32, 33, 34, 63, 64, 65] {
        for (refused_by, up) in [
            ("its statement", twice.to_owned()),
            ("its COMMIT", deferred(&format!("t{at:03}"))),
            ("its COMMIT, in the train", table(at)),
        ] {
            let db = Cluster::shared().database();
            let id = format!("{at:03}_m");
            if refused_by == "its COMMIT, in the train" {
                // The engine's tables are there, and somebody's trigger on them.
                steps(&db, 1).run(&["apply"]).expect(0);
                db.psql(&format!(
                    "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not this one'; END $$; \
                     CREATE CONSTRAINT TRIGGER no AFTER INSERT ON migengine.history DEFERRABLE INITIALLY DEFERRED \
                     FOR EACH ROW WHEN (NEW.id = '{id}') EXECUTE FUNCTION no()"
                ));
            }
            let project = steps(&db, 70);
            project.pair(&id, &up, "SELECT 1;\n");
            let output = project.run(&["apply", "--format", "json"]).expect(7);
            let case = format!("{id}, refused by {refused_by}: {output}");
            assert_eq!(db.psql(HISTORY), (at - 1).to_string(), "{case}");
            let tables = "SELECT count(*) FROM pg_class WHERE relname ~ '^t[0-9]+$'";
            assert_eq!(db.psql(tables), (at - 1).to_string(), "{case}");
            let told =
                output.json()["steps"].as_array().unwrap().iter().filter(|step| step["state"] == "applied").count();
            let before = usize::from(refused_by == "its COMMIT, in the train");
            assert_eq!((told, step_field(&output, &id, "state")), (at - 1 - before, "failed".into()), "{case}");
            step(&project, at, &format!("t{at:03}"));
            db.psql("DROP FUNCTION IF EXISTS no CASCADE");
            project.run(&["apply", "--resume"]).expect(0);
            assert_eq!((db.psql(HISTORY), db.psql(tables)), ("70".to_owned(), "70".to_owned()), "{case}");
            project.run(&["journal", "check"]).expect(0);
        }
    }
}

#[test]
fn a_signal_while_a_standby_is_waited_for_ends_no_wait() {
    let cluster = Cluster::start_with(Options::default());
    let db = cluster.database();
    let project = steps(&db, 70);
    let pause = project.path().join("paused");
    let mut command = project.command(&["apply", "--format", "json"]);
    command.env("MIGENGINE_CRASH_AT", "step.before:1").env("MIGENGINE_CRASH_ACTION", "pause");
    let runner = command.env("MIGENGINE_CRASH_PAUSE", &pause).spawn().unwrap();
    wait_until("the first step is about to begin", PATIENCE, || pause.exists());
    let standby = |what: &str| {
        db.psql(&format!("ALTER SYSTEM {what}"));
        db.psql("SELECT pg_reload_conf()");
    };
    standby("SET synchronous_standby_names = 'nobody'");
    wait_until("it counts", PATIENCE, || db.psql("SHOW synchronous_standby_names") == "nobody");
    std::fs::remove_file(&pause).unwrap();
    let waiting = || db.psql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") == "1";
    wait_until("a COMMIT waits for the standby", PATIENCE, waiting);
    signal(i32::try_from(runner.id()).unwrap(), nix::sys::signal::Signal::SIGTERM);
    std::thread::sleep(Duration::from_millis(500));
    assert!(waiting(), "a cancelled wait reads like a COMMIT that the standby has");
    standby("RESET synchronous_standby_names");
    let output = collect(runner).expect(7);
    assert!(!cluster.log().contains("canceling wait for synchronous replication"), "{output}");
    let applied = output.json()["steps"].as_array().unwrap().iter().filter(|step| step["state"] == "applied").count();
    assert_eq!(db.psql(HISTORY), applied.to_string(), "{output}");
    project.run(&["apply", "--resume"]).expect(0);
    assert_eq!(db.psql(HISTORY), "70");
}

#[test]
fn a_signal_among_them_leaves_a_run_that_goes_on() {
    let db = Cluster::shared().database();
    let project = steps(&db, 40);
    let mut command = project.command(&["apply", "--format", "json"]);
    let runner = command.env("MIGENGINE_CRASH_AT", "step.commit_answered:4").env("MIGENGINE_CRASH_ACTION", "term");
    let output = collect(runner.spawn().unwrap()).expect(7);
    let applied = output.json()["steps"].as_array().unwrap().iter().filter(|step| step["state"] == "applied").count();
    assert_eq!(db.psql(HISTORY), applied.to_string(), "{output}");
    assert!((3..40).contains(&applied), "{output}");
    project.run(&["apply", "--resume"]).expect(0);
    assert_eq!(db.psql(HISTORY), "40");
}

#[test]
fn small_steps_do_not_wait_for_the_disk_one_by_one() {
    let cluster = Cluster::start_with(Options { fsync: true, ..Options::default() });
    let db = cluster.database();
    let project = steps(&db, 64);
    let syncs = "SELECT pg_stat_force_next_flush(), pg_sleep(0.1); SELECT wal_sync FROM pg_stat_wal";
    let syncs = if cluster.major() >= 15 { syncs } else { "SELECT pg_sleep(1.1); SELECT wal_sync FROM pg_stat_wal" };
    let count = || db.psql(syncs).lines().last().unwrap().parse::<u64>().unwrap();
    let before = count();
    project.run(&["apply"]).expect(0);
    let waited = count() - before;
    // One for every step at least, were they not shared; the engine's own tables take some.
    assert!(waited < 48, "{waited} flushes for 64 steps");
}
