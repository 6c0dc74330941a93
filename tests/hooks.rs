//! Hooks: told of every moment, in order, with the run; and whatever they do, the run goes on.
#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use migengine_cli::outside::moment::Moment;
use serde_json::Value;
use support::project::collect;
use support::{Cluster, Project, Scene, wait_until};

/// Writes `migengine.toml` of a project.
fn configure(scene: &Scene, text: &str) {
    std::fs::write(scene.project.path().join("migengine.toml"), text).unwrap();
}

/// A hook for every moment; each appends its input as a line to `told`.
fn tell_everything(scene: &Scene) {
    let script = "cat >> told; echo >> told";
    let lines = Moment::ALL.map(|moment| format!("{} = [\"sh\", \"-c\", \"{script}\"]\n", moment.name()));
    configure(scene, &format!("[hooks]\n{}", lines.concat()));
}

/// What the hooks were given.
fn told(scene: &Scene) -> Vec<Value> {
    let text = std::fs::read_to_string(scene.project.path().join("told")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

fn events(told: &[Value]) -> String {
    let words = told.iter().map(|object| match object["step"].as_str() {
        Some(step) => format!("{}:{}", object["event"].as_str().unwrap(), &step[..3]),
        None => object["event"].as_str().unwrap().to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn every_moment_of_a_run_is_told_in_order_with_the_run_on_standard_input() {
    let scene = Scene::with_steps(2);
    tell_everything(&scene);
    let run = scene.run_logged(&["apply"], 0).json();
    assert_eq!(run["remarks"], serde_json::json!([]));
    let told = told(&scene);
    assert_eq!(
        events(&told),
        "started locked applying step_started:001 step_started:002 step_applied:001 step_applied:002 verifying \
         committed finished after_success"
    );
    let last = told.last().unwrap();
    assert_eq!((&last["run_id"], &last["state"]), (&run["run_id"], &Value::from("Committed")));
    assert_eq!(last["steps"].as_array().unwrap().len(), 2);
    assert_eq!(last["database"], scene.db.name());
    let journal = scene.run(&["journal", "show", "last"]).expect(0).stdout;
    assert!(journal.contains("hook: after_success: sh succeeded"), "{journal}");
}

#[test]
fn a_failed_run_and_its_way_back_are_told() {
    let scene = Scene::with_steps(1);
    scene.project.pair("002_m", "SELECT 1/0;\n", "SELECT 1;\n");
    tell_everything(&scene);
    scene.run(&["apply"]).expect(7);
    assert!(events(&told(&scene)).ends_with("step_failed:002 rested:002 failed:002"), "{}", events(&told(&scene)));
    std::fs::remove_file(scene.project.path().join("told")).unwrap();
    scene.run(&["rollback", "--run", "last"]).expect(0);
    let words = events(&told(&scene));
    assert!(words.starts_with("resumed locked applying step_started:001 step_reversed:001"), "{words}");
    assert!(words.ends_with("rolled_back finished after_success"), "{words}");
}

/// Together with the two tests above: each moment there is.
#[test]
fn a_run_that_turns_around_gets_stuck_or_is_in_doubt_is_told() {
    let scene = Scene::with_steps(1);
    scene.project.pair("002_m", "SELECT 1/0;\n", "SELECT 1;\n");
    tell_everything(&scene);
    scene.run(&["apply", "--on-failure", "rollback"]).expect(1);
    let words = events(&told(&scene));
    assert!(words.contains("step_failed:002 unwinding step_started:001 step_reversed:001"), "{words}");
    assert!(words.ends_with("rolled_back failed finished"), "{words}");
    std::fs::remove_file(scene.project.path().join("told")).unwrap();
    scene.project.write("001_m_rollback.sql", "SELECT 1/0;\n");
    scene.run(&["apply", "--on-failure", "rollback"]).expect(6);
    let words = events(&told(&scene));
    assert!(words.ends_with("step_failed:001 rested:001 needs_person:001"), "{words}");
    assert!(!words.contains("finished") && !words.contains("after_success"), "{words}");

    let cluster = Cluster::start();
    let db = cluster.database();
    db.psql("CREATE TABLE effects (what text)");
    let project = Project::new(&db);
    project.pair("001_m", "INSERT INTO effects VALUES ('+');\nSELECT pg_sleep(600);\n", "SELECT 1;\n");
    let hooks = "[hooks]\nstep_in_doubt = [\"touch\", \"doubt\"]\nneeds_person = [\"touch\", \"person\"]\n";
    std::fs::write(project.path().join("migengine.toml"), hooks).unwrap();
    let child = project.spawn(&["apply", "--reconnect", "1s"]);
    let asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    wait_until("the step is at work", std::time::Duration::from_secs(60), || db.psql(asleep) == "1");
    cluster.kill_nine();
    collect(child).expect(6);
    for name in ["doubt", "person"] {
        assert!(project.path().join(name).exists(), "{name}");
    }
}

#[test]
fn a_hook_that_hangs_fails_shouts_or_is_missing_never_loses_the_run() {
    let scene = Scene::with_steps(2);
    configure(
        &scene,
        r#"
        hook_timeout = "300ms"
        [hooks]
        started = ["sh", "-c", "head -c 5000000 /dev/zero | tr '\\0' x; echo it went wrong >&2; exit 3"]
        step_applied = ["sleep", "600"]
        verifying = ["/no/such/program"]
        committed = ["sh", "-c", "kill -9 $$"]
        "#,
    );
    let run = scene.run_logged(&["apply"], 0).json();
    assert_eq!((&run["state"], scene.effects().as_str()), (&Value::from("Committed"), "+001 +002"));
    let remarks: Vec<&str> =
        run["remarks"].as_array().unwrap().iter().map(|remark| remark["message"].as_str().unwrap()).collect();
    let expected = [
        "[ME754] the hook started (sh) failed, exit status 3: it went wrong",
        "[ME754] the hook step_applied (sleep) failed, no end within 0.3 s",
        "[ME754] the hook verifying (/no/such/program) cannot be run:",
        "[ME754] the hook committed (sh) failed, signal 9",
    ];
    assert_eq!(remarks.len(), expected.len(), "one that hung is not run again: {remarks:?}");
    for (remark, expected) in remarks.iter().zip(expected) {
        assert!(remark.starts_with(expected), "{remark} against {expected}");
    }
    scene.run(&["journal", "check"]).expect(0);
    let journal = scene.run(&["journal", "show", "last"]).expect(0).stdout;
    assert!(journal.contains("the hook started (sh) failed"), "{journal}");
}

#[test]
fn arguments_reach_the_program_as_they_are_without_a_shell() {
    let scene = Scene::with_steps(1);
    configure(&scene, "[hooks]\nstarted = [\"touch\", \"$(touch owned); `touch owned` *\"]\n");
    scene.run(&["apply"]).expect(0);
    let names: Vec<String> = std::fs::read_dir(scene.project.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.contains(&"$(touch owned); `touch owned` *".to_owned()), "{names:?}");
    assert!(!names.contains(&"owned".to_owned()), "{names:?}");
}

#[test]
fn a_migration_file_cannot_bring_a_hook_or_an_address() {
    let scene = Scene::new();
    let sql = "SELECT 1;\n";
    for header in
        ["-- Hook: touch owned", "-- [hooks] started = [\"touch\", \"owned\"]", "-- Notify: http://127.0.0.1:1/"]
    {
        scene.project.pair("001_m", &format!("{header}\n\n{sql}"), sql);
        scene.run(&["apply"]).expect(0);
        scene.run(&["rollback", "--last", "1"]).expect(0);
        assert!(!scene.project.path().join("owned").exists(), "{header}");
    }
    scene.project.pair("001_m", &format!("-- migengine: hook=touch owned\n\n{sql}"), sql);
    let refused = scene.run(&["apply"]).expect(5);
    assert!(refused.stderr.contains("001_m.sql:1:"), "{refused}");
}

#[test]
fn an_environment_adds_hooks_and_replaces_them_one_by_one() {
    let scene = Scene::with_steps(1);
    let say = |what: &str| format!("[\"sh\", \"-c\", \"echo {what} >> said\"]");
    configure(
        &scene,
        &format!(
            "[hooks]\nstarted = {}\nfinished = {}\n[env.production.hooks]\nfinished = {}\n",
            say("top-started"),
            say("top-finished"),
            say("production-finished")
        ),
    );
    scene.run(&["--env", "production", "apply"]).expect(0);
    let said = std::fs::read_to_string(scene.project.path().join("said")).unwrap();
    assert_eq!(said, "top-started\nproduction-finished\n");
}

#[test]
fn mistakes_in_the_configuration_are_named_with_their_line_before_anything_happens() {
    let scene = Scene::with_steps(1);
    for (text, code, expected) in [
        ("[hooks]\nafter_sucess = [\"x\"]\n", "ME002", "migengine.toml:2:1: unknown variant `after_sucess`"),
        ("[hooks]\nstarted = \"rm -rf\"\n", "ME002", "migengine.toml:2:11: invalid type"),
        ("[hooks]\nstarted = []\n", "ME755", "the hook started names no program"),
        ("hook_timeout = \"soon\"\n[hooks]\nstarted = [\"x\"]\n", "ME007", "hook_timeout = \"soon\" is no duration"),
        ("[export]\nfiel = \"x\"\n", "ME002", "migengine.toml:2:1: unknown field `fiel`"),
    ] {
        configure(&scene, text);
        let output = scene.run(&["apply"]).expect(2);
        assert!(output.stderr.contains(code) && output.stderr.contains(expected), "{text}{output}");
        assert_eq!(scene.effects(), "");
    }
}
