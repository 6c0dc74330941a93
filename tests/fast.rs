//! `--atomic` and `--jobs`: all or nothing, several at once, and both killed at every point that matters.
#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use std::io::Write as _;
use std::process::{Child, ChildStdin, Stdio};

use support::project::collect;
use support::scene::{row_of, step_field};
use support::{Scene, kill_nine, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

/// A session that holds something until it is told to let go.
struct Gate {
    psql: Child,
    input: Option<ChildStdin>,
}

impl Gate {
    /// Runs `sql`, which ends with `SELECT 'shut'`, and waits until it has.
    fn shut(scene: &Scene, sql: &str) -> Self {
        let mut psql = scene.db.cluster().program("psql");
        psql.args(["-AtXq", "-v", "ON_ERROR_STOP=1", "-d", &scene.db.url(), "-f", "-"]);
        let mut psql = psql.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut input = psql.stdin.take().unwrap();
        writeln!(input, "{sql}; SET application_name = 'gate';").unwrap();
        input.flush().unwrap();
        wait_until("the gate is shut", PATIENCE, || {
            scene.db.psql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'gate' AND datname = current_database()") == "1"
        });
        Self { psql, input: Some(input) }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        drop(self.input.take());
        self.psql.wait().ok();
    }
}

/// Two branches of `each` steps, `a1 a2 …` and `b1 b2 …`, whose effects are counted.
fn branches(each: usize) -> Scene {
    let scene = Scene::new();
    for number in 1..=each {
        for branch in ["a", "b"] {
            let requires = match number {
                1 => "none".to_owned(),
                _ => format!("{:03}_{branch}", number - 1),
            };
            let name = format!("{branch}{number:03}");
            scene.project.pair(
                &format!("{number:03}_{branch}"),
                &format!(
                    "-- Requires: {requires}\n\nCREATE TABLE t_{name} (n int);\n\
                     INSERT INTO effects (what) VALUES ('+{name}');\n"
                ),
                &format!("DROP TABLE t_{name};\nINSERT INTO effects (what) VALUES ('-{name}');\n"),
            );
        }
    }
    scene
}

/// Effects in the order of their names.
fn sorted(scene: &Scene) -> String {
    scene.db.psql("SELECT coalesce(string_agg(what, ' ' ORDER BY what), '') FROM effects")
}

fn every(each: usize) -> String {
    let of = |branch: &str| (1..=each).map(|number| format!("+{branch}{number:03}")).collect::<Vec<_>>().join(" ");
    format!("{} {}", of("a"), of("b"))
}

#[test]
fn an_atomic_run_is_one_transaction_with_a_row_for_each_step() {
    let scene = Scene::with_steps(70);
    scene.project.write("002_m_verify.sql", "SELECT count(*) = 1 FROM t002_check;\n");
    scene.project.write(
        "002_m.sql",
        "CREATE TABLE t002 (n int);\nCREATE TABLE t002_check AS SELECT 1 AS n;\n\
        INSERT INTO effects (what) VALUES ('+002');\n",
    );
    scene.project.write(
        "003_m.sql",
        "SET search_path = pg_catalog;\nCREATE TABLE public.t003 (n int);\n\
        INSERT INTO public.effects (what) VALUES ('+003');\nCOPY public.t003 FROM stdin;\n1\n2\n\\.\n",
    );
    let output = scene.run_logged(&["apply", "--atomic"], 0);
    assert_eq!(output.json()["state"], "Committed", "{output}");
    let expected = (1..=70).map(|number| format!("+{number:03}")).collect::<Vec<_>>().join(" ");
    assert_eq!(scene.effects(), expected);
    assert_eq!(scene.db.psql("SELECT count(*), count(DISTINCT xmin::text) FROM migengine.history"), "70|1");
    assert_eq!(scene.db.psql("SELECT count(*) FROM t003"), "2");
    let longest = "SELECT max(duration_us) < extract(epoch FROM max(applied_at) - min(applied_at)) * 1000000 + 1000000 \
        FROM migengine.history";
    assert_eq!(scene.db.psql(longest), "t", "durations are those of the steps, not of the run so far");
    scene.run(&["rollback", "--last", "70"]).expect(0);
    assert_eq!(scene.history(), "");
}

/// Their history rows are written together, which nobody may notice.
#[test]
fn an_atomic_run_of_new_tables_has_rows_and_audit_entries_as_if_one_by_one() {
    let scene = Scene::new();
    for number in (1..=130).filter(|number| *number != 70) {
        let (id, table) = (format!("{number:03}_new"), format!("new{number:03}"));
        let index = if number % 10 == 0 { format!("CREATE INDEX ON {table} (id);\n") } else { String::new() };
        let up =
            format!("-- Description: \"quoted\" \\ {number}\n\nCREATE TABLE {table} (id int PRIMARY KEY);\n{index}");
        scene.project.pair(&id, &up, &format!("DROP TABLE {table};\n"));
    }
    // Effects count: its row is written by itself, in between.
    scene.step(70);
    scene.run(&["apply", "--atomic"]).expect(0);
    let column = "array_agg(id ORDER BY position) = array_agg(id ORDER BY id COLLATE \"C\")";
    let sql = format!("SELECT count(*), count(DISTINCT xmin::text), {column} FROM migengine.history");
    assert_eq!(scene.db.psql(&sql), "130|1|t");
    let requires = "SELECT DISTINCT cardinality(requires), count(*) FROM migengine.history GROUP BY 1 ORDER BY 1";
    assert_eq!(scene.db.psql(requires), "0|1\n1|129");
    let durations = "SELECT bool_and(duration_us > 0), count(DISTINCT duration_us) > 20, \
        sum(duration_us) <= extract(epoch FROM max(applied_at) - min(applied_at)) * 1000000 + 1000000 FROM migengine.history";
    assert_eq!(scene.db.psql(durations), "t|t|t");
    let kept = "SELECT up_sql = E'-- Description: \"quoted\" \\\\ 130\\n\\nCREATE TABLE new130 (id int PRIMARY KEY);\\nCREATE INDEX ON new130 (id);\\n', \
        down_sql = E'DROP TABLE new130;\\n', verify_sql IS NULL, attempt FROM migengine.history WHERE id = '130_new'";
    assert_eq!(scene.db.psql(kept), "t|t|t|1");
    let entries = "SELECT count(*), array_agg(migration ORDER BY seq) = array_agg(migration ORDER BY migration COLLATE \"C\") \
        FROM migengine.audit WHERE action = 'applied'";
    assert_eq!(scene.db.psql(entries), "130|t");
    scene.run(&["audit", "verify"]).expect(0);
    assert_eq!(scene.db.psql("SELECT setting FROM pg_settings WHERE name = 'migengine.began'"), "");
    // A row that the history has already, and an error behind other statements.
    scene.project.pair("131_new", "CREATE TABLE new131 (n int);\nCREATE TABLE new131b (n nonsense);\n", "SELECT 1;\n");
    scene.project.pair("132_new", "CREATE TABLE new132 (n int);\n", "DROP TABLE new132;\n");
    let output = scene.run(&["apply", "--atomic"]).expect(1);
    assert!(output.stderr.contains("131_new.sql:2:25"), "{output}");
    assert_eq!(scene.db.psql("SELECT count(*) FROM migengine.history"), "130");
    scene.run(&["audit", "verify"]).expect(0);
}

#[test]
fn a_limit_of_one_step_is_not_that_of_the_next_in_an_atomic_run() {
    let scene = Scene::new();
    scene.project.pair("001_a", "-- Statement-Timeout: 300ms\n\nCREATE TABLE a (n int);\n", "DROP TABLE a;\n");
    scene.project.pair("002_b", "CREATE TABLE b (n int);\n", "DROP TABLE b;\n");
    scene.project.pair("003_c", "SELECT pg_sleep(0.5);\nCREATE TABLE c (n int);\n", "DROP TABLE c;\n");
    // What was set for a step is set again behind a verification, which sets the session back, and with it the name of the step.
    let told = "SELECT current_setting('application_name') AS name, current_setting('lock_timeout') AS lock, \
        current_setting('statement_timeout') AS statement";
    let limits = "-- Statement-Timeout: 10s\n-- Lock-Timeout: 100ms\n\n";
    scene.project.pair("004_d", &format!("{limits}CREATE TABLE d (n int);\n"), "DROP TABLE d;\n");
    scene.project.write("004_d_verify.sql", "SELECT count(*) = 0 FROM d;\n");
    scene.project.pair("005_e", &format!("{limits}CREATE TABLE e AS {told};\n"), "DROP TABLE e;\n");
    scene.project.pair("006_f", "CREATE TABLE f (n int);\n", "DROP TABLE f;\n");
    scene.project.pair(
        "007_g",
        &format!("{limits}ALTER TABLE f ADD m int;\nCREATE TABLE g AS {told};\n"),
        "DROP TABLE g;\n",
    );
    scene.run(&["apply", "--atomic"]).expect(0);
    assert_eq!(scene.db.psql("SELECT count(*) FROM migengine.history"), "7");
    for (table, step) in [("e", "005_e"), ("g", "007_g")] {
        let sql = format!("SELECT right(name, 6), lock, statement FROM {table}");
        assert_eq!(scene.db.psql(&sql), format!(":{step}|100ms|10s"), "{table}");
    }
}

#[test]
fn history_rows_of_an_atomic_run_are_not_written_under_the_last_steps_limits() {
    let scene = Scene::with_steps(1);
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.6); RETURN NEW; END'; \
        CREATE TRIGGER slow BEFORE INSERT ON migengine.history FOR EACH ROW WHEN (NEW.id = '008_h') EXECUTE FUNCTION slow()";
    scene.run(&["apply"]).expect(0);
    scene.db.psql(slow);
    scene.project.pair("007_g", "CREATE TABLE g (n int);\n", "DROP TABLE g;\n");
    scene.project.pair("008_h", "-- Statement-Timeout: 300ms\n\nCREATE TABLE h (n int);\n", "DROP TABLE h;\n");
    scene.run(&["apply", "--atomic"]).expect(0);
    let written = "SELECT count(*) FROM migengine.history WHERE id IN ('007_g', '008_h') AND state = 'applied'";
    assert_eq!(scene.db.psql(written), "2");
}

#[test]
fn a_migration_without_statements_is_part_of_an_atomic_run() {
    let scene = Scene::new();
    scene.project.pair("001_a", "CREATE TABLE a (n int);\n", "DROP TABLE a;\n");
    scene.project.pair("002_b", "-- nothing to be done here any more\n", "-- nothing\n");
    scene.project.pair("003_c", "CREATE TABLE c (n int);\n", "DROP TABLE c;\n");
    scene.project.pair("004_d", "-- nor here\n", "-- nothing\n");
    scene.run(&["apply", "--atomic"]).expect(0);
    assert_eq!(
        scene
            .db
            .psql("SELECT string_agg(id, ' ' ORDER BY position), bool_and(duration_us >= 0) FROM migengine.history"),
        "001_a 002_b 003_c 004_d|t"
    );
}

#[test]
fn a_history_row_in_the_way_of_an_atomic_run_is_told_of_the_step_whose_it_is() {
    let scene = Scene::with_steps(1);
    let forged = "INSERT INTO migengine.history (id, state, run_id, attempt, epoch, content, tokens, requires, header, up_sql) \
        VALUES ('004_d', 'applied', 'x', 1, 1, '', '', '{}', '{}', '');\n";
    scene.project.pair("002_b", forged, "SELECT 1;\n");
    for id in ["003_c", "004_d", "005_e"] {
        scene.project.pair(id, &format!("CREATE TABLE new{id} (n int);\n"), &format!("DROP TABLE new{id};\n"));
    }
    let output = scene.run(&["apply", "--atomic"]).expect(1);
    assert!(output.stderr.contains("ME407") && output.stderr.contains("004_d"), "{output}");
    assert!(!output.stderr.contains("005_e failed"), "{output}");
}

#[test]
fn an_atomic_run_that_fails_leaves_nothing_and_is_over() {
    for (place, bad) in
        [(2, "CREATE TABLE t002 (n int);\nSELECT 1/0;\n"), (3, "SELECT 1;\nDROP TABLE nothing_there;\n")]
    {
        let scene = Scene::with_steps(3);
        scene.run(&["apply", "1"]).expect(0);
        scene.project.write(&format!("{place:03}_m.sql"), bad);
        let before = (scene.db.dump(), scene.effects(), scene.history());
        let output = scene.run_logged(&["apply", "--atomic"], 1);
        assert_eq!(output.json()["state"], "RolledBack", "{output}");
        assert!(output.stderr.contains(&format!("{place:03}_m.sql:2:")), "the place of the error: {output}");
        assert_eq!(before, (scene.db.dump(), scene.effects(), scene.history()));
        scene.step(place);
        scene.run(&["apply", "--atomic"]).expect(0);
        assert_eq!(scene.effects(), "+001 +002 +003");
    }
}

#[test]
fn a_constraint_checked_at_commit_takes_an_atomic_run_back_as_a_whole() {
    let scene = Scene::with_steps(3);
    scene.project.write(
        "002_m.sql",
        "CREATE TABLE t002 (n int UNIQUE DEFERRABLE INITIALLY DEFERRED);\n\
        INSERT INTO t002 VALUES (1), (1);\n",
    );
    let output = scene.run_logged(&["apply", "--atomic"], 1);
    assert!(output.stderr.contains("23505"), "{output}");
    assert_eq!((scene.effects(), scene.tables(), scene.history()), <(String, String, String)>::default());
}

#[test]
fn what_cannot_be_part_of_one_transaction_is_refused_by_name_and_nothing_changes() {
    let scene = Scene::with_steps(1);
    scene.project.write("002_index.sql", "CREATE INDEX CONCURRENTLY i ON t001 (n);");
    scene.project.write("003_two.sql", "BEGIN; SELECT 1; COMMIT; BEGIN; SELECT 2; COMMIT;");
    scene.project.write("004_options.sql", "BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT 1; COMMIT;");
    let before = scene.everything();
    let output = scene.run(&["apply", "--atomic"]).expect(5);
    assert!(output.stderr.contains("ME162"), "{output}");
    for file in ["002_index.sql", "003_two.sql", "004_options.sql"] {
        assert!(output.stderr.contains(file), "{file}: {output}");
    }
    assert!(!output.stderr.contains("001_m.sql"), "{output}");
    assert_eq!(before, scene.everything());
    scene.run(&["apply", "--atomic", "--to", "001"]).expect(0);
    assert_eq!(scene.effects(), "+001");
}

/// Where an atomic run is killed, and the row that every one of its steps meets: all of them the same.
const ATOMIC_CRASHES: &[(&str, char)] = &[
    ("lock.after:1", 'A'),
    ("step.before:1", 'E'),
    ("step.sent:1", 'E'),
    ("step.answered:1", 'E'),
    ("step.answered:2", 'E'),
    ("commit.before:1", 'E'),
    ("commit.after:1", 'D'),
    ("verify.before:1", 'G'),
];

#[test]
fn an_atomic_run_killed_anywhere_is_in_effect_as_a_whole_or_not_at_all() {
    for (at, row) in ATOMIC_CRASHES {
        for back in [false, true] {
            // More than travel at once.
            let scene = Scene::with_steps(70);
            let before = scene.db.dump();
            scene.crash(at, &["apply", "--atomic"]);
            let tables = || scene.tables().split_whitespace().count();
            wait_until("what was in flight is over", PATIENCE, || {
                scene.db.psql("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'migengine%'") == "0"
            });
            let there = tables();
            assert!(there == 0 || there == 70, "{at}: {there} of 70 are in effect");
            let command = if back { ["rollback", "--run", "last"].as_slice() } else { &["apply", "--resume"] };
            let output = scene.run_logged(command, 0);
            for id in ["001_m", "035_m", "070_m"] {
                assert_eq!(row_of(&output, id), *row, "{at}: {id}: {output}");
            }
            if back {
                assert_eq!((tables(), scene.history(), scene.db.dump()), (0, String::new(), before), "{at}");
            } else {
                assert_eq!(scene.effects().split(' ').count(), 70, "{at}: every effect once");
                assert_eq!(tables(), 70, "{at}");
                let one = scene.db.psql("SELECT count(DISTINCT xmin::text) FROM migengine.history");
                assert_eq!(one, "1", "{at}: a run that was begun as one transaction goes on as one");
            }
        }
    }
}

#[test]
fn an_atomic_run_that_is_stopped_leaves_nothing_and_can_be_resumed() {
    let scene = Scene::with_steps(2);
    scene.project.write("003_m.sql", "SELECT pg_sleep(60);");
    let child = scene.project.spawn(&["apply", "--atomic"]);
    let sleeping =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
    wait_until("the third step runs", PATIENCE, || scene.db.psql(sleeping) == "1");
    support::process::signal(i32::try_from(child.id()).unwrap(), nix::sys::signal::Signal::SIGINT);
    let output = collect(child).expect(7);
    assert_eq!((scene.effects(), scene.history()), (String::new(), String::new()), "{output}");
    scene.step(3);
    scene.run(&["apply", "--resume"]).expect(0);
    assert_eq!(scene.effects(), "+001 +002 +003");
}

#[test]
fn jobs_that_cannot_be_had_are_refused_and_nothing_changes() {
    let scene = Scene::with_steps(2);
    let before = scene.everything();
    for args in [["apply", "--jobs", "0"].as_slice(), &["apply", "--jobs", "2", "--atomic"], &["apply", "--jobs", "x"]]
    {
        scene.run(args).expect(2);
    }
    let output = scene.run(&["apply", "--jobs", "5000"]).expect(5);
    assert!(output.stderr.contains("ME161") && output.stderr.contains("free"), "{output}");
    assert_eq!(before, scene.everything());
}

#[test]
fn independent_branches_run_at_the_same_time_each_in_its_order() {
    let scene = branches(3);
    // Each of the two waits until it sees the other one at work.
    for branch in ["a", "b"] {
        let meet = format!(
            "-- Requires: none\n-- Lock-timeout: 60s\n\nCREATE TABLE t_{branch}001 (n int);\n\
             INSERT INTO effects (what) VALUES ('+{branch}001');\n\
             SELECT pg_advisory_lock_shared(77);\nSELECT pg_advisory_unlock_shared(77);\n"
        );
        scene.project.write(&format!("001_{branch}.sql"), meet);
    }
    let gate = Gate::shut(&scene, "SELECT pg_advisory_lock(77)");
    let child = scene.project.spawn(&["apply", "--jobs", "2"]);
    let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 77 AND NOT granted";
    wait_until("both branches are at work", PATIENCE, || scene.db.psql(waiting) == "2");
    drop(gate);
    collect(child).expect(0);
    assert_eq!(sorted(&scene), every(3));
    for branch in ["a", "b"] {
        let order = format!("SELECT string_agg(what, ' ' ORDER BY at) FROM effects WHERE what LIKE '+{branch}%'");
        assert_eq!(scene.db.psql(&order), format!("+{branch}001 +{branch}002 +{branch}003"));
    }
    scene.run(&["journal", "check"]).expect(0);
}

#[test]
fn a_failure_lets_the_other_branch_end_begins_nothing_and_leaves_a_run_to_resume() {
    let scene = branches(40);
    scene.project.write("005_a.sql", "-- Requires: 004_a\n\nCREATE TABLE t_a005 (n int);\nSELECT 1/0;\n");
    let output = scene.run_logged(&["apply", "--jobs", "2"], 7);
    assert_eq!(output.json()["rest"]["reason"], "failed", "{output}");
    assert_eq!(output.json()["rest"]["step"], "005_a", "{output}");
    let steps = output.json()["steps"].as_array().unwrap().clone();
    assert!(steps.iter().all(|step| step["state"] != "in_doubt"), "nothing is left in the air: {output}");
    let applied = steps.iter().filter(|step| step["state"] == "applied").count();
    assert_eq!(scene.effects().split_whitespace().count(), applied, "{output}");
    assert!(!scene.effects().contains("+a006"), "{output}");
    let fixed = "-- Requires: 004_a\n\nCREATE TABLE t_a005 (n int);\nINSERT INTO effects (what) VALUES ('+a005');\n";
    scene.project.write("005_a.sql", fixed);
    let output = scene.run_logged(&["apply", "--resume", "--jobs", "2"], 0);
    assert_eq!(step_field(&output, "005_a", "attempts"), 2);
    assert_eq!(sorted(&scene), every(40));
}

#[test]
fn side_by_side_runs_killed_anywhere_end_with_every_effect_once_or_none() {
    for (round, at) in [
        "lock.after:1",
        "step.before:1",
        "step.sent:3",
        "step.answered:5",
        "step.answered:40",
        "step.commit_answered:20",
        "commit.before:1",
        "commit.after:1",
        "commit.after:2",
        "journal.after:6",
        "verify.before:1",
    ]
    .into_iter()
    .enumerate()
    {
        let scene = branches(20);
        let before = scene.db.dump();
        scene.crash(at, &["apply", "--jobs", "3"]);
        if round % 2 == 0 {
            scene.run(&["apply", "--resume", "--jobs", "2"]).expect(0);
            assert_eq!(sorted(&scene), every(20), "{at}");
        } else {
            scene.run(&["rollback", "--run", "last"]).expect(0);
            assert_eq!((scene.history(), scene.db.dump()), (String::new(), before), "{at}");
            let effects = scene.effects();
            let count = |sign: char| effects.split_whitespace().filter(|effect| effect.starts_with(sign)).count();
            assert_eq!(count('+'), count('-'), "{at}: {effects}");
        }
        scene.run(&["journal", "check"]).expect(0);
    }
}

/// How far the forward script of a resumed step had come is known to the driver that hands steps out, and gone on from by
/// a lane. Taken for the reverse script's own count, it would leave reverse parts out.
#[test]
fn no_reverse_part_is_left_out_of_a_step_that_was_resumed_in_a_lane() {
    for (last, next, effects) in [
        ("INSERT INTO effects (what) VALUES ('+b');", "SELECT 1/0;", "+a +b -a -b"),
        ("SELECT 1/0;", "SELECT 1;", "+a -a -b"),
    ] {
        let scene = Scene::new();
        scene.db.psql("CREATE TABLE big AS SELECT generate_series(1, 100) AS n");
        let before = scene.db.dump();
        let note = |what: &str| format!("INSERT INTO effects (what) VALUES ('{what}');");
        let forward = format!("{}\nCREATE INDEX CONCURRENTLY ix ON big (n);\n{last}\n", note("+a"));
        let reverse = format!("{}\nDROP INDEX CONCURRENTLY IF EXISTS ix;\n{}\n", note("-a"), note("-b"));
        scene.project.pair("001_m", &format!("-- Requires: none\n{forward}"), &reverse);
        scene.project.pair("002_m", &format!("-- Requires: 001\n\n{next}"), "SELECT 1;");
        scene.crash("part.after:1", &["apply", "--jobs", "2", "--on-failure", "rollback"]);
        assert_eq!(scene.db.psql("SELECT parts_done FROM migengine.history"), "1", "one part is done, and recorded");
        let output = scene.run_logged(&["apply", "--resume", "--jobs", "2"], 1);
        assert_eq!(output.json()["state"], "RolledBack", "{output}");
        assert_eq!(
            (scene.effects().as_str(), scene.history(), scene.db.dump()),
            (effects, String::new(), before),
            "{output}"
        );
    }
}

/// The records of steps side by side meet in the same rows of the engine's tables.
#[test]
fn a_stricter_isolation_of_the_database_fails_no_step_side_by_side() {
    let scene = branches(12);
    scene.db.psql(&format!("ALTER DATABASE {} SET default_transaction_isolation = 'serializable'", scene.db.name()));
    let own = "INSERT INTO effects (what) SELECT 'z ' || current_setting('transaction_isolation');";
    scene
        .project
        .write("013_a.sql", format!("-- Requires: 012_a\n\nBEGIN ISOLATION LEVEL REPEATABLE READ;\n{own}\nCOMMIT;\n"));
    scene.run(&["apply", "--jobs", "3"]).expect(0);
    assert_eq!(sorted(&scene), format!("{} z repeatable read", every(12)));
}

#[test]
fn a_lost_journal_of_a_side_by_side_run_is_taken_from_the_database() {
    let scene = branches(20);
    scene.crash("step.answered:30", &["apply", "--jobs", "2"]);
    std::fs::remove_dir_all(scene.project.journal()).unwrap();
    scene.run(&["apply", "--resume", "--jobs", "2"]).expect(0);
    assert_eq!(sorted(&scene), every(20));
}

/// Two indexes built at once, and the program killed while both wait: the next runner must not look at the catalogs
/// before the builds have ended, although the session that held the runner lock is long gone.
#[test]
fn a_build_on_another_session_outlives_its_runner_and_is_waited_for() {
    let scene = Scene::new();
    for name in ["a", "b"] {
        scene.db.psql(&format!("CREATE TABLE big_{name} AS SELECT generate_series(1, 100) AS n"));
        scene.project.pair(
            &format!("001_{name}"),
            &format!("-- Requires: none\n\nCREATE INDEX CONCURRENTLY ix_{name} ON big_{name} (n);"),
            &format!("DROP INDEX CONCURRENTLY ix_{name};"),
        );
    }
    let gate = Gate::shut(&scene, "BEGIN; INSERT INTO big_a VALUES (0); INSERT INTO big_b VALUES (0)");
    let child = scene.project.spawn(&["apply", "--jobs", "2"]);
    let building = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY%' \
        AND state = 'active' AND datname = current_database()";
    wait_until("both builds are under way", PATIENCE, || scene.db.psql(building) == "2");
    kill_nine(child);
    let resumed = scene.project.spawn(&["apply", "--resume", "--jobs", "2"]);
    drop(gate);
    collect(resumed).expect(0);
    let valid = "SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
        WHERE c.relname LIKE 'ix%' AND i.indisvalid";
    assert_eq!(scene.db.psql(valid), "2");
    assert_eq!(scene.history(), "001_a:applied 001_b:applied");
}
