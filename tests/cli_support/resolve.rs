//! `resolve`: evidence first, then a person's word.

use serde_json::json;

use crate::support::{Cluster, Database, Project};

/// A run that was killed while the server worked on one statement of `001_x`.
fn killed<'a>(db: &Database<'a>, statement: &str, point: &str) -> Project {
    db.psql("CREATE TABLE t (n int); CREATE PROCEDURE work() LANGUAGE sql AS 'INSERT INTO t VALUES (1)'");
    let project = Project::new(db).with_env("MIGENGINE_CRASH_AT", &format!("{point}:1"));
    let script = format!("-- Transaction: false\nCREATE TABLE w (n int);\n{statement};\nINSERT INTO w VALUES (1);\n");
    project.pair("001_x", &script, "DROP TABLE w;");
    assert_eq!(project.run(&["apply"]).code, None);
    let project = project.with_env("MIGENGINE_CRASH_AT", "");
    crate::support::wait_until("the orphan ends", std::time::Duration::from_secs(30), || {
        db.psql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())") == "0"
    });
    project
}

#[test]
fn what_the_catalogs_cannot_tell_a_person_settles() {
    for (verdict, calls) in [("applied", 1), ("rolled-back", 2)] {
        let db = Cluster::shared().database();
        let project = killed(&db, "CALL work()", "alone.after");
        let stuck = project.run(&["apply", "--resume"]).expect(6);
        assert!(stuck.stderr.contains("migengine resolve 001_x --as applied|rolled-back"), "{stuck}");
        project.run(&["resolve", "001_x", "--as", verdict, "--reason", "  "]).expect(2);
        let output = project.run(&["resolve", "1", "--as", verdict, "--reason", "seen in the log"]).expect(0);
        for shown in ["begun, parts done: 1", "migrations/001_x.sql:3:1", "CALL work()", "they cannot tell"] {
            assert!(output.stderr.contains(shown), "{shown} is missing: {output}");
        }
        project.run(&["apply", "--resume"]).expect(0);
        assert_eq!(db.psql("SELECT count(*) FROM w"), "1");
        assert_eq!(db.psql("SELECT count(*) FROM t"), calls.to_string(), "{verdict}: a person's word is followed");
        let shown = project.run_json(&["journal", "show", "last"], 0);
        let events = shown["runs"][0]["events"].as_array().unwrap();
        let resolved = events.iter().find(|event| event["kind"] == "resolved").unwrap();
        assert_eq!((&resolved["reason"], &resolved["applied"]), (&json!("seen in the log"), &json!(calls == 1)));
    }
}

#[test]
fn a_word_against_the_evidence_is_refused_and_not_recorded() {
    let db = Cluster::shared().database();
    let project = killed(&db, "CREATE INDEX CONCURRENTLY t_n ON t (n)", "alone.after");
    let events = || project.run_json(&["journal", "show"], 0)["runs"][0]["events"].as_array().unwrap().len();
    let before = events();
    let refused = project.run_json(&["resolve", "1", "--as", "rolled-back", "--reason", "I think"], 5);
    assert_eq!(refused["error"]["code"], "ME423");
    assert_eq!(events(), before);
    assert_eq!(project.run_json(&["resolve", "9", "--as", "applied", "--reason", "x"], 2)["error"]["code"], "ME140");
    let elsewhere = ["resolve", "1", "--as", "applied", "--reason", "x", "--run", "zzzz"];
    assert_eq!(project.run_json(&elsewhere, 2)["error"]["code"], "ME416");
    project.run(&["apply", "--resume"]).expect(0);
    let none = project.run_json(&["resolve", "1", "--as", "applied", "--reason", "x"], 5);
    assert_eq!(none["error"]["code"], "ME421");
}

#[test]
fn where_the_history_decides_no_word_is_needed() {
    let db = Cluster::shared().database();
    let project = Project::new(&db);
    project.pair("001_a", "CREATE TABLE a (n int);", "DROP TABLE nope;");
    project.run(&["apply"]).expect(0);
    project.run(&["rollback", "1"]).expect(6);
    let refused = project.run_json(&["resolve", "1", "--as", "rolled-back", "--reason", "dropped by hand"], 5);
    assert_eq!(refused["error"]["code"], "ME424");
    project.run(&["resolve", "1", "--as", "applied", "--reason", "it is there"]).expect(0);
    project.write("001_a_rollback.sql", "DROP TABLE a;");
    project.run(&["rollback", "--resume"]).expect(0);
    assert_eq!(db.psql("SELECT count(*) FROM pg_class WHERE relname = 'a'"), "0");
}
