//! The audit log: it tells who did what, cannot be forgotten, and shows every attempt to change it.
#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use serde_json::Value;
use support::Scene;

fn entries(scene: &Scene) -> Vec<Value> {
    scene.run(&["audit", "show", "--format", "json"]).expect(0).json()["entries"].as_array().unwrap().clone()
}

fn told(scene: &Scene) -> String {
    let words = entries(scene).into_iter().map(|entry| {
        let id = entry["migration"].as_str().map(|id| format!(":{}", &id[..3])).unwrap_or_default();
        format!("{}{id}", entry["action"].as_str().unwrap())
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The findings of `audit verify`, one a line; none when the log is sound.
#[track_caller]
fn findings(scene: &Scene) -> String {
    let output = scene.run(&["audit", "verify", "--format", "json"]);
    let object = output.json();
    assert_eq!(output.code, Some(if object["sound"] == true { 0 } else { 6 }), "{output}");
    let findings = object["findings"].as_array().unwrap();
    findings.iter().map(|finding| finding.as_str().unwrap()).collect::<Vec<_>>().join("\n")
}

/// Changes the log as somebody with all rights would, past its own triggers.
fn tamper(scene: &Scene, sql: &str) {
    let off = "ALTER TABLE migengine.audit DISABLE TRIGGER ALL; ALTER TABLE migengine.history DISABLE TRIGGER ALL";
    scene.db.psql(&format!(
        "{off}; {sql}; ALTER TABLE migengine.audit ENABLE ALWAYS TRIGGER append_only; \
         ALTER TABLE migengine.history ENABLE ALWAYS TRIGGER audit, ENABLE ALWAYS TRIGGER audit_new, \
         ENABLE ALWAYS TRIGGER audit_change, ENABLE ALWAYS TRIGGER audit_truncate"
    ));
}

#[test]
fn a_run_and_its_way_back_are_told_with_who_what_where_and_how_it_ended() {
    let scene = Scene::with_steps(2);
    let mut apply = scene.project.command(&["--env", "production", "apply"]);
    std::fs::write(scene.project.path().join("migengine.toml"), "[env.production]\n").unwrap();
    apply.envs([("GITLAB_CI", "true"), ("CI_COMMIT_SHA", "c0ffee"), ("CI_JOB_NAME", "deploy")]);
    apply.envs([("CI_JOB_URL", "https://git.example/jobs/7"), ("GITLAB_USER_LOGIN", "ada")]);
    assert!(apply.output().unwrap().status.success());
    scene.run(&["rollback", "--last", "1"]).expect(0);
    assert_eq!(told(&scene), "run_started applied:001 applied:002 run_finished run_started reversed:002 run_finished");
    let all = entries(&scene);
    let applied = &all[1];
    assert_eq!(applied["origin"]["ci_url"], "https://git.example/jobs/7");
    assert_eq!(applied["origin"]["git_commit"], "c0ffee");
    assert_eq!((&applied["origin"]["environment"], &applied["role"]), (&"production".into(), &"postgres".into()));
    assert!(applied["origin"]["actor"].as_str().unwrap().contains('@'), "{applied}");
    assert!(applied["sql"].as_str().unwrap().starts_with("CREATE TABLE t001"), "{applied}");
    assert!(all[5]["sql"].as_str().unwrap().starts_with("DROP TABLE t002"), "{}", all[5]);
    assert_eq!((&all[3]["detail"], &all[6]["detail"]), (&"Committed".into(), &"RolledBack".into()));
    assert_eq!(all[5]["origin"]["ci"], Value::Null, "the second run came from somewhere else");
    let journal = scene.run(&["journal", "show"]).expect(0).stdout;
    assert!(journal.contains("origin: actor ") && journal.contains("https://git.example/jobs/7"), "{journal}");
    assert_eq!(findings(&scene), "");
    let text = scene.run(&["audit", "show", "--migration", "002"]).expect(0).stdout;
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(text.contains("https://git.example/jobs/7, commit c0ffee"), "{text}");
}

#[test]
fn what_a_person_took_upon_themselves_is_told_and_cannot_be_edited_away() {
    let scene = Scene::with_steps(1);
    let name = scene.db.name().to_owned();
    scene.run(&["protect"]).expect(0);
    scene.run(&["apply", "--yes", "--confirm", &name, "--no-backup", "the bucket is down"]).expect(0);
    let all = entries(&scene);
    let started = all.iter().find(|entry| entry["action"] == "run_started").unwrap();
    let decided = started["origin"]["decided"].to_string();
    assert!(decided.contains("no-backup: without a backup, because: the bucket is down"), "{started}");
    assert!(decided.contains("confirmed: ") && decided.contains("was named with --confirm"), "{started}");
    let shown = scene.run(&["audit", "show"]).expect(0).stdout;
    assert_eq!(shown.matches("because: the bucket is down").count(), 1, "{shown}");
    assert_eq!(findings(&scene), "");
    tamper(&scene, "UPDATE migengine.audit SET origin = replace(origin, 'down', 'fine')");
    assert_ne!(findings(&scene), "");

    // Whoever goes on with a run decides again.
    let scene = Scene::with_steps(1);
    let name = scene.db.name().to_owned();
    scene.project.pair("002_m", "SELECT 1 / (SELECT count(*) FROM effects WHERE what = 'go')", "SELECT 1");
    scene.run(&["apply"]).expect(7);
    scene.run(&["protect"]).expect(0);
    scene.db.psql("INSERT INTO effects (what) VALUES ('go')");
    scene.run(&["apply", "--resume", "--yes", "--confirm", &name, "--no-backup", "it was made"]).expect(0);
    let all = entries(&scene);
    let resumed = all.iter().find(|entry| entry["action"] == "run_resumed").unwrap();
    assert!(resumed["origin"]["decided"].to_string().contains("because: it was made"), "{resumed}");
    assert!(all[0]["origin"]["decided"].is_null(), "{}", all[0]);
}

#[test]
fn failures_rests_and_resumptions_are_told_too() {
    let scene = Scene::with_steps(1);
    scene.project.pair("002_m", "SELECT 1/0;\n", "SELECT 1;\n");
    scene.run(&["apply"]).expect(7);
    scene.project.pair(
        "002_m",
        "CREATE TABLE t002 ();\nCREATE INDEX CONCURRENTLY ON t001 (n);\n",
        "DROP TABLE t002;\n",
    );
    scene.crash("alone.after:1", &["apply", "--resume"]);
    scene.run(&["apply", "--resume"]).expect(0);
    assert_eq!(
        told(&scene),
        "run_started applied:001 run_rested:002 run_resumed begun:002 run_resumed applied:002 run_finished"
    );
    assert!(entries(&scene)[2]["detail"].as_str().unwrap().contains("failed: division by zero"));
    assert_eq!(findings(&scene), "");
}

#[test]
fn the_log_refuses_to_be_changed_in_the_ordinary_way() {
    let scene = Scene::with_steps(1);
    scene.run(&["apply"]).expect(0);
    for sql in ["UPDATE migengine.audit SET role = 'x'", "DELETE FROM migengine.audit", "TRUNCATE migengine.audit"] {
        let error = scene.db.try_psql(sql).unwrap_err();
        assert!(error.contains("the audit log of migengine is append-only"), "{sql}: {error}");
    }
    assert_eq!(findings(&scene), "");
}

/// A session that copies from elsewhere runs no ordinary triggers; a script may set that too.
#[test]
fn a_session_that_runs_no_triggers_does_not_get_past_the_log() {
    let scene = Scene::with_steps(1);
    scene.project.pair(
        "002_m",
        "SET session_replication_role = replica;\nCREATE TABLE t002 (n int);\n",
        "SET session_replication_role = replica;\nDROP TABLE t002;\n",
    );
    scene.run(&["apply"]).expect(0);
    scene.run(&["rollback", "--last", "1"]).expect(0);
    assert_eq!(told(&scene), "run_started applied:001 applied:002 run_finished run_started reversed:002 run_finished");
    let replica = "SET session_replication_role = replica";
    let error = scene.db.try_psql(&format!("{replica}; DELETE FROM migengine.audit")).unwrap_err();
    assert!(error.contains("the audit log of migengine is append-only"), "{error}");
    scene.db.psql(&format!("{replica}; DELETE FROM migengine.history WHERE id = '001_m'"));
    assert!(told(&scene).ends_with("run_finished reversed:001"), "{}", told(&scene));
    assert_eq!(findings(&scene), "");
}

#[test]
fn a_head_that_was_deleted_is_found_and_stops_no_run() {
    let scene = Scene::with_steps(1);
    scene.run(&["apply"]).expect(0);
    scene.db.psql("DELETE FROM migengine.audit_head");
    assert_eq!(findings(&scene), "the log ends with entry 3, and its head knows of 0");
    scene.run(&["status"]).expect(0);
    scene.step(2);
    scene.run(&["apply"]).expect(0);
    let found = "the head of the log was deleted before entry 4: entries before that one may be missing";
    assert_eq!(findings(&scene), found, "what was done to it stays told");
    assert_eq!(entries(&scene)[3]["action"], "head_lost");
    assert_eq!(scene.tables(), "t001 t002");
}

#[test]
fn every_edit_deletion_and_reordering_past_the_trigger_is_found() {
    for (sql, expected) in [
        ("UPDATE migengine.audit SET role = 'nobody' WHERE seq = 2", "entry 2 is not as it was written"),
        ("UPDATE migengine.audit SET sql = 'SELECT 1' WHERE seq = 3", "entry 3 is not as it was written"),
        ("UPDATE migengine.audit SET at = at - interval '1 day' WHERE seq = 1", "entry 1 is not as it was written"),
        ("DELETE FROM migengine.audit WHERE seq = 2", "entry 2 is missing"),
        ("DELETE FROM migengine.audit WHERE seq IN (1, 2)", "entries 1 to 2 are missing"),
        ("DELETE FROM migengine.audit WHERE seq = 4", "the log ends with entry 3, and its head knows of 4"),
        (
            "UPDATE migengine.audit SET seq = -seq WHERE seq IN (2, 3); \
             UPDATE migengine.audit SET seq = CASE seq WHEN -2 THEN 3 ELSE 2 END WHERE seq < 0",
            "entry 2 is not as it was written",
        ),
    ] {
        let scene = Scene::with_steps(2);
        scene.run(&["apply"]).expect(0);
        assert_eq!(findings(&scene), "");
        tamper(&scene, sql);
        let found = findings(&scene);
        assert!(found.contains(expected), "{sql}: {found}");
    }
}

#[test]
fn a_log_that_was_written_anew_is_found_by_the_journal_and_by_the_history() {
    let scene = Scene::with_steps(2);
    scene.run(&["apply"]).expect(0);
    // Everything is forged to fit together: entries, hashes, head.
    tamper(
        &scene,
        "DELETE FROM migengine.audit; UPDATE migengine.audit_head SET seq = 0, hash = sha256('migengine audit 1'); \
         SELECT migengine.audit_add('run_started', 'x', NULL, NULL, NULL, NULL, 'apply'); \
         SELECT migengine.audit_add('applied', h.run_id, h.id, h.content, h.tokens, 'SELECT 1', NULL) \
           FROM migengine.history h ORDER BY h.id",
    );
    assert_eq!(findings(&scene), "entry 3 is another one than the journal remembers");
}

#[test]
fn the_history_cannot_be_changed_by_hand_without_an_entry_or_a_finding() {
    let scene = Scene::with_steps(2);
    scene.run(&["apply"]).expect(0);
    scene.db.psql("UPDATE migengine.history SET up_sql = 'SELECT 1', tokens = sha256('x') WHERE id = '001_m'");
    assert!(findings(&scene).contains("001_m: the history was changed by hand"), "{}", findings(&scene));
    let last = entries(&scene).pop().unwrap();
    assert_eq!((&last["action"], &last["application"]), (&"edited".into(), &"psql".into()), "{last}");

    let scene = Scene::with_steps(2);
    scene.run(&["apply"]).expect(0);
    tamper(&scene, "DELETE FROM migengine.history WHERE id = '002_m'");
    assert_eq!(findings(&scene), "002_m: in effect by the log, and not in the history");
    scene.db.psql("DELETE FROM migengine.history WHERE id = '001_m'");
    assert!(told(&scene).ends_with("reversed:001"), "{}", told(&scene));
}

#[test]
fn the_export_holds_every_column_as_lines_of_json_and_comma_separated() {
    let scene = Scene::with_steps(1);
    scene.run(&["apply"]).expect(0);
    let lines = scene.run(&["audit", "export", "--format", "jsonl"]).expect(0).stdout;
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, entries(&scene));
    let csv = scene.run(&["audit", "export", "--format", "csv"]).expect(0).stdout;
    scene.db.psql("CREATE TABLE sheet (LIKE migengine.audit)");
    scene.db.psql("ALTER TABLE sheet ALTER content TYPE text, ALTER tokens TYPE text, ALTER hash TYPE text");
    let path = scene.project.path().join("audit.csv");
    std::fs::write(&path, csv).unwrap();
    scene.db.psql(&format!("\\copy sheet FROM '{}' WITH (FORMAT csv, HEADER)", path.display()));
    let same = "SELECT count(*) FROM sheet s JOIN migengine.audit a USING (seq) WHERE s.hash = encode(a.hash, 'hex') \
                AND s.sql IS NOT DISTINCT FROM a.sql AND s.detail IS NOT DISTINCT FROM a.detail";
    assert_eq!(scene.db.psql(same), lines.len().to_string());
    let later = scene.run(&["audit", "export", "--format", "jsonl", "--after", "2"]).expect(0).stdout;
    assert_eq!(later.lines().count(), lines.len() - 2);
    let refused = scene.run(&["status", "--format", "csv"]).expect(2);
    assert!(refused.stderr.contains("ME756"), "{refused}");
}

#[test]
fn a_database_without_a_run_has_no_log_and_says_so() {
    let scene = Scene::new();
    assert!(scene.run(&["audit", "verify"]).expect(5).stderr.contains("ME757"));
}
