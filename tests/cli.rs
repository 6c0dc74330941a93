//! The commands as people and scripts meet them: text, JSON and exit codes, with a real server.
#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

#[path = "cli_support/journal.rs"]
mod journal;
#[path = "cli_support/normal.rs"]
mod normal;
#[path = "cli_support/resolve.rs"]
mod resolve;
#[path = "cli_support/restored.rs"]
mod restored;
#[path = "cli_support/stops.rs"]
mod stops;

use normal::assert_text;
use serde_json::{Value, json};
use support::{Cluster, Database, Project};

/// Three migrations: a root, one that asks for it, and one outside of any transaction, irreversible.
fn shop(db: &Database<'_>) -> Project {
    let project = Project::new(db);
    project.pair("001_a", "-- Description: The first\nCREATE TABLE a (n int);", "DROP TABLE a;");
    project.pair("002_b", "-- Requires: 1\nBEGIN;\nCREATE TABLE b (n int);\nCOMMIT;", "DROP TABLE b;");
    project.write("003_c.sql", "-- Irreversible: only an index\nCREATE INDEX CONCURRENTLY b_n ON b (n);\nVACUUM b;\n");
    project
}

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item.as_str().or_else(|| item["id"].as_str()).unwrap()).collect()
}

#[test]
fn a_plan_tells_the_steps_and_touches_nothing() {
    let db = Cluster::shared().database();
    let project = shop(&db);
    let output = project.run(&["plan"]).expect(0);
    assert_text(
        &output.stdout,
        "
apply 3 migrations (plan HASH)

1. 001_a
   The first
   requires: nothing
   transaction: one

2. 002_b
   requires: 001_a
   transaction: one

3. 003_c
   requires: 002_b
   transaction: none (2 parts)
   irreversible: only an index",
    );
    assert_text(
        &project.run(&["plan", "--sql", "--to", "2"]).expect(0).stdout,
        "
-- Step 1 of 2: migrations/001_a.sql (transaction: one)
BEGIN;
-- Description: The first
CREATE TABLE a (n int);
COMMIT;

-- Step 2 of 2: migrations/002_b.sql (transaction: one)
-- Requires: 1
BEGIN;
CREATE TABLE b (n int);
COMMIT;",
    );
    project.run(&["plan", "--exit-code"]).expect(3);
    assert_eq!(db.psql("SELECT count(*) FROM pg_namespace WHERE nspname = 'migengine'"), "0");
    assert!(!project.journal().exists(), "a plan writes no journal");
}

#[test]
fn a_plan_as_json_has_the_fields_promised() {
    let db = Cluster::shared().database();
    let project = shop(&db);
    project.write("003_c_verify.sql", "-- nothing: to see\n-- chunk: b\n\nSELECT true;");
    let plan = project.run_json(&["plan", "--sql"], 0);
    assert_eq!(plan["direction"], "apply");
    assert_eq!(plan["plan_hash"].as_str().unwrap().len(), 64);
    assert_eq!(ids(&plan["steps"]), ["001_a", "002_b", "003_c"]);
    let last = &plan["steps"][2];
    assert_eq!(
        (&last["requires"], &last["transactional"], &last["parts"]),
        (&json!(["002_b"]), &json!(false), &json!(2))
    );
    assert_eq!((&last["warnings"][0]["code"], &last["warnings"][0]["object"]), (&json!("ME115"), &Value::Null));
    assert!(last["sql"].as_str().unwrap().contains("VACUUM b"));
    project.run(&["apply"]).expect(0);
    let plan = project.run_json(&["plan", "--exit-code"], 0);
    assert_eq!(plan["steps"], json!([]));
}

#[test]
fn a_planned_rollback_is_the_one_that_would_run() {
    let db = Cluster::shared().database();
    let project = shop(&db);
    project.run(&["apply", "--to", "2"]).expect(0);
    for (args, expected) in [
        (&["plan", "--rollback", "--to", "1"][..], &["002_b"][..]),
        (&["plan", "--rollback", "--last", "5"], &["002_b", "001_a"]),
        (&["plan", "--rollback", "--run", "last"], &["002_b", "001_a"]),
        (&["plan", "--rollback", "1", "--cascade"], &["002_b", "001_a"]),
        (&["plan", "migrations/002_b_rollback.sql"], &["002_b"]),
    ] {
        let plan = project.run_json(args, 0);
        assert_eq!(
            (plan["direction"].as_str(), ids(&plan["steps"])),
            (Some("rollback"), expected.to_vec()),
            "{args:?}"
        );
    }
    let refused = project.run_json(&["plan", "--rollback", "1"], 5);
    assert_eq!((&refused["error"]["code"], &refused["steps"]), (&json!("ME143"), &json!([])));
    assert_eq!(project.run_json(&["plan", "--rollback"], 2)["error"]["code"], "ME418");
    project.remove("002_b.sql");
    project.remove("002_b_rollback.sql");
    let output = project.run(&["plan", "--rollback", "2"]).expect(0);
    assert!(output.stdout.contains("from the history"), "{output}");
}

#[test]
fn the_graph_is_drawn_with_and_without_a_database() {
    let db = Cluster::shared().database();
    let project = shop(&db);
    project.run(&["apply", "--to", "1"]).expect(0);
    let drawn = project.run(&["plan", "--graph", "mermaid"]).expect(0).stdout;
    assert!(drawn.contains("\"001_a\"]:::applied") && drawn.contains("\"002_b\"]:::pending"), "{drawn}");
    let project = project.with_env("DATABASE_URL", "postgresql://x@127.0.0.1:1/x");
    let output = project.run(&["plan", "--graph", "dot"]).expect(0);
    assert!(output.stdout.starts_with("digraph") && output.stderr.contains("not known"), "{output}");
}

#[test]
fn status_tells_what_fits_and_what_does_not() {
    let db = Cluster::shared().database();
    let project = shop(&db);
    let before = project.run_json(&["status"], 0);
    assert_eq!((&before["applied"], ids(&before["pending"]).len()), (&json!([]), 3));
    project.run(&["apply", "--to", "2"]).expect(0);
    assert_text(
        &project.run(&["status"]).expect(0).stdout,
        &format!(
            "
database {} (PostgreSQL VERSION)

applied: 2
  001_a  TIME  DUR  run RUN1
  002_b  TIME  DUR  run RUN1

pending: 1
  003_c",
            db.name()
        ),
    );
    project.run(&["status", "--exit-code"]).expect(3);
    project.write("001_a.sql", "CREATE TABLE a (n bigint);");
    project.remove("002_b.sql");
    project.remove("002_b_rollback.sql");
    let status = project.run_json(&["status"], 0);
    assert_eq!(ids(&status["applied"]), ["001_a", "002_b"]);
    let first = &status["applied"][0];
    assert!(first["run_id"].as_str().unwrap().len() == 26 && first["duration_ms"].is_number(), "{first}");
    assert!(first["applied_at"].as_str().unwrap().ends_with('Z'), "{first}");
    assert_eq!((ids(&status["changed"]), ids(&status["missing"])), (vec!["001_a"], vec!["002_b"]));
    assert_eq!(status["unfinished_run"], Value::Null);
    project.write("001_a.sql", "CREATE TABLE 'a");
    let status = project.run(&["status", "--format", "json"]).expect(0);
    assert!(status.stderr.contains("001_a.sql:1:14"), "a broken file hides nothing: {status}");
    assert_eq!(ids(&status.json()["missing"]), ["002_b"]);
}

#[test]
fn a_list_needs_no_database() {
    let db = Cluster::shared().database();
    let project = shop(&db).with_env("DATABASE_URL", "postgresql://x@127.0.0.1:1/x");
    assert_text(
        &project.run(&["list"]).expect(0).stdout,
        "
ID  REQUIRES  TRANSACTION  REVERSE  DESCRIPTION
001_a  -  one  yes  The first
002_b  001_a  one  yes
003_c  002_b  none (2)  irreversible",
    );
    let list = project.run_json(&["list"], 0);
    let third = &list["migrations"][2];
    assert_eq!((&third["id"], &third["irreversible"]), (&json!("003_c"), &json!("only an index")));
    project.write("004_d.sql", "SELECT 1; \\gexec\n");
    let list = project.run_json(&["list"], 5);
    assert_eq!(ids(&list["migrations"]).len(), 3);
    assert_eq!((&list["error"]["file"], &list["error"]["line"]), (&json!("migrations/004_d.sql"), &json!(1)));
}

#[test]
fn a_new_pair_is_numbered_and_applies_as_it_is() {
    let db = Cluster::shared().database();
    let project = Project::new(&db);
    std::fs::remove_dir(project.migrations()).unwrap();
    assert_eq!(
        project.run(&["new", "Add prices"]).expect(0).stdout.lines().next(),
        Some("migrations/001_add_prices.sql")
    );
    let second = project.run_json(&["new", "add_taxes", "--requires", "1"], 0);
    assert_eq!(second["files"], json!(["migrations/002_add_taxes.sql", "migrations/002_add_taxes_rollback.sql"]));
    let text = std::fs::read_to_string(project.migrations().join("002_add_taxes.sql")).unwrap();
    let keys: Vec<&str> = text.lines().take(5).filter_map(|line| line.split_once(':')).map(|(key, _)| key).collect();
    assert_eq!(keys, ["-- Migration", "-- Description", "-- Author", "-- Date", "-- Requires"]);
    assert!(text.contains("-- Requires: 001_add_prices\n"), "{text}");
    assert_eq!(project.run_json(&["new", "002_add_taxes"], 5)["error"]["code"], "ME013");
    assert_eq!(std::fs::read_to_string(project.migrations().join("002_add_taxes.sql")).unwrap(), text);
    assert_eq!(project.run_json(&["new", "x", "--requires", "9"], 2)["error"]["code"], "ME140");
    let stamped = project.run_json(&["new", "z", "--timestamp", "--requires", "none"], 0);
    assert_eq!(stamped["id"].as_str().unwrap().len(), "20240101000000_z".len());
    project.run(&["apply"]).expect(0);
    project.run(&["rollback", "--run", "last"]).expect(0);
}
