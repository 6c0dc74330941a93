//! The way back: every kind of target, refusals, the copies in the history, and reverse scripts that fail.
#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use support::Scene;
use support::scene::step_field;

/// Four migrations, applied by two runs of two.
fn two_runs() -> (Scene, String, String) {
    let scene = Scene::with_steps(2);
    let run = |scene: &Scene| scene.run_logged(&["apply"], 0).json()["run_id"].as_str().unwrap().to_owned();
    let first = run(&scene);
    scene.step(3);
    scene.step(4);
    let second = run(&scene);
    (scene, first, second)
}

#[test]
fn targets_of_every_kind_reverse_newest_first() {
    for (args, effects) in [
        (&["--to", "003"][..], "-004"),
        (&["--to", "001_m"], "-004 -003 -002"),
        (&["--to", "migrations/002_m.sql"], "-004 -003"),
        (&["--last", "1"], "-004"),
        (&["--last", "4"], "-004 -003 -002 -001"),
        (&["--run", "last"], "-004 -003"),
        (&["--run", "SECOND"], "-004 -003"),
        (&["004_m"], "-004"),
        (&["003", "4"], "-004 -003"),
        (&["2", "--cascade"], "-004 -003 -002"),
        (&["--run", "FIRST", "--cascade"], "-004 -003 -002 -001"),
    ] {
        let (scene, first, second) = two_runs();
        let args: Vec<&str> = args
            .iter()
            .map(|arg| match *arg {
                "FIRST" => first.as_str(),
                "SECOND" => second.as_str(),
                arg => arg,
            })
            .collect();
        let output = scene.run_logged(&[&["rollback"], &args[..]].concat(), 0);
        assert_eq!(
            (output.json()["state"].as_str(), output.json()["kind"].as_str()),
            (Some("RolledBack"), Some("rollback"))
        );
        assert_eq!(scene.effects(), format!("+001 +002 +003 +004 {effects}"), "{args:?}");
        assert_eq!(scene.history().split(' ').filter(|row| !row.is_empty()).count() + effects.split(' ').count(), 4);
        let reversed =
            scene.db.psql("SELECT string_agg('-' || left(id, 3), ' ' ORDER BY id DESC) FROM migengine.reversed");
        assert_eq!(reversed, effects, "{args:?}: the history keeps what was reversed");
        // What was reversed can be applied again, and the schema is the same as the first time.
        scene.run(&["apply"]).expect(0);
        assert_eq!(scene.tables(), "t001 t002 t003 t004", "{args:?}");
    }
}

#[test]
fn without_a_target_or_with_a_senseless_one_it_is_a_usage_error() {
    let (scene, _, _) = two_runs();
    let before = scene.everything();
    for args in [
        &["rollback"][..],
        &["rollback", "--last", "0"],
        &["rollback", "--last", "x"],
        &["rollback", "--to", "001", "--last", "1"],
        &["rollback", "--to", "nothing_such"],
        &["rollback", "nothing_such"],
        &["rollback", "--run", "zzzzzzzz"],
    ] {
        let output = scene.run(args).expect(2);
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}: {output}");
    }
    assert_eq!(before, scene.everything());
}

#[test]
fn a_target_that_is_not_applied_is_refused() {
    let (scene, _, _) = two_runs();
    scene.step(5);
    let before = scene.everything();
    for args in [&["rollback", "--to", "005"][..], &["rollback", "005_m"], &["apply", "005", "--rollback"]] {
        let output = scene.run(args).expect(5);
        assert!(output.stderr.contains("005_m") && output.stderr.contains("not applied"), "{args:?}: {output}");
    }
    assert_eq!(before, scene.everything());
    let fresh = Scene::with_steps(1);
    let output = fresh.run(&["rollback", "--last", "1"]).expect(5);
    assert!(output.stderr.contains("nothing was ever applied"), "{output}");
}

#[test]
fn it_is_refused_where_a_dependant_would_stay() {
    let (scene, first, _) = two_runs();
    let before = scene.everything();
    for args in [&["rollback", "002"][..], &["rollback", "--run", &first]] {
        let output = scene.run(args).expect(5);
        assert!(output.stderr.contains("003_m") && output.stderr.contains("--cascade"), "{args:?}: {output}");
    }
    assert_eq!(before, scene.everything());
}

#[test]
fn it_is_refused_before_anything_runs_where_a_reverse_script_is_missing() {
    for reason in ["", "-- Irreversible: the old addresses are gone\n"] {
        let scene = Scene::with_steps(4);
        scene.project.remove("002_m_rollback.sql");
        scene.project.write("002_m.sql", format!("{reason}CREATE TABLE t002 (n int);"));
        scene.run(&["apply"]).expect(0);
        let before = scene.everything();
        let output = scene.run(&["rollback", "--to", "001"]).expect(5);
        assert!(output.stderr.contains("002_m"), "{output}");
        assert!(reason.is_empty() || output.stderr.contains("the old addresses are gone"), "{output}");
        assert_eq!(before, scene.everything());
        scene.run(&["rollback", "--to", "002"]).expect(0);
        // A reverse script written later makes it reversible.
        scene.project.write("002_m_rollback.sql", "DROP TABLE t002;");
        let output = scene.run(&["rollback", "--to", "001"]);
        assert!(output.code == Some(0) || !reason.is_empty(), "{output}");
    }
}

#[test]
fn it_works_from_the_history_when_the_files_are_gone() {
    for gone in ["two files", "the folder"] {
        let (scene, _, _) = two_runs();
        if gone == "the folder" {
            std::fs::remove_dir_all(scene.project.migrations()).unwrap();
        } else {
            scene.project.remove("004_m.sql");
            scene.project.remove("004_m_rollback.sql");
            scene.project.remove("002_m_rollback.sql");
        }
        scene.run(&["rollback", "--to", "001"]).expect(0);
        assert_eq!(scene.effects(), "+001 +002 +003 +004 -004 -003 -002", "{gone}");
        scene.run(&["rollback", "001_m"]).expect(0);
        assert_eq!((scene.tables(), scene.history()), (String::new(), String::new()), "{gone}");
    }
}

#[test]
fn it_works_on_another_machine_without_files_and_journal() {
    let (scene, _, second) = two_runs();
    let empty = support::Project::new(&scene.db);
    empty.run(&["rollback", "--run", &second]).expect(0);
    assert_eq!(scene.effects(), "+001 +002 +003 +004 -004 -003");
    // The first machine learns of it.
    scene.run(&["apply"]).expect(0);
    assert_eq!(scene.effects(), "+001 +002 +003 +004 -004 -003 +003 +004");
}

#[test]
fn a_reverse_script_that_fails_leaves_the_run_stuck_until_it_is_mended() {
    let (scene, _, _) = two_runs();
    scene
        .project
        .write("002_m_rollback.sql", "DROP TABLE t002;\nINSERT INTO effects (what) VALUES ('-002');\nSELECT 1/0;\n");
    let output = scene.run_logged(&["rollback", "--last", "4"], 6);
    let json = output.json();
    assert_eq!((json["rest"]["reason"].as_str(), json["rest"]["step"].as_str()), (Some("stuck"), Some("002_m")));
    assert_eq!(
        (json["error"]["sqlstate"].as_str(), json["error"]["line"].as_i64()),
        (Some("22012"), Some(3)),
        "{json}"
    );
    for (id, state) in [("001_m", "applied"), ("002_m", "failed"), ("003_m", "rolled_back"), ("004_m", "rolled_back")] {
        assert_eq!(step_field(&output, id, "state"), state, "{output}");
    }
    for word in ["002_m_rollback.sql:3:", "rollback --resume", "001_m and 002_m are in effect"] {
        assert!(output.stderr.contains(word), "{word}: {output}");
    }
    assert_eq!(scene.effects(), "+001 +002 +003 +004 -004 -003");
    assert_eq!(scene.history(), "001_m:applied 002_m:applied");
    let output = scene.run(&["apply"]).expect(7);
    assert!(output.stderr.contains("rollback --resume"), "{output}");
    scene.run(&["rollback", "--resume"]).expect(6);
    scene.step(2);
    scene.run(&["rollback", "--resume"]).expect(0);
    assert_eq!(scene.effects(), "+001 +002 +003 +004 -004 -003 -002 -001");
}

#[test]
fn an_unfinished_run_is_turned_around() {
    let scene = Scene::with_steps(4);
    scene.project.write("003_m.sql", "SELECT 1/0;");
    let run = scene.run_logged(&["apply"], 7).json()["run_id"].as_str().unwrap().to_owned();
    let output = scene.run_logged(&["rollback", "--run", &run], 0);
    assert_eq!((output.json()["run_id"].as_str(), output.json()["state"].as_str()), (Some(&*run), Some("RolledBack")));
    assert_eq!((scene.effects(), scene.history()), ("+001 +002 -002 -001".to_owned(), String::new()));
}

#[test]
fn a_failed_apply_whose_way_back_fails_too_is_stuck() {
    let scene = Scene::with_steps(3);
    scene.project.write("003_m.sql", "SELECT 1/0;");
    scene.project.write("001_m_rollback.sql", "SELECT nothing;");
    let output = scene.run_logged(&["apply", "--on-failure", "rollback"], 6);
    assert_eq!(output.json()["rest"]["step"], "001_m", "{output}");
    assert_eq!(output.json()["error"]["sqlstate"], "42703", "the failure that keeps it from going on: {output}");
    scene.step(1);
    let output = scene.run_logged(&["rollback", "--resume"], 0);
    assert_eq!(output.json()["state"], "RolledBack");
    assert_eq!((scene.effects(), scene.history()), ("+001 +002 -002 -001".to_owned(), String::new()));
}

#[test]
fn apply_of_a_reverse_script_reverses() {
    for args in [
        &["apply", "migrations/004_m_rollback.sql"][..],
        &["apply", "004_m_rollback.sql"],
        &["apply", "migrations/004_m.sql", "--rollback"],
        &["apply", "004", "--rollback"],
    ] {
        let (scene, _, _) = two_runs();
        scene.run(args).expect(0);
        assert_eq!(scene.effects(), "+001 +002 +003 +004 -004", "{args:?}");
    }
    let (scene, _, _) = two_runs();
    let before = scene.everything();
    let output = scene.run(&["apply", "migrations/004_m_rollback.sql", "migrations/003_m.sql"]);
    assert!(matches!(output.code, Some(2 | 5)), "both directions at once: {output}");
    assert_eq!(before, scene.everything());
}

#[test]
fn reverse_scripts_of_every_kind_restore_the_schema() {
    for (forward, reverse) in [
        ("CREATE TABLE a (n int);", "BEGIN;\nDROP TABLE a;\nCOMMIT;"),
        (
            "CREATE TABLE a (n int);\nCREATE TABLE b (n int);",
            "BEGIN;\nDROP TABLE b;\nCOMMIT;\nBEGIN;\nDROP TABLE a;\nCOMMIT;",
        ),
        ("CREATE TABLE a (n int); CREATE INDEX i ON a (n);", "DROP INDEX CONCURRENTLY i;\nDROP TABLE a;"),
        ("CREATE TABLE a (n int);", "SET search_path = nowhere;\nDROP TABLE public.a;"),
        ("CREATE TABLE a (n int);\r\n", "\u{feff}DROP TABLE a;\r\n"),
    ] {
        let scene = Scene::new();
        let before = scene.db.dump();
        scene.project.pair("001_it", forward, reverse);
        scene.run(&["apply"]).expect(0);
        assert_ne!(scene.db.dump(), before);
        scene.run(&["rollback", "--last", "1"]).expect(0);
        assert_eq!((scene.db.dump(), scene.history()), (before, String::new()), "{reverse}");
    }
}
