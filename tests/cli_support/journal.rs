//! `journal`: shown, watched, checked, lost and made again.

use std::time::Duration;

use serde_json::{Value, json};

use crate::normal::assert_text;
use crate::shop;
use crate::support::project::collect;
use crate::support::{Cluster, wait_until};

#[test]
fn a_run_is_shown_event_by_event() {
    // A step that takes long, because the machine has other work, is noted with its figures; here it must not have.
    let (db, project, shown) = (0..20)
        .find_map(|_| {
            let db = Cluster::shared().database();
            let project = shop(&db);
            project.run(&["apply", "--to", "1"]).expect(0);
            let shown = project.run(&["journal", "show"]).expect(0);
            (shown.stdout.matches(" noted ").count() == 2).then_some((db, project, shown))
        })
        .expect("a step that is done in a moment");
    let expected = format!(
        "
run RUN1 (apply, 1 step): Committed
  TIME  1  run_started  apply by USER, on {}
  TIME  2  noted  origin: actor USER
  TIME  3  locked  epoch 1, backend PID
  TIME  4  reconciled  journal and history agree
  TIME  5  step_intent  001_a
  TIME  6  step_applied  001_a  DUR
  TIME  7  steps_done
  TIME  8  noted  audit: entry 2 of the audit log is HASH
  TIME  9  run_committed",
        db.name()
    );
    assert_text(&shown.stdout, &expected);
    assert_text(
        &project.run(&["journal", "list"]).expect(0).stdout,
        "
RUN  KIND  STATE  STARTED  TOOK  STEPS  REST
RUN1  apply  Committed  TIME  DUR  1 applied",
    );
    project.run(&["rollback", "--last", "1"]).expect(0);
    let all = project.run_json(&["journal", "show"], 0);
    let runs = all["runs"].as_array().unwrap();
    let kinds: Vec<&Value> = runs.iter().map(|run| &run["kind"]).collect();
    assert_eq!(kinds, [&json!("apply"), &json!("rollback")]);
    for field in ["run_id", "kind", "state", "rest", "started_at", "finished_at", "steps", "events"] {
        assert!(runs[0].get(field).is_some(), "{field} is missing: {all}");
    }
    let seqs: Vec<u64> = runs[0]["events"].as_array().unwrap().iter().map(|e| e["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=9).collect::<Vec<_>>());
    assert_eq!(runs[0]["events"][5]["step"], "001_a");
    let last = project.run_json(&["journal", "show", "last"], 0);
    assert_eq!(last["runs"][0]["run_id"], runs[1]["run_id"]);
    let name = runs[0]["run_id"].as_str().unwrap();
    assert_eq!(project.run_json(&["journal", "show", name], 0)["runs"][0]["run_id"], name);
    for (text, what) in [("01", "too short"), ("zzzzzz", "no run is named")] {
        let refused = project.run_json(&["journal", "show", text], 2);
        assert!(refused["error"]["message"].as_str().unwrap().contains(what), "{refused}");
    }
}

#[test]
fn a_lost_journal_is_read_from_the_database_and_made_again() {
    let db = Cluster::shared().database();
    let project = shop(&db);
    project.run(&["apply"]).expect(0);
    let before = project.run_json(&["journal", "show"], 0);
    std::fs::remove_dir_all(project.journal()).unwrap();
    let output = project.run(&["journal", "show", "--format", "json"]).expect(0);
    assert_eq!(output.json(), before);
    assert!(output.stderr.contains("the database's mirror"), "{output}");
    let rebuilt = project.run_json(&["journal", "rebuild"], 0);
    assert_eq!((&rebuilt["runs"], &rebuilt["moved_to"]), (&json!(1), &Value::Null));
    let again = project.run(&["journal", "show", "--format", "json"]).expect(0);
    assert_eq!((again.json(), again.stderr.as_str()), (before, ""), "from the new journal");
    let checked = project.run_json(&["journal", "check"], 0);
    assert_eq!((&checked["sound"], &checked["journals"][0]["runs"][0]["anchor"]), (&json!(true), &json!("equal")));
}

#[test]
fn a_fork_and_a_database_that_went_back_are_found() {
    let db = Cluster::shared().database();
    let project = shop(&db);
    project.run(&["apply"]).expect(0);
    let soundness = |exit| project.run_json(&["journal", "check"], exit)["sound"].clone();
    assert_eq!(soundness(0), true);
    db.psql("UPDATE migengine.run SET head = sha256('another')");
    assert_eq!(soundness(6), false);
    let forked = project.run(&["journal", "check"]).expect(6);
    assert!(forked.stderr.contains("if the database is right: migengine journal rebuild\n"), "{forked}");
    db.psql("DELETE FROM migengine.record; DELETE FROM migengine.run; UPDATE migengine.lease SET epoch = 0");
    let checked = project.run(&["journal", "check"]).expect(6);
    assert!(checked.stdout.contains("went back in time"), "{checked}");
    assert!(checked.stderr.contains("migengine journal rebuild --accept-database"), "{checked}");
    let refused = project.run_json(&["journal", "rebuild"], 6);
    assert_eq!(refused["error"]["code"], "ME333");
    let rebuilt = project.run_json(&["journal", "rebuild", "--accept-database"], 0);
    assert!(rebuilt["moved_to"].as_str().unwrap().contains("quarantine"), "{rebuilt}");
    assert_eq!(soundness(0), true);
}

#[test]
fn a_run_of_another_process_can_be_watched() {
    let db = Cluster::shared().database();
    let project = shop(&db);
    project.write("004_slow.sql", "SELECT pg_sleep(2);");
    let apply = project.spawn(&["apply"]);
    wait_until("the first steps are done", Duration::from_secs(60), || {
        db.try_psql("SELECT count(*) FROM migengine.history").is_ok_and(|count| count.trim() == "3")
    });
    let status = project.run_json(&["status"], 0);
    assert!(status["unfinished_run"]["holder"].as_str().unwrap().starts_with("migengine:"), "{status}");
    let watched = project.run(&["journal", "show", "--follow"]).expect(0);
    assert!(watched.stdout.trim_end().ends_with("run_committed"), "{watched}");
    // Between the events stands what the run is at.
    let (now, lines): (Vec<&str>, Vec<&str>) =
        watched.stdout.lines().skip(1).partition(|line| line.split_whitespace().nth(1) == Some("now"));
    assert!(now.iter().any(|line| line.contains("004_slow  at work for ")), "{watched}");
    let numbers: Vec<usize> =
        lines.iter().map(|line| line.split_whitespace().nth(1).unwrap().parse().unwrap()).collect();
    assert_eq!(numbers, (1..=lines.len()).collect::<Vec<_>>(), "each event once: {watched}");
    collect(apply).expect(0);
}
