//! The schema as a file: the same bytes for the same schema, all at once or not at all.
#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::Value;
use support::Scene;

fn configure(scene: &Scene, text: &str) {
    std::fs::write(scene.project.path().join("migengine.toml"), text).unwrap();
}

fn file(scene: &Scene) -> PathBuf {
    scene.project.path().join("schema.sql")
}

/// A folder with a program `pg_dump` of this text.
fn fake(scene: &Scene, script: &str) -> String {
    let folder = scene.project.path().join("bin");
    std::fs::create_dir_all(&folder).unwrap();
    let program = folder.join("pg_dump");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    program.display().to_string()
}

/// What lies in the project's folder.
fn names(scene: &Scene) -> Vec<String> {
    let entries = std::fs::read_dir(scene.project.path()).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn every_run_that_succeeds_writes_the_schema_and_the_same_schema_is_the_same_bytes() {
    let scene = Scene::with_steps(1);
    configure(&scene, "[export]\nfile = \"schema.sql\"\n");
    scene.run(&["apply"]).expect(0);
    let first = std::fs::read_to_string(file(&scene)).unwrap();
    assert!(first.contains("CREATE TABLE public.t001"), "{first}");
    for word in ["restrict", "Dumped", "migengine"] {
        assert!(!first.contains(word), "{word} in {first}");
    }
    let output = scene.run(&["export"]).expect(0);
    assert!(output.stderr.contains("schema.sql is up to date"), "{output}");
    std::fs::remove_file(file(&scene)).unwrap();
    scene.run(&["export"]).expect(0);
    assert_eq!(std::fs::read_to_string(file(&scene)).unwrap(), first);
    scene.run(&["export", "--check"]).expect(0);

    scene.step(2);
    scene.run(&["apply"]).expect(0);
    assert!(std::fs::read_to_string(file(&scene)).unwrap().contains("t002"));
    scene.run(&["rollback", "--last", "1"]).expect(0);
    assert_eq!(std::fs::read_to_string(file(&scene)).unwrap(), first, "and back again");
    scene.db.psql("CREATE TABLE by_hand ()");
    scene.run(&["export", "--check"]).expect(3);
    assert_eq!(std::fs::read_to_string(file(&scene)).unwrap(), first, "a check writes nothing");
    assert_eq!(names(&scene), ["journal", "migengine.toml", "migrations", "schema.sql"]);
}

#[test]
fn a_pg_dump_that_is_missing_too_old_or_fails_is_said_and_the_old_file_stays() {
    let scene = Scene::with_steps(1);
    std::fs::write(file(&scene), "old\n").unwrap();
    let old = fake(&scene, "echo 'pg_dump (PostgreSQL) 13.4'");
    let check = |scene: &Scene, pg_dump: &str, code: &str, words: &str| {
        configure(scene, &format!("[export]\nfile = \"schema.sql\"\npg_dump = \"{pg_dump}\"\n"));
        let output = scene.run(&["export"]).expect(5);
        assert!(output.stderr.contains(&format!("[{code}]")) && output.stderr.contains(words), "{output}");
        assert_eq!(std::fs::read_to_string(file(scene)).unwrap(), "old\n");
    };
    check(&scene, "/no/such/pg_dump", "ME750", "there is no pg_dump");
    check(&scene, &old, "ME751", "every pg_dump here is older: 13.4 in ");
    // After a run it is a remark: the run is done.
    let run = scene.run_logged(&["apply"], 0).json();
    assert_eq!(run["state"], "Committed");
    let remark = run["remarks"][0]["message"].as_str().unwrap();
    assert!(remark.starts_with("[ME751] the schema was not exported"), "{remark}");
    assert_eq!(std::fs::read_to_string(file(&scene)).unwrap(), "old\n");
    let broken = "case \"$*\" in *--version*) echo 'pg_dump (PostgreSQL) 99.1';; *) echo half; echo out of luck >&2; exit 1;; esac";
    check(&scene, &fake(&scene, broken), "ME752", "out of luck");
}

#[test]
fn a_full_disk_leaves_the_old_file_and_no_remains() {
    let scene = Scene::with_steps(1);
    scene.run(&["apply"]).expect(0);
    std::fs::write(file(&scene), "old\n").unwrap();
    // A limit on the size of files stands in for the disk: the write fails part-way in the same manner.
    let mut limited = std::process::Command::new("sh");
    let template = scene.project.command(&["export"]);
    let script = "trap '' XFSZ; ulimit -f 1; exec \"$0\" export --format json";
    limited.args(["-c", script]).arg(template.get_program()).current_dir(scene.project.path()).env_clear();
    limited.envs(template.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let output = limited.output().unwrap();
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(5), "{object}");
    assert_eq!(object["error"]["code"], "ME753", "{object}");
    assert_eq!(std::fs::read_to_string(file(&scene)).unwrap(), "old\n");
    assert_eq!(names(&scene), ["journal", "migrations", "schema.sql"]);
}

/// The same on a file system with room for one page. Only root may make one.
#[test]
fn a_disk_that_is_really_full_leaves_the_old_file_too() {
    let scene = Scene::with_steps(1);
    let out = scene.project.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let mount = std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=4k", "none"]).arg(&out).output();
    if !mount.is_ok_and(|mount| mount.status.success()) {
        println!("skipped: making a small file system wants root");
        return;
    }
    std::fs::write(out.join("schema.sql"), "old\n").unwrap();
    configure(&scene, "[export]\nfile = \"out/schema.sql\"\n");
    let run = scene.run(&["apply", "--format", "json"]);
    let kept = std::fs::read_to_string(out.join("schema.sql")).unwrap();
    let left = std::fs::read_dir(&out).unwrap().count();
    let umount = std::process::Command::new("umount").arg(&out).status();
    assert!(umount.unwrap().success());
    let run = run.expect(0).json();
    assert_eq!((run["state"].as_str(), kept.as_str(), left), (Some("Committed"), "old\n", 1), "{run}");
    let remark = run["remarks"][0]["message"].as_str().unwrap();
    assert!(remark.starts_with("[ME753]") && remark.contains("No space left"), "{remark}");
}

#[test]
fn passwords_reach_pg_dump_by_the_environment_and_never_by_its_arguments() {
    let scene = Scene::with_steps(1);
    scene.run(&["apply"]).expect(0);
    let script = "case \"$*\" in *--version*) echo 'pg_dump (PostgreSQL) 99.1';; \
                  *) echo \"-- $*\"; echo \"$PGPASSWORD // $PGUSER\" > given;; esac";
    configure(&scene, &format!("[export]\npg_dump = \"{}\"\n", fake(&scene, script)));
    let url = scene.db.url().replace("user=postgres", "user=postgres&password=hunter-two");
    let output = scene.run(&["--database-url", &url, "export", "--output", "-"]).expect(0);
    assert!(output.stdout.contains("--schema-only") && !output.stdout.contains("hunter-two"), "{output}");
    let given = std::fs::read_to_string(scene.project.path().join("given")).unwrap();
    assert_eq!(given.trim(), "hunter-two // postgres");
}
