//! Data scripts too large to be held: read twice, the second time while they are sent.
#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use support::process::wait_until;
use support::project::collect;
use support::{Output, Project, Scene};

/// Above the size from which a script's data stay in the file.
const ROWS: usize = 300_000;

/// A script of about 100 bytes a row: a table, its data, and an index behind them.
fn data_script(project: &Project, rows: usize) -> PathBuf {
    let mut text = Vec::with_capacity(rows * 110);
    text.extend_from_slice(b"\xef\xbb\xbf-- Description: many rows\n");
    text.extend_from_slice(
        b"CREATE TABLE items (id bigint PRIMARY KEY, name text, note text);\nCOPY items FROM stdin;\n",
    );
    for row in 0..rows {
        let note = "n\u{f6}te, as long as those of data scripts are; and a semicolon";
        writeln!(text, "{row}\tname of item {row}\t{note} {row:09}").unwrap();
    }
    text.extend_from_slice(b"\\.\nCREATE INDEX items_name ON items (name);\n");
    project.write("001_items.sql", &text)
}

/// The same rows as statements.
fn insert_script(project: &Project, rows: usize) -> PathBuf {
    let mut text = Vec::with_capacity(rows * 130);
    text.extend_from_slice(
        b"-- Description: many rows\nCREATE TABLE items (id bigint PRIMARY KEY, name text, note text);\n",
    );
    for row in 0..rows {
        let note = "n\u{f6}te, as long as those of data scripts are; and it''s a semicolon";
        writeln!(text, "INSERT INTO items VALUES ({row}, 'name of item {row}', '{note} {row:09}');").unwrap();
    }
    text.extend_from_slice(b"CREATE INDEX items_name ON items (name);\n");
    project.write("001_items.sql", &text)
}

/// Runs a command to its end. Returns the most memory it had, in MB, too.
fn peak(project: &Project, args: &[&str]) -> (Output, usize) {
    let child = project.spawn(args);
    let status = format!("/proc/{}/status", child.id());
    let watch = std::thread::spawn(move || {
        let mut peak = 0;
        // The file is empty of figures as soon as the process has ended.
        while let Some(now) = fs::read_to_string(&status).ok().as_deref().and_then(high_water) {
            peak = peak.max(now);
            std::thread::sleep(Duration::from_millis(2));
        }
        peak
    });
    let output = collect(child);
    (output, watch.join().unwrap() >> 10)
}

/// In kB.
fn high_water(status: &str) -> Option<usize> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

#[test]
fn a_data_script_takes_less_memory_than_its_size() {
    if !Path::new("/proc/self/status").exists() {
        println!("skipped: this system has no /proc to read the memory from");
        return;
    }
    // What the program takes by itself, which is more in this build than in one for users.
    let (_, usual) = peak(&Scene::with_steps(1).project, &["apply"]);
    takes_less(usual, ROWS, 3, data_script);
    takes_less(usual, ROWS / 3, 0, insert_script);
}

fn takes_less(usual: usize, rows: usize, mark: u64, script: fn(&Project, usize) -> PathBuf) {
    let scene = Scene::new();
    let path = script(&scene.project, rows);
    let size = fs::metadata(&path).unwrap().len();
    for (args, code) in
        [(&["list"][..], 0), (&["lint"], 0), (&["plan"], 0), (&["status"], 0), (&["apply"], 0), (&["status"], 0)]
    {
        let (output, peak) = peak(&scene.project, args);
        println!("{args:?}: {peak} MB for a file of {} MB", size >> 20);
        output.expect(code);
        assert!(peak > 1, "the peak of {args:?} was not seen: {peak}");
        assert!(peak < 60 && peak < usual + 16, "{args:?} took {peak} MB, and {usual} MB without any data");
    }
    assert_eq!(scene.db.psql("SELECT count(*), max(id) FROM items"), format!("{rows}|{}", rows - 1));
    // The history has all of it, and it is what the file holds behind its byte order mark.
    let whole = "SELECT content = sha256(convert_to(up_sql, 'UTF8')), octet_length(up_sql) FROM migengine.history";
    assert_eq!(scene.db.psql(whole), format!("t|{}", size - mark));
    assert_eq!(scene.db.psql("SELECT count(*) FROM migengine.piece"), "0");
}

#[test]
fn the_sql_of_a_plan_has_the_data_that_stayed_in_the_file() {
    let scene = Scene::new();
    data_script(&scene.project, ROWS / 6);
    let sql = scene.run(&["plan", "--sql"]).expect(0);
    let last = format!("{}\tname of item", ROWS / 6 - 1);
    assert!(sql.stdout.contains(&last), "the data are missing: {} bytes", sql.stdout.len());
    assert!(sql.stdout.contains("\n\\.\nCREATE INDEX"), "what follows the data is missing");
}

#[test]
fn an_error_of_the_server_behind_the_data_names_the_line_of_the_file() {
    let scene = Scene::new();
    let path = data_script(&scene.project, ROWS / 6);
    let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(b"SELECT 1,\n       nothing FROM items;\n").unwrap();
    let output = scene.run(&["apply"]).expect(7);
    let place = format!("001_items.sql:{}:8", ROWS / 6 + 7);
    assert!(output.stderr.contains(&place), "`{place}` is missing: {output}");
    assert_eq!(scene.db.psql("SELECT to_regclass('items') IS NULL"), "t");
}

/// A step waits until `go` has a row; what happens to the file of the step behind it happens after it was planned.
fn while_the_run_is_under_way(rows: usize, change: impl FnOnce(&Path)) -> (Scene, Output) {
    while_a_script_waits(data_script, rows, change)
}

fn while_a_script_waits(
    script: fn(&Project, usize) -> PathBuf,
    rows: usize,
    change: impl FnOnce(&Path),
) -> (Scene, Output) {
    let scene = Scene::new();
    scene.db.psql("CREATE TABLE go (n int)");
    let path = script(&scene.project, rows);
    let wait = "DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM go) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$;";
    scene.project.write("000_wait.sql", wait);
    let runner = scene.project.spawn(&["apply"]);
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'migengine:%:000_wait'";
    wait_until("the first step runs", Duration::from_secs(60), || scene.db.psql(waiting) == "1");
    change(&path);
    scene.db.psql("INSERT INTO go VALUES (1)");
    (scene, collect(runner))
}

#[test]
fn data_that_were_changed_after_planning_have_no_effect() {
    let (scene, output) = while_the_run_is_under_way(ROWS / 6, |path| {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        let digit = bytes[middle..].iter().position(u8::is_ascii_digit).unwrap();
        bytes[middle + digit] ^= 1; // another digit: the size is the same
        fs::write(path, bytes).unwrap();
    });
    let output = output.expect(7);
    assert!(output.stderr.contains("ME328") && output.stderr.contains("001_items.sql"), "{output}");
    assert_eq!(scene.db.psql("SELECT to_regclass('items') IS NULL"), "t");
    assert_eq!(scene.history(), "000_wait:applied");
    scene.run(&["apply", "--resume"]).expect(0);
    assert_eq!(scene.db.psql("SELECT count(*) FROM items"), (ROWS / 6).to_string());
}

#[test]
fn a_file_that_grew_or_went_after_planning_has_no_effect() {
    let (scene, output) = while_the_run_is_under_way(ROWS / 6, |path| {
        fs::OpenOptions::new().append(true).open(path).unwrap().write_all(b"DROP TABLE items;\n").unwrap();
    });
    let output = output.expect(7);
    assert!(output.stderr.contains("ME328"), "{output}");
    assert_eq!(scene.db.psql("SELECT to_regclass('items') IS NULL"), "t");
    let (scene, output) = while_the_run_is_under_way(ROWS / 6, |path| fs::remove_file(path).unwrap());
    let output = output.expect(7);
    assert!(output.stderr.contains("ME329"), "{output}");
    assert_eq!(scene.db.psql("SELECT to_regclass('items') IS NULL"), "t");
}

#[test]
fn a_run_killed_with_the_data_sent_goes_on() {
    let scene = Scene::new();
    data_script(&scene.project, ROWS / 6);
    scene.crash("step.answered:1", &["apply"]);
    assert_eq!(scene.db.psql("SELECT to_regclass('items') IS NULL"), "t");
    scene.run(&["apply", "--resume"]).expect(0);
    assert_eq!(scene.db.psql("SELECT count(*) FROM items"), (ROWS / 6).to_string());
    let whole = "SELECT content = sha256(convert_to(up_sql, 'UTF8')) FROM migengine.history";
    assert_eq!(scene.db.psql(whole), "t");
}

#[test]
fn parts_and_atomic_runs_take_data_from_the_file_too() {
    let scene = Scene::new();
    let path = data_script(&scene.project, ROWS / 6);
    let mut text = fs::read_to_string(&path).unwrap().replace("CREATE INDEX", "CREATE INDEX CONCURRENTLY");
    text.push_str("UPDATE items SET note = 'x' WHERE id = 1;\n");
    fs::write(&path, text).unwrap();
    scene.run(&["apply"]).expect(0);
    let whole = "SELECT content = sha256(convert_to(up_sql, 'UTF8')) FROM migengine.history ORDER BY id";
    assert_eq!(scene.db.psql(whole), "t");
    let scene = Scene::new();
    data_script(&scene.project, ROWS / 6);
    scene.project.write("002_more.sql", "UPDATE items SET note = 'x' WHERE id = 1;");
    scene.run(&["apply", "--atomic"]).expect(0);
    assert_eq!(scene.db.psql(whole), "t\nt");
    assert_eq!(scene.db.psql("SELECT count(*) FROM items"), (ROWS / 6).to_string());
}

#[test]
fn an_error_among_inserts_that_stayed_in_the_file_names_its_line() {
    let scene = Scene::new();
    let path = insert_script(&scene.project, ROWS / 6);
    let row = ROWS / 8;
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace(&format!("({row}, 'name"), "(7, 'name")).unwrap();
    let output = scene.run(&["apply"]).expect(7);
    let place = format!("001_items.sql:{}:1", row + 3);
    assert!(output.stderr.contains(&place) && output.stderr.contains("(7, 'name of item"), "{place}: {output}");
    assert_eq!(scene.db.psql("SELECT to_regclass('items') IS NULL"), "t");
}

#[test]
fn inserts_that_became_something_else_after_planning_are_not_sent() {
    let becomes = |other: &'static str| {
        while_a_script_waits(insert_script, ROWS / 6, move |path| {
            let text = fs::read_to_string(path).unwrap();
            let was = format!("INSERT INTO items VALUES ({}, 'name", ROWS / 8);
            assert_eq!(other.len(), was.len());
            fs::write(path, text.replace(&was, other)).unwrap();
        })
    };
    for other in ["COMMIT;DROP TABLE go;--        , 'name", "INSERT INTO items VALUES (90001, 'name"] {
        let (scene, output) = becomes(other);
        let output = output.expect(7);
        assert!(output.stderr.contains("ME328") && output.stderr.contains("001_items.sql"), "{output}");
        assert_eq!(scene.db.psql("SELECT to_regclass('items') IS NULL, to_regclass('go') IS NULL"), "t|f");
        assert_eq!(scene.history(), "000_wait:applied");
    }
}

#[test]
fn inserts_stay_in_the_file_in_every_way_of_running() {
    let whole = "SELECT content = sha256(convert_to(up_sql, 'UTF8')) FROM migengine.history ORDER BY id";
    let rows = (ROWS / 6).to_string();
    let scene = Scene::new();
    let path = insert_script(&scene.project, ROWS / 6);
    scene.project.write("001_items_rollback.sql", "DROP TABLE items;");
    scene.run(&["rehearse"]).expect(0);
    let sql = scene.run(&["plan", "--sql"]).expect(0);
    assert!(sql.stdout.contains(&format!("({}, 'name of item", ROWS / 6 - 1)), "{} bytes", sql.stdout.len());
    scene.crash("step.answered:1", &["apply"]);
    assert_eq!(scene.db.psql("SELECT to_regclass('items') IS NULL"), "t");
    scene.run(&["apply", "--resume"]).expect(0);
    assert_eq!(scene.db.psql(&format!("SELECT count(*) FROM items; {whole}")), format!("{rows}\nt"));
    // The author's own transaction, and all in one.
    let text = fs::read_to_string(path).unwrap();
    for (begin, end, how) in [("BEGIN;\n", "COMMIT;\n", &["apply"][..]), ("", "", &["apply", "--atomic"])] {
        let scene = Scene::new();
        scene.project.write("001_items.sql", format!("{begin}{text}{end}"));
        scene.project.write("002_more.sql", "UPDATE items SET note = 'x' WHERE id = 1;");
        scene.run(how).expect(0);
        assert_eq!(scene.db.psql(&format!("SELECT count(*) FROM items; {whole}")), format!("{rows}\nt\nt"));
    }
}
