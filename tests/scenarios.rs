//! The runbook walked through, where no other test goes: what a person at night types, and what comes of it.
#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use support::process::signal;
use support::project::collect;
use support::{Database, Output, Scene, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

fn configure(scene: &Scene, text: &str) {
    std::fs::write(scene.project.path().join("migengine.toml"), text).unwrap();
}

/// A reverse script that a protected database takes: rehearsed by nobody, but its loss is allowed.
fn allowed(scene: &Scene, number: usize) {
    let text = format!("-- Allow: drop-table(t{number:03}) -- \"it was new\"\n\nDROP TABLE t{number:03};\n");
    scene.project.write(&format!("{number:03}_m_rollback.sql"), text);
}

/// The database in which databases are made and renamed.
fn maintenance(scene: &Scene) -> Database<'static> {
    Database::named("postgres", scene.db.cluster())
}

/// Nobody is connected any more, so the database can be copied or renamed.
fn alone(scene: &Scene) {
    let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{}'", scene.db.name());
    wait_until("everybody has left the database", PATIENCE, || maintenance(scene).psql(&sql) == "0");
}

/// A backup of the database as it is now.
fn back_up(scene: &Scene) {
    alone(scene);
    let name = scene.db.name();
    maintenance(scene).psql(&format!("CREATE DATABASE {name}_backup TEMPLATE {name}"));
}

/// The backup takes the place of the database.
fn restore(scene: &Scene) {
    let name = scene.db.name();
    maintenance(scene).psql(&format!("DROP DATABASE {name} WITH (FORCE)"));
    maintenance(scene).psql(&format!("ALTER DATABASE {name}_backup RENAME TO {name}"));
}

fn unfinished(scene: &Scene) -> Value {
    scene.project.run_json(&["status"], 0)["unfinished_run"].clone()
}

/// The commands that the lines of `next:` name, as a shell would take them.
fn named(output: &Output) -> Vec<Vec<String>> {
    let next = output.stderr.split("next:  ").nth(1).unwrap_or_else(|| panic!("no next line: {output}"));
    let lines = next.lines().filter_map(|line| line.split_once("migengine ").map(|(_, command)| command));
    let words = |line: &str| line.split(' ').map(|word| word.trim_end_matches([',', '.']).to_owned()).collect();
    lines.map(words).collect()
}

// ---- Start here

#[test]
fn looking_at_a_run_that_rests_changes_nothing() {
    let scene = Scene::with_steps(1);
    scene.project.pair("002_m", "SELECT 1/0;\n", "SELECT 1;\n");
    scene.run(&["apply"]).expect(7);
    let before = scene.everything();
    let records = scene.project.run_json(&["journal", "show"], 0);
    for look in [&["status"][..], &["journal", "show", "last"], &["explain", "ME333"], &["list"], &["plan"], &["drift"]]
    {
        let output = scene.run(look);
        assert!(output.code == Some(0) || look == ["drift"], "{look:?}: {output}");
    }
    assert_eq!(scene.everything(), before);
    assert_eq!(scene.project.run_json(&["journal", "show"], 0), records, "and the journal is as it was");
}

// ---- Emergency rollback, step by step

#[test]
fn a_run_at_work_is_stopped_looked_at_and_taken_back() {
    let scene = Scene::with_steps(2);
    scene.run(&["apply", "--to", "001"]).expect(0);
    scene.step(3);
    scene.project.pair("004_m", "SELECT pg_sleep(600);\n", "SELECT 1;\n");
    let runner = scene.project.spawn(&["apply"]);
    wait_until("two more steps are in effect", PATIENCE, || scene.tables() == "t001 t002 t003");
    // 1. Look.
    let status = scene.run(&["status"]).expect(0);
    assert!(status.stdout.contains("migengine journal show --follow") || status.stdout.contains("at work"), "{status}");
    // 2. Stop it.
    signal(i32::try_from(runner.id()).unwrap(), Signal::SIGTERM);
    collect(runner).expect(7);
    // 3. See what would be reversed: those of this run, not of the one before.
    let plan = scene.run(&["plan", "--rollback", "--run", "last"]).expect(0);
    assert!(plan.stdout.contains("1. 003_m") && plan.stdout.contains("2. 002_m"), "{plan}");
    assert!(!plan.stdout.contains("3. "), "{plan}");
    assert!(plan.stderr.contains("is not finished"), "{plan}");
    // 4. Take it back.
    scene.run(&["rollback", "--run", "last"]).expect(0);
    // 7. Check.
    assert_eq!((scene.tables().as_str(), unfinished(&scene)), ("t001", Value::Null));
    scene.run(&["journal", "check"]).expect(0);
}

#[test]
fn what_a_planned_rollback_of_the_last_run_shows_is_what_the_rollback_does() {
    let scene = Scene::with_steps(2);
    scene.run(&["apply"]).expect(0);
    let steps = |scene: &Scene| {
        let plan = scene.project.run_json(&["plan", "--rollback", "--run", "last"], 0);
        plan["steps"].as_array().unwrap().iter().map(|step| step["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(steps(&scene), ["002_m", "001_m"], "a run that is over");
    scene.step(3);
    scene.step(4);
    scene.crash("step.commit_answered:2", &["apply"]);
    assert_eq!(steps(&scene), ["003_m"], "the unfinished run comes first, as far as it came");
    scene.run(&["rollback", "--run", "last"]).expect(0);
    assert_eq!(scene.tables(), "t001 t002");
}

#[test]
fn every_command_that_a_resting_run_names_leads_out_of_it() {
    // What brings a run to rest, what comes before the command named, and where it ends.
    type Act = fn(&Scene);
    let nothing: Act = |_| {};
    let failed: Act = |scene| {
        scene.project.pair("002_m", "SELECT 1/0;\n", "SELECT 1;\n");
        scene.run(&["apply"]).expect(7);
    };
    let mended: Act = |scene| scene.step(2);
    let interrupted: Act = |scene| {
        scene.crash("step.commit_answered:2", &["apply"]);
    };
    let stuck: Act = |scene| {
        scene.run(&["apply"]).expect(0);
        scene.project.write("001_m_rollback.sql", "DROP TABLE nope;\n");
        scene.run(&["rollback", "--to", "001"]).expect(0);
        scene.run(&["rollback", "001"]).expect(6);
    };
    let mended_reverse: Act = |scene| scene.step(1);
    let turned: Act = |scene| {
        scene.project.pair("002_m", "SELECT 1/0;\n", "SELECT 1;\n");
        scene.project.write("001_m_rollback.sql", "DROP TABLE nope;\n");
        scene.run(&["apply", "--on-failure", "rollback"]).expect(6);
    };
    for (rest, mend) in [(failed, mended), (interrupted, nothing), (stuck, mended_reverse), (turned, mended_reverse)] {
        let resting = || {
            let scene = Scene::with_steps(2);
            rest(&scene);
            scene
        };
        // Whoever tries a new run is told the way out, and so is whoever looks.
        let blocked = resting().run(&["apply"]);
        assert!(matches!(blocked.code, Some(6 | 7)), "{blocked}");
        let mut count = 0;
        for at in 0..named(&blocked).len() {
            let scene = resting();
            mend(&scene);
            let told = scene.run(&["apply"]);
            let command = named(&told)[at].clone();
            let words: Vec<&str> = command.iter().map(String::as_str).collect();
            scene.run(&words).expect(0);
            let reading = matches!(words[0], "status" | "journal");
            assert!(reading || unfinished(&scene) == Value::Null, "{words:?} after {told}");
            count += usize::from(!reading);
        }
        assert!(count > 0, "{blocked}");
        let scene = resting();
        let next = unfinished(&scene)["next"].as_str().unwrap().to_owned();
        mend(&scene);
        let words: Vec<&str> = next.split(' ').skip(1).collect();
        scene.run(&words).expect(0);
        assert_eq!(unfinished(&scene), Value::Null, "{next}");
    }
}

// ---- Refused on the way back

#[test]
fn a_dump_that_fails_can_be_left_out_with_a_reason_that_is_kept() {
    let scene = Scene::with_steps(1);
    scene.run(&["apply"]).expect(0);
    configure(&scene, "[backup]\ndump = true\ndump_command = [\"false\"]\n");
    let refused = scene.run(&["rollback", "--run", "last"]).expect(5);
    assert!(refused.stderr.contains("ME715") && refused.stderr.contains("--no-backup"), "{refused}");
    assert_eq!(scene.tables(), "t001", "reversing a finished run takes a dump first");
    scene.run(&["rollback", "--run", "last", "--no-backup", "the disk is full"]).expect(0);
    assert_eq!(scene.tables(), "");
    let journal = scene.run(&["journal", "show", "last"]).expect(0);
    assert!(journal.stdout.contains("because: the disk is full"), "{journal}");
}

#[test]
fn taking_back_an_unfinished_run_asks_for_no_backup() {
    let scene = Scene::with_steps(1);
    allowed(&scene, 1);
    scene.project.pair("002_m", "SELECT 1/0;\n", "SELECT 1;\n");
    scene.run(&["apply"]).expect(7);
    configure(&scene, "protected = true\n[backup]\ncommand = [\"false\"]\ndump = true\ndump_command = [\"false\"]\n");
    let word = ["--yes", "--confirm", scene.db.name(), "--unproven"];
    scene.run(&[&["rollback", "--run", "last"][..], &word].concat()).expect(0);
    assert_eq!(scene.tables(), "");
    // A run that begins wants its dump.
    scene.step(2);
    let word = ["--yes", "--confirm", scene.db.name()];
    let refused = scene.run(&[&["apply"][..], &word].concat()).expect(5);
    assert!(refused.stderr.contains("ME715"), "{refused}");
}

#[test]
fn the_reverse_script_of_the_step_that_failed_counts_among_those_that_lose_data() {
    let scene = Scene::with_steps(1);
    allowed(&scene, 1);
    scene.project.pair("002_m", "CREATE TABLE t002 (n int);\nSELECT 1/0;\n", "DROP TABLE t002;\n");
    scene.run(&["apply"]).expect(7);
    configure(&scene, "protected = true\n");
    let word = ["rollback", "--run", "last", "--yes", "--confirm", scene.db.name()];
    let refused = scene.run(&word).expect(5);
    assert!(refused.stderr.contains("ME433") && refused.stderr.contains("002_m_rollback.sql"), "{refused}");
    let refused = scene.run(&[&word[..], &["--accept-loss", "it is empty"]].concat()).expect(5);
    assert!(refused.stderr.contains("ME624") && refused.stderr.contains("002_m_rollback.sql"), "{refused}");
    scene.run(&[&word[..], &["--accept-loss", "it is empty", "--unproven"]].concat()).expect(0);
    assert_eq!(scene.tables(), "");
}

// ---- A run that rests

#[test]
fn a_deleted_history_row_comes_back_and_the_run_goes_on() {
    let scene = Scene::with_steps(3);
    scene.project.pair("003_m", "SELECT 1/0;\n", "SELECT 1;\n");
    scene.run(&["apply"]).expect(7);
    scene.db.psql("CREATE TABLE kept AS SELECT * FROM migengine.history WHERE id = '002_m'");
    scene.db.psql("DELETE FROM migengine.history WHERE id = '002_m'");
    scene.step(3);
    let diverged = scene.run(&["apply", "--resume"]).expect(6);
    let said = "[ME414]: 002_m: its history row was removed";
    assert!(diverged.stderr.contains(said), "what failed before is not what it is about now: {diverged}");
    // Neither a journal made anew nor a person's word puts the row back.
    let resolve = ["resolve", "002_m", "--as", "applied", "--reason", "I have seen it"];
    assert_ne!(scene.run(&resolve).code, Some(0));
    scene.run(&["apply", "--resume"]).expect(6);
    assert_eq!(scene.tables(), "t001 t002", "nothing is touched meanwhile");
    scene.db.psql("INSERT INTO migengine.history OVERRIDING SYSTEM VALUE SELECT * FROM kept");
    scene.run(&["apply", "--resume"]).expect(0);
    assert_eq!(scene.effects(), "+001 +002 +003");
}

#[test]
fn with_a_run_unfinished_and_the_database_gone_a_person_is_asked() {
    let scene = Scene::with_steps(2);
    scene.crash("step.commit_answered:2", &["apply"]);
    let gone = "postgresql://x@127.0.0.1:1/x";
    let output = scene.run(&["--database-url", gone, "apply", "--resume"]).expect(6);
    assert!(output.stderr.contains("ME301") && output.stderr.contains("migengine apply --resume"), "{output}");
    scene.run(&["apply", "--resume"]).expect(0);
    assert_eq!(scene.effects(), "+001 +002");
}

// ---- The database was restored from a backup

#[test]
fn without_its_journal_a_machine_does_not_notice_a_restore() {
    let scene = Scene::with_steps(2);
    scene.run(&["apply", "--to", "001"]).expect(0);
    back_up(&scene);
    scene.run(&["apply"]).expect(0);
    restore(&scene);
    std::fs::remove_dir_all(scene.project.journal()).unwrap();
    scene.run(&["apply"]).expect(0);
    assert_eq!(scene.effects(), "+001 +002", "what was done after the backup is done again");
}

#[test]
fn a_run_that_was_half_way_in_the_backup_goes_on_once_the_database_is_accepted() {
    let scene = Scene::with_steps(3);
    scene.crash("step.commit_answered:2", &["apply"]);
    back_up(&scene);
    let half = scene.effects();
    scene.run(&["apply", "--resume"]).expect(0);
    scene.step(4);
    scene.run(&["apply"]).expect(0);
    restore(&scene);
    let refused = scene.run(&["apply"]).expect(6);
    assert!(refused.stderr.contains("ME333"), "{refused}");
    assert_eq!(scene.effects(), half);
    // 2. what is in effect, and what this machine had done since
    scene.run(&["status"]).expect(0);
    assert_eq!(scene.project.run_json(&["journal", "list"], 0)["runs"].as_array().unwrap().len(), 2);
    // 3. the database is right
    scene.run(&["journal", "rebuild"]).expect(6);
    scene.run(&["journal", "rebuild", "--accept-database"]).expect(0);
    scene.run(&["journal", "check"]).expect(0);
    // 4. a run is unfinished
    assert_eq!(unfinished(&scene)["next"], "migengine apply --resume");
    scene.run(&["apply", "--resume"]).expect(0);
    // 5. the rest
    assert!(scene.run(&["plan"]).expect(0).stdout.contains("004_m"));
    scene.run(&["apply"]).expect(0);
    assert_eq!(scene.effects(), "+001 +002 +003 +004");
    scene.run(&["status", "--exit-code"]).expect(0);
}

/// The commands of the block of the runbook that has `word` in it.
fn commands_of_the_runbook(word: &str) -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/runbook.md");
    let page = std::fs::read_to_string(page).unwrap();
    let block = page.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let block = block.filter(|block| block.contains(word)).last().unwrap().to_owned();
    block.lines().filter_map(|line| line.trim().strip_prefix("$ ")).map(str::to_owned).collect()
}

/// Puts a value in the place of its stand-in, but not where that is part of another word: `RENAME`.
fn placed(line: &str, stand_in: &str, value: &str) -> String {
    let mut pieces = line.split(stand_in).map(str::to_owned);
    let first = pieces.next().unwrap_or_default();
    pieces.fold(first, |so_far, piece| {
        let word = so_far.ends_with(|c: char| c.is_ascii_alphabetic());
        format!("{so_far}{}{piece}", if word { stand_in } else { value })
    })
}

#[test]
fn the_commands_that_put_a_dump_in_the_place_of_the_database_do_it() {
    let scene = Scene::with_steps(1);
    scene.run(&["apply"]).expect(0);
    configure(&scene, "[backup]\ndump = true\ndump_dir = \"dumps\"\n");
    scene.step(2);
    scene.run(&["apply"]).expect(0);
    let dump = std::fs::read_dir(scene.project.path().join("dumps")).unwrap().next().unwrap().unwrap().path();
    alone(&scene);
    let psql = scene.db.cluster().program("psql");
    let programs = Path::new(psql.get_program()).parent().unwrap().display().to_string();
    let engine = scene.project.command(&["status"]);
    for line in commands_of_the_runbook("_broken") {
        let line = placed(&line, "NAME", scene.db.name()).replace("FILE", &dump.display().to_string());
        let line = line.replace("migengine ", &format!("{} ", engine.get_program().display()));
        let mut sh = std::process::Command::new("sh");
        sh.args(["-ec", &line]).current_dir(scene.project.path()).env_clear();
        sh.envs(engine.get_envs().filter_map(|(key, value)| Some((key, value?))));
        sh.env("PATH", format!("{programs}:{}", std::env::var("PATH").unwrap()));
        sh.env("PGHOST", scene.db.cluster().dir()).env("PGPORT", scene.db.cluster().port().to_string());
        let output = sh.env("PGUSER", "postgres").output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!((scene.tables().as_str(), scene.effects().as_str()), ("t001", "+001"), "as before the run");
    scene.run(&["apply"]).expect(0);
    assert_eq!(scene.effects(), "+001 +002");
}

#[test]
fn a_dump_of_the_tables_that_are_touched_holds_no_history() {
    let scene = Scene::with_steps(1);
    scene.run(&["apply"]).expect(0);
    configure(&scene, "[backup]\ndump = true\ndump_tables = \"touched\"\ndump_dir = \"dumps\"\n");
    scene.project.pair("002_m", "ALTER TABLE t001 ADD more int;\n", "ALTER TABLE t001 DROP more;\n");
    scene.run(&["apply"]).expect(0);
    let dump = std::fs::read_dir(scene.project.path().join("dumps")).unwrap().next().unwrap().unwrap().path();
    let scratch = scene.db.cluster().database();
    let restored = scene.db.cluster().program("pg_restore").args(["-d", &scratch.url()]).arg(&dump).status().unwrap();
    assert!(restored.success());
    assert_eq!(scratch.psql("SELECT to_regclass('t001') IS NOT NULL, to_regnamespace('migengine') IS NULL"), "t|t");
}

// ---- The first page

#[test]
fn the_first_commands_of_the_readme_work_in_their_order() {
    let scene = Scene::new();
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let block = page.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let block = block.filter(|block| block.contains("migengine new")).last().unwrap();
    let editor = scene.project.path().join("editor");
    let wrote = "echo 'CREATE TABLE prices (cents bigint);' >> \"$1\"; echo 'DROP TABLE prices;' >> \"$2\"";
    std::fs::write(&editor, format!("#!/bin/sh\n{wrote}\n")).unwrap();
    std::fs::set_permissions(&editor, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let engine = scene.project.command(&["--version"]);
    let mut commands = 0;
    for line in block.lines().filter_map(|line| line.strip_prefix("$ ")) {
        // The private server of `rehearse` has tests of its own; this one is there already.
        let against = format!("migengine rehearse --against '{}'", scene.db.cluster().database().url());
        let line = line.replace("migengine rehearse", &against);
        let line = line.replacen("migengine ", &format!("{} ", engine.get_program().display()), 1);
        let mut sh = std::process::Command::new("sh");
        sh.args(["-ec", &line]).current_dir(scene.project.path()).env_clear().env("EDITOR", &editor);
        let output = sh.envs(engine.get_envs().filter_map(|(key, value)| Some((key, value?)))).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        commands += 1;
    }
    assert!(commands > 5, "{block}");
    assert_eq!(scene.db.psql("SELECT to_regclass('prices') IS NOT NULL"), "t", "001 stays");
}
