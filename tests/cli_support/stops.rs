//! Errors, and runs that stop in the middle: what happened, the state of the database, the next command.

use serde_json::{Value, json};

use crate::normal::assert_text;
use crate::shop;
use crate::support::{Cluster, Project};

#[test]
fn a_failing_statement_is_shown_with_the_state_and_the_way_on() {
    let db = Cluster::shared().database();
    let project = shop(&db);
    project.pair("002_b", "CREATE TABLE b (n int);\nINSERT INTO b\n  VALUES (1, nope);", "DROP TABLE b;");
    let output = project.run(&["apply"]).expect(7);
    assert_text(
        &output.stderr,
        "
  run RUN1 holds the lock (epoch 1)
  applied  001_a  (DUR)
  failed  002_b
error[ME401]: 002_b: column \"nope\" does not exist (SQLSTATE 42703)
  --> migrations/002_b.sql:3:14
  |
3 |  VALUES (1, nope);
  |  ^
   = advice: A column does not exist. Correct its name, or add the migration that creates it to `-- Requires:`.
state: Of this run 001_a is in effect.
next:  mend the file, then: migengine apply --resume
       or take the run back: migengine rollback --run RUN1",
    );
    let caret = format!("\n3 |   VALUES (1, nope);\n  | {:13}^\n", "");
    assert!(output.stderr.contains(&caret), "the caret stands under column 14: {output}");
    let status = project.run(&["status"]).expect(0);
    assert!(status.stdout.contains("failed at 002_b: column \"nope\" does not exist"), "{status}");
    let open = &project.run_json(&["status", "--exit-code"], 3)["unfinished_run"];
    assert_eq!((&open["kind"], &open["state"]), (&json!("apply"), &json!("Applying")));
    assert_eq!((&open["rest"]["reason"], &open["rest"]["step"]), (&json!("failed"), &json!("002_b")));
    assert_eq!(open["rest"]["next"], "migengine apply --resume");
    let refused = project.run_json(&["apply"], 7);
    assert_eq!((&refused["error"]["code"], &refused["steps"]), (&json!("ME410"), &json!([])));
    let plan = project.run(&["plan"]).expect(0);
    assert!(plan.stderr.contains("is not finished"), "{plan}");
}

#[test]
fn a_killed_run_is_shown_as_interrupted() {
    let db = Cluster::shared().database();
    let project = shop(&db).with_env("MIGENGINE_CRASH_AT", "alone.sent:1");
    assert_eq!(project.run(&["apply"]).code, None);
    let project = project.with_env("MIGENGINE_CRASH_AT", "");
    let open = project.run_json(&["status"], 0)["unfinished_run"].clone();
    assert_eq!((&open["rest"]["reason"], &open["next"]), (&json!("interrupted"), &json!("migengine apply --resume")));
    project.run(&["apply", "--resume"]).expect(0);
    assert_eq!(project.run_json(&["status", "--exit-code"], 0)["unfinished_run"], Value::Null);
}

#[test]
fn every_error_is_json_with_the_commands_fields() {
    let nowhere = Project::with_url("postgresql://x@127.0.0.1:1/x");
    nowhere.write("001_a.sql", "SELECT 1;");
    let broken = Project::with_url("postgresql://x@127.0.0.1:1/x");
    broken.write("001_a.sql", "SELECT 'never closed;");
    for (project, args, exit, code, fields) in [
        (&nowhere, &["plan"][..], 5, "ME301", &["plan_hash", "direction", "steps"][..]),
        (&nowhere, &["status"], 5, "ME301", &["applied", "pending", "changed", "missing", "unfinished_run"]),
        (&nowhere, &["apply"], 5, "ME301", &["run_id", "kind", "state", "rest", "steps"]),
        (&nowhere, &["rollback", "--last", "1"], 5, "ME301", &["run_id", "kind", "state", "rest", "steps"]),
        (&nowhere, &["journal", "show"], 5, "ME419", &["runs"]),
        (&nowhere, &["journal", "list"], 5, "ME419", &["runs"]),
        (&nowhere, &["journal", "rebuild"], 5, "ME301", &["journal", "moved_to"]),
        (&nowhere, &["resolve", "1", "--as", "applied", "--reason", " "], 2, "ME420", &["run_id", "step"]),
        (&nowhere, &["list", "--dir", "nowhere"], 5, "ME004", &["migrations"]),
        (&nowhere, &["new", "x_verify"], 2, "ME014", &["id", "files"]),
        (&nowhere, &["plan", "--config", "nowhere.toml"], 2, "ME001", &["plan_hash", "steps"]),
        (&nowhere, &["rollback"], 2, "ME012", &[]),
        (&nowhere, &["aply"], 2, "ME012", &[]),
        (&broken, &["plan"], 5, "ME120", &["plan_hash", "steps"]),
    ] {
        let object = project.run_json(args, exit);
        let error = &object["error"];
        if code != "ME120" {
            assert_eq!(error["code"], code, "{args:?}: {object}");
        } else {
            assert_eq!((&error["file"], &error["line"]), (&json!("migrations/001_a.sql"), &json!(1)), "{object}");
        }
        for field in fields.iter().chain(&["error"]) {
            assert!(object.get(field).is_some(), "{args:?} lacks {field}: {object}");
        }
        assert!(error["message"].is_string() && error.get("sqlstate").is_some(), "{args:?}: {object}");
    }
}
