//! A database that went back, or a history that was changed: what each command advises leads out when it is followed.

use std::time::Duration;

use serde_json::json;

use crate::support::project::collect;
use crate::support::{Database, Scene, wait_until};

/// A dump made while a run is at work knows its first steps, and the same epoch as the journal.
#[test]
fn after_a_restore_to_the_middle_of_a_run_the_advice_leads_out() {
    let scene = Scene::with_steps(1);
    scene.project.pair("002_slow", "SELECT pg_sleep(3);\nCREATE TABLE t002 (n int);\n", "DROP TABLE t002;\n");
    let mut apply = scene.project.command(&["apply"]);
    let apply = apply.env("MIGENGINE_CRASH_AT", "verify.before:1").spawn().unwrap();
    wait_until("the first step is done", Duration::from_secs(60), || {
        scene.db.try_psql("SELECT count(*) FROM migengine.history").is_ok_and(|count| count == "1")
    });
    let (name, file) = (scene.db.name(), scene.project.path().join("middle.dump"));
    let mut dump = scene.db.cluster().program("pg_dump");
    assert!(dump.args(["-Fc", "-d", &scene.db.url(), "-f"]).arg(&file).status().unwrap().success());
    assert_eq!(collect(apply).code, None);
    let maintenance = Database::named("postgres", scene.db.cluster());
    maintenance.psql(&format!("DROP DATABASE {name} WITH (FORCE)"));
    let mut restore = scene.db.cluster().program("pg_restore");
    assert!(restore.args(["--create", "-d", &maintenance.url()]).arg(&file).status().unwrap().success());
    assert_eq!(scene.tables(), "t001", "the second step is not in the dump");

    let blocked = scene.run(&["apply"]).expect(7);
    for words in [
        "ME410",
        "1 of its 2 steps are in effect",
        "002_slow is not in effect any more",
        "migengine journal rebuild --accept-database, then: migengine apply --resume",
    ] {
        assert!(blocked.stderr.contains(words), "{words} is missing: {blocked}");
    }
    let diverged = scene.run(&["apply", "--resume"]).expect(6);
    assert!(diverged.stderr.contains("migengine journal rebuild --accept-database"), "{diverged}");
    scene.run(&["journal", "rebuild", "--accept-database"]).expect(0);
    scene.run(&["apply", "--resume"]).expect(0);
    assert_eq!(scene.tables(), "t001 t002");
    scene.run(&["journal", "check"]).expect(0);
}

#[test]
fn a_diverged_run_cannot_be_resolved_and_goes_on_once_the_history_is_put_back() {
    let scene = Scene::with_steps(2);
    scene.crash("verify.before:1", &["apply"]);
    scene.db.psql("CREATE TABLE kept AS SELECT * FROM migengine.history WHERE id = '002_m'");
    scene.db.psql("DELETE FROM migengine.history WHERE id = '002_m'");
    scene.run(&["apply", "--resume"]).expect(6);
    let refused = scene.project.run_json(&["resolve", "2", "--as", "applied", "--reason", "it is there"], 6);
    assert_eq!(refused["error"]["code"], "ME629", "{refused}");
    let next = refused["error"]["next"].to_string();
    for words in ["journal show", "audit show", "rebuild --accept-database", "put it back as it was"] {
        assert!(next.contains(words), "{words} is missing: {next}");
    }
    scene.db.psql("INSERT INTO migengine.history OVERRIDING SYSTEM VALUE SELECT * FROM kept");
    scene.run(&["apply", "--resume"]).expect(0);
    assert_eq!(scene.effects(), "+001 +002");
    let none = scene.project.run_json(&["resolve", "2", "--as", "applied", "--reason", "x"], 5);
    assert_eq!(none["error"]["code"], json!("ME421"));
}
