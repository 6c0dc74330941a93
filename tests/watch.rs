//! What can be seen of a run while it lasts: on a terminal, as a stream of events, and from another terminal.
#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use support::project::collect;
use support::{Output, Scene, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

/// Lines of JSON.
fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

fn of_type<'v>(lines: &'v [Value], name: &str) -> Vec<&'v Value> {
    lines.iter().filter(|line| line["type"] == name).collect()
}

/// A session that does something in a transaction and then nothing, until it is ended by its name.
fn in_the_way(scene: &Scene, name: &str, begin: &str) -> JoinHandle<()> {
    let (db, sql) =
        (scene.db.clone(), format!("SET application_name = '{name}'; BEGIN; {begin}; SELECT pg_sleep(600)"));
    let session = std::thread::spawn(move || drop(db.try_psql(&sql)));
    let sleeping =
        format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = '{name}' AND wait_event = 'PgSleep'");
    wait_until("somebody is in the way", PATIENCE, || scene.db.psql(&sleeping) == "1");
    session
}

fn end(scene: &Scene, name: &str) {
    scene.db.psql(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{name}'"));
}

/// A project with a statement in pieces, one that has to wait for a lock, and an index that has to wait for a writer.
fn long_scene() -> Scene {
    let scene = Scene::new();
    scene.db.psql(
        "CREATE TABLE big (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); \
         INSERT INTO big SELECT i, 0 FROM generate_series(1, 40000) i; ANALYZE big; \
         CREATE TABLE held (id int); CREATE TABLE written (id int)",
    );
    scene.project.pair(
        "001_fill",
        "-- chunk: big by id, size 100, max-size 200\nUPDATE big SET n = n + 1;\n",
        "-- chunk: big by id, size 100\nUPDATE big SET n = n - 1;\n",
    );
    scene
}

/// The program with a terminal for its stderr: what it left, and what it showed there. When it shows a text for the
/// first time, something happens.
fn on_a_terminal(scene: &Scene, args: &[&str], reactions: &[(&str, &dyn Fn())]) -> (Output, String) {
    let size = nix::pty::Winsize { ws_row: 40, ws_col: 110, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = nix::pty::openpty(Some(&size), None).unwrap();
    let mut command = scene.project.command(args);
    command.env("TERM", "xterm").stderr(Stdio::from(terminal.slave));
    let child = command.spawn().unwrap();
    // The command holds the terminal open, and with it the reader.
    drop(command);
    let output = std::thread::spawn(move || collect(child));
    let mut master = std::fs::File::from(terminal.master);
    let (mut shown, mut buffer, mut reactions) = (String::new(), [0; 4096], reactions.iter());
    let mut awaited = reactions.next();
    // The last one to close the terminal ends this with an error.
    while let Ok(read @ 1..) = master.read(&mut buffer) {
        shown.push_str(&String::from_utf8_lossy(&buffer[..read]));
        if let Some((_, react)) = awaited.filter(|(text, _)| shown.contains(text)) {
            react();
            awaited = reactions.next();
        }
    }
    (output.join().unwrap(), shown)
}

#[test]
fn a_terminal_shows_state_step_rows_lock_waits_and_builds_and_nothing_of_it_gets_into_the_data() {
    let scene = long_scene();
    scene.project.pair("002_lock", "ALTER TABLE held ADD COLUMN more int;\n", "ALTER TABLE held DROP COLUMN more;\n");
    scene.project.pair(
        "003_index",
        "CREATE INDEX CONCURRENTLY written_id ON written (id);\n",
        "DROP INDEX CONCURRENTLY written_id;\n",
    );
    let holder = in_the_way(&scene, "holder", "LOCK TABLE held IN ACCESS SHARE MODE");
    let writer = in_the_way(&scene, "writer", "INSERT INTO written VALUES (1)");
    let reactions: [(&str, &dyn Fn()); 2] =
        [("holds held", &|| end(&scene, "holder")), ("waiting for writers before build", &|| end(&scene, "writer"))];
    let (output, shown) = on_a_terminal(&scene, &["apply", "--yes", "--events", "--format", "json"], &reactions);
    holder.join().unwrap();
    writer.join().unwrap();
    output.clone().expect(0);
    for expected in [
        "apply Applying, step 1 of 3, 0:0",
        "001_fill  0:0",
        "[",
        " rows, ",
        " keys/s, about ",
        "002_lock  0:0",
        "waits for its locks, ",
        "holds held",
        "waiting for writers before build",
        // Lines stand above the display, whole.
        "  applied   003_index  (",
    ] {
        assert!(shown.contains(expected), "{expected} in {shown:?}");
    }
    // The display is gone in the end: what is left of the last picture is erased.
    let end = shown.rfind("apply Applying").unwrap();
    assert!(shown[end..].contains("\x1b[2K"), "{:?}", &shown[end..]);
    assert!(!output.stdout.contains('\x1b'), "{output}");

    let lines = lines(&output.stdout);
    let kinds: Vec<&str> = of_type(&lines, "progress").iter().map(|line| line["kind"].as_str().unwrap()).collect();
    for kind in ["rows", "lock_wait", "index_build"] {
        assert!(kinds.contains(&kind), "{kind} in {kinds:?}");
    }
    let wait = lines.iter().find(|line| line["kind"] == "lock_wait").unwrap();
    assert!(wait["blockers"][0].as_str().unwrap().contains("holds held"), "{wait}");
    assert_eq!((&wait["step"], wait["run"].as_str().map(str::len)), (&"002_lock".into(), Some(26)), "{wait}");
}

#[test]
fn without_a_terminal_or_when_asked_there_are_lines_only() {
    let scene = Scene::with_steps(1);
    let (output, shown) = on_a_terminal(&scene, &["apply", "--progress", "plain"], &[]);
    output.expect(0);
    assert!(shown.contains("  applied   001_m") && !shown.contains("step 1 of 1"), "{shown:?}");
    scene.step(2);
    let output = scene.run(&["apply"]).expect(0);
    assert!(!output.stderr.contains('\x1b') && !output.stderr.contains("step 1 of 1"), "{output}");
}

#[test]
fn events_come_as_lines_the_journal_tells_the_same_and_the_result_is_last() {
    let scene = Scene::with_steps(1);
    scene.project.pair("002_m", "SELECT 1/0;\n", "SELECT 1;\n");
    let output = scene.run(&["apply", "--events", "--format", "json"]).expect(7);
    let failed = lines(&output.stdout);
    let (result, events) = failed.split_last().unwrap();
    assert_eq!((&result["type"], &result["rest"]["step"]), (&"result".into(), &"002_m".into()), "{output}");
    for (number, event) in events.iter().enumerate() {
        assert_eq!((&event["type"], &event["seq"]), (&"event".into(), &(number + 1).into()), "{event}");
        assert_eq!(event["run"], result["run_id"]);
        assert!(event["at"].as_str().unwrap().ends_with('Z'), "{event}");
    }
    let follow = scene.run(&["journal", "show", "last", "--follow", "--format", "json"]).expect(0).stdout;
    assert!(!follow.contains("\"progress\""), "a run that rests is at nothing: {follow}");
    assert_eq!(lines(&follow), events, "from another terminal it is the same");

    scene.project.pair("002_m", "CREATE TABLE t002 ();\n", "DROP TABLE t002;\n");
    let output = scene.run(&["apply", "--resume", "--events", "--format", "json"]).expect(0);
    let resumed = lines(&output.stdout);
    assert_eq!(resumed[0]["kind"], "resumed", "{output}");
    assert_eq!(resumed[0]["seq"], events.len() + 1, "it goes on where the journal stood");
    assert_eq!(resumed.last().unwrap()["state"], "Committed");
    let output = scene.run(&["rollback", "--to", "001", "--events", "--format", "json"]).expect(0);
    assert_eq!(lines(&output.stdout).last().unwrap()["state"], "RolledBack", "{output}");
}

#[test]
fn whoever_watches_from_another_machine_sees_a_run_that_is_under_way() {
    let scene = Scene::with_steps(1);
    scene.db.psql("CREATE TABLE held (id int); CREATE TABLE written (id int)");
    scene.project.pair("002_lock", "ALTER TABLE held ADD COLUMN more int;\n", "SELECT 1;\n");
    scene.project.pair(
        "003_index_with_a_long_name_indeed",
        "CREATE INDEX CONCURRENTLY ON written (id);\n",
        "SELECT 1;\n",
    );
    let holder = in_the_way(&scene, "holder", "LOCK TABLE held IN ACCESS SHARE MODE");
    let writer = in_the_way(&scene, "writer", "INSERT INTO written VALUES (1)");
    let child = scene.project.spawn(&["apply", "--yes"]);
    wait_until("the first step is in effect", PATIENCE, || scene.tables() == "t001");
    let mut elsewhere = scene.project.command(&["journal", "show", "last", "--follow", "--format", "json"]);
    elsewhere.env("MIGENGINE_JOURNAL", scene.project.path().join("another-machine"));
    let mut elsewhere = elsewhere.spawn().unwrap();
    let mut told = BufReader::new(elsewhere.stdout.take().unwrap());
    let mut seen = Vec::new();
    let mut next = || {
        let mut line = String::new();
        told.read_line(&mut line).unwrap();
        serde_json::from_str::<Value>(&line).ok()
    };
    // It sees the wait, and then the build, while they last: each is over only when it has been seen.
    while let Some(event) = next() {
        if event["topic"] == "guard" && event["message"].as_str().unwrap().contains("holds held") {
            end(&scene, "holder");
        }
        if event["type"] == "progress" && event["phase"] == "waiting for writers before build" {
            assert_eq!(
                (&event["step"], &event["kind"]),
                (&"003_index_with_a_long_name_indeed".into(), &"index_build".into())
            );
            end(&scene, "writer");
        }
        seen.push(event);
    }
    holder.join().unwrap();
    writer.join().unwrap();
    collect(child).expect(0);
    collect(elsewhere).expect(0);
    assert_eq!(seen.last().unwrap()["kind"], "run_committed", "{seen:?}");
    assert!(!scene.project.path().join("another-machine").exists(), "who looks on writes nothing");
}

#[test]
fn events_in_text_are_refused_and_errors_before_a_run_are_a_result_too() {
    let scene = Scene::with_steps(1);
    let output = scene.run(&["apply", "--events"]).expect(2);
    assert!(output.stderr.contains("ME716") && output.stdout.is_empty(), "{output}");
    scene.project.write("002_bad.sql", "SELECT 'never ended;\n");
    let output = scene.run(&["apply", "--events", "--format", "json"]).expect(5);
    let all = lines(&output.stdout);
    assert_eq!((all.len(), &all[0]["type"]), (1, &"result".into()), "{output}");
    assert_eq!(scene.effects(), "");
}

#[test]
fn a_reader_that_stops_reading_holds_up_nothing() {
    let scene = Scene::new();
    // More than a pipe takes: every event names a migration with a long name.
    let long = "x".repeat(150);
    for number in 1..=200 {
        scene.project.pair(&format!("{number:03}_{long}"), "SELECT 1;\n", "SELECT 1;\n");
    }
    let child = scene.project.spawn(&["apply", "--yes", "--events", "--format", "json"]);
    let state = "SELECT coalesce((SELECT state FROM migengine.run), '')";
    let there = || scene.db.psql("SELECT to_regclass('migengine.run') IS NOT NULL") == "t";
    wait_until("the run is over though nobody reads", PATIENCE, || there() && scene.db.psql(state) == "Committed");
    let output = collect(child).expect(0);
    let lines = lines(&output.stdout);
    assert_eq!(lines.last().unwrap()["type"], "result");
    assert_eq!(lines.iter().filter(|line| line["kind"] == "step_applied").count(), 200, "nothing is lost");
}

#[test]
fn a_vacuum_tells_how_far_it_has_come() {
    let scene = Scene::new();
    scene.db.psql(
        "CREATE TABLE big AS SELECT n, repeat('x', 500) AS x FROM generate_series(1, 8000) n; UPDATE big SET n = n + 1",
    );
    // Slow enough to be seen.
    scene.db.psql(&format!("ALTER DATABASE {} SET vacuum_cost_delay = '50ms'", scene.db.name()));
    scene.db.psql(&format!("ALTER DATABASE {} SET vacuum_cost_limit = 60", scene.db.name()));
    scene.project.pair("001_vacuum", "VACUUM big;\n", "SELECT 1;\n");
    let output = scene.run(&["apply", "--events", "--format", "json"]).expect(0);
    let lines = lines(&output.stdout);
    let seen = lines.iter().find(|line| line["kind"] == "vacuum").unwrap_or_else(|| panic!("nothing seen: {output}"));
    assert!(seen["message"].as_str().unwrap().starts_with("vacuum: "), "{seen}");
    assert!((&seen["step"], seen["phase"].is_string()) == (&"001_vacuum".into(), true), "{seen}");
}

#[test]
fn the_log_is_lines_of_json_when_asked_and_a_level_that_is_none_is_refused() {
    let scene = Scene::with_steps(1);
    let output = scene.run(&["apply", "--log-format", "json", "--log-level", "info", "-q"]).expect(0);
    let log = lines(&output.stderr);
    let applied = log.iter().find(|line| line["message"] == "step_applied").unwrap();
    assert_eq!((&applied["level"], &applied["step"]), (&"INFO".into(), &"001_m".into()), "{applied}");
    assert!(applied["timestamp"].is_string() && applied["run"].is_string(), "{applied}");
    for wrong in ["noise=?", "inof", "migengine=debug,inof"] {
        let mut command = scene.project.command(&["status"]);
        let output = collect(command.env("MIGENGINE_LOG", wrong).spawn().unwrap()).expect(2);
        assert!(output.stderr.contains("ME717"), "{wrong}: {output}");
    }
    let output = scene.run(&["status", "--log-level", "off"]).expect(0);
    assert_eq!(output.stderr, "", "{output}");

    // The configuration says the same where neither option nor variable does.
    let config = "[env.production]\nlog_level = \"info\"\nlog_format = \"json\"\n";
    std::fs::write(scene.project.path().join("migengine.toml"), config).unwrap();
    scene.step(2);
    let output = scene.run(&["--env", "production", "apply", "-q"]).expect(0);
    assert!(lines(&output.stderr).iter().any(|line| line["message"] == "step_applied"), "{output}");
    let rollback = ["--env", "production", "rollback", "--last", "1", "-q", "--log-level", "off"];
    assert_eq!(scene.run(&rollback).expect(0).stderr, "");
    let output = scene.run(&["--env", "production", "apply", "-q", "--log-format", "human"]).expect(0);
    assert!(output.stderr.contains("INFO") && !output.stderr.contains('{'), "{output}");
}
