//! Server sessions that outlive their runner. The scripts switch `client_connection_check_interval` off, as services do
//! that pin it: the server does not notice that the client is gone, and the statement goes on.
#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use nix::sys::signal::Signal;
use support::process::signal;
use support::project::collect;
use support::{Cluster, Options, Output, Project, Scene, kill_nine, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);
const DEAF: &str = "SET client_connection_check_interval = 0;\n";
const AT_WORK: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";

/// Two steps, of which the second does `before` and then sleeps for as long as the test may last.
fn asleep(before: &str) -> (Scene, std::process::Child) {
    let scene = Scene::with_steps(2);
    let script = format!("{DEAF}INSERT INTO effects (what) VALUES ('+002');\n{before}SELECT pg_sleep(600);\n");
    scene.project.write("002_m.sql", script);
    let runner = scene.project.spawn(&["apply"]);
    wait_until("the second step sleeps", PATIENCE, || scene.db.psql(AT_WORK) == "1");
    (scene, runner)
}

/// What has not taken effect may be edited.
fn mend(scene: &Scene) {
    scene.step(2);
}

fn says(output: &Output, words: &[&str]) {
    for word in words {
        assert!(output.stderr.contains(word), "`{word}` is missing: {output}");
    }
}

/// A machine that vanishes sends no word of it: the server has to ask, within the limits that the URL gives the line.
#[test]
fn the_server_asks_after_a_runner_that_fell_silent_within_limits() {
    let cluster = Cluster::start_with(Options { tcp: true, ..Options::default() });
    let db = cluster.database();
    let asked = "SELECT name || '=' || current_setting(name) AS said FROM unnest(ARRAY['tcp_keepalives_idle', \
        'tcp_keepalives_interval', 'tcp_keepalives_count', 'tcp_user_timeout']) AS name";
    for (table, parameters, expected) in [
        ("plain", "", "30 10 3 60000"),
        ("given", "?keepalives_idle=7&keepalives_interval=2&keepalives_count=5&tcp_user_timeout=9000", "7 2 5 9000"),
    ] {
        let project = Project::with_url(&format!("{}{parameters}", cluster.tcp_url(db.name())));
        project.write("001_m.sql", format!("CREATE TABLE {table} AS {asked};\n"));
        project.run(&["apply", "--yes"]).expect(0);
        let said = db.psql(&format!("SELECT string_agg(regexp_replace(said, '[^0-9]', '', 'g'), ' ') FROM {table}"));
        assert_eq!(said, expected, "{table}");
        db.psql("DROP SCHEMA migengine CASCADE");
    }
}

#[test]
fn an_orphan_that_holds_the_lock_is_waited_for_and_then_ended() {
    let (scene, runner) = asleep("");
    kill_nine(runner);
    mend(&scene);
    says(&scene.run(&["apply"]).expect(7), &["ME410", "apply --resume"]);
    assert_eq!(scene.db.psql(AT_WORK), "1", "a command that is refused ends nobody");
    let output = scene.run(&["apply", "--resume", "--orphan-wait", "1s"]).expect(0);
    says(&output, &["Waiting for it", "ending a session of a runner that is gone"]);
    assert_eq!((scene.db.psql(AT_WORK).as_str(), scene.effects().as_str()), ("0", "+001 +002"));
}

#[test]
fn an_orphan_that_ends_in_time_is_not_ended() {
    let scene = Scene::with_steps(2);
    scene
        .project
        .write("002_m.sql", format!("{DEAF}INSERT INTO effects (what) VALUES ('+002');\nSELECT pg_sleep(3);\n"));
    let runner = scene.project.spawn(&["apply"]);
    wait_until("the second step sleeps", PATIENCE, || scene.db.psql(AT_WORK) == "1");
    kill_nine(runner);
    let output = scene.run(&["apply", "--resume", "--orphan-wait", "60s"]).expect(0);
    assert!(!output.stderr.contains("ending a session"), "{output}");
    assert_eq!(scene.effects(), "+001 +002");
}

#[test]
fn a_peer_that_holds_the_lock_is_never_ended_though_its_journal_was_adopted() {
    let (scene, runner) = asleep("");
    let elsewhere = scene.project.path().join("second").display().to_string();
    for command in [&["apply", "--resume"][..], &["rollback", "--run", "last"], &["apply", "--resume"]] {
        let args = [&["--journal", &elsewhere], command, &["--orphan-wait", "300ms"]].concat();
        says(&scene.run(&args).expect(4), &["ME331", "pid"]);
        assert_eq!(scene.db.psql(AT_WORK), "1", "{command:?} ended a live peer");
    }
    signal(i32::try_from(runner.id()).unwrap(), Signal::SIGTERM);
    collect(runner).expect(7);
    mend(&scene);
    scene.run(&["apply", "--resume"]).expect(0);
    assert_eq!(scene.effects(), "+001 +002");
}

#[test]
fn without_the_journal_of_its_runner_nothing_proves_an_orphan_so_it_is_not_ended() {
    let (scene, runner) = asleep("");
    kill_nine(runner);
    std::fs::remove_dir_all(scene.project.journal()).unwrap();
    mend(&scene);
    says(&scene.run(&["apply", "--resume", "--orphan-wait", "300ms"]).expect(4), &["ME331", "pid"]);
    assert_eq!(scene.db.psql(AT_WORK), "1");
    scene.db.psql("SELECT pg_terminate_backend(pid, 10000) FROM migengine.lease");
    scene.run(&["apply", "--resume"]).expect(0);
    assert_eq!(scene.effects(), "+001 +002");
}

#[test]
fn an_orphan_that_lost_the_lock_is_ended_under_the_lock_by_any_machine() {
    for other_machine in [false, true] {
        let (scene, runner) = asleep("SELECT pg_advisory_unlock_all();\n");
        kill_nine(runner);
        if other_machine {
            std::fs::remove_dir_all(scene.project.journal()).unwrap();
        }
        mend(&scene);
        let output = scene.run(&["apply", "--resume", "--orphan-wait", "300ms"]).expect(0);
        says(&output, &["ending a session of a runner that is gone"]);
        assert_eq!((scene.db.psql(AT_WORK).as_str(), scene.effects().as_str()), ("0", "+001 +002"));
    }
}

#[test]
fn a_session_that_only_bears_the_name_of_a_step_is_waited_for_and_not_ended() {
    let scene = Scene::with_steps(2);
    scene.crash("step.answered:2", &["apply"]);
    let run = scene.db.psql("SELECT run_id FROM migengine.lease");
    let named = format!("SET application_name = 'migengine:{run}:002_m'; SELECT pg_sleep(600)");
    let db = scene.db.clone();
    let stranger = std::thread::spawn(move || db.try_psql(&named));
    wait_until("the session sleeps", PATIENCE, || scene.db.psql(AT_WORK) == "1");
    says(&scene.run(&["apply", "--resume", "--orphan-wait", "300ms"]).expect(4), &["ME355", "pg_terminate_backend"]);
    assert_eq!(scene.db.psql(AT_WORK), "1");
    scene.db.psql(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity \
         WHERE datname = current_database() AND wait_event = 'PgSleep'",
    );
    assert!(stranger.join().unwrap().is_err());
    scene.run(&["apply", "--resume"]).expect(0);
    assert_eq!(scene.effects(), "+001 +002");
}
