//! Whether there is a backup, asked of programs that print what the real tools print.
#![allow(clippy::unwrap_used)]

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;
use sha2::Digest as _;
use support::Scene;

/// Writes a program into `bin` of the project.
fn program(dir: &Path, name: &str, script: &str) {
    let bin = dir.join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    std::fs::write(bin.join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(bin.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// A project on a protected database, with programs of its own first in `PATH`.
fn scene(config: &str) -> Scene {
    let mut scene = Scene::with_steps(1);
    let path = format!("{}:{}", scene.project.path().join("bin").display(), std::env::var("PATH").unwrap());
    scene.project = scene.project.with_env("PATH", &path);
    std::fs::write(scene.project.path().join("migengine.toml"), format!("protected = true\n{config}")).unwrap();
    scene
}

fn apply(scene: &Scene, more: &[&str], code: i32) -> Value {
    let name = scene.db.name().to_owned();
    scene.project.run_json(&[&["apply", "--yes", "--confirm", &name][..], more].concat(), code)
}

/// The run is refused for want of a backup, with these words, and nothing was changed.
#[track_caller]
fn refused(scene: &Scene, words: &str) {
    let before = scene.everything();
    let json = apply(scene, &[], 5);
    assert_eq!(json["error"]["code"], "ME713", "{json}");
    assert!(json["error"]["message"].as_str().unwrap().contains(words), "{words}: {json}");
    assert_eq!(scene.everything(), before);
}

fn notes(scene: &Scene, topic: &str) -> Vec<String> {
    let shown = scene.project.run_json(&["journal", "show", "last"], 0);
    let events = shown["runs"][0]["events"].as_array().unwrap().clone();
    let of_topic = events.iter().filter(|event| event["kind"] == "noted" && event["topic"] == topic);
    of_topic.map(|event| event["message"].as_str().unwrap().to_owned()).collect()
}

/// Seconds since 1970, so long ago.
fn ago(seconds: i64) -> i64 {
    jiff::Timestamp::now().as_second() - seconds
}

fn rfc(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).unwrap().to_string()
}

#[test]
fn a_protected_database_without_any_sign_of_a_backup_is_refused_unless_somebody_answers_for_it() {
    let scene = scene("");
    refused(&scene, "nothing says whether there is a backup");
    apply(&scene, &["--no-backup", "restored from it an hour ago"], 0);
    assert!(notes(&scene, "no-backup")[0].ends_with("because: restored from it an hour ago"));
}

#[test]
fn a_command_is_believed_by_its_exit_code_and_the_time_it_prints() {
    let scene = scene("[backup]\nmax_age = \"2h\"\ntimeout = \"2s\"\ncommand = [\"bin/check\", \"--all of it\"]\n");
    let dir = scene.project.path().to_owned();
    refused(&scene, "bin/check cannot be started");
    program(&dir, "check", "echo the bucket is empty >&2; exit 1");
    refused(&scene, "exit status 1: the bucket is empty");
    program(&dir, "check", "exec sleep 600");
    refused(&scene, "took longer than 2s");
    program(&dir, "check", "head -c 4000000 /dev/zero | tr '\\0' '{'");
    refused(&scene, "is no JSON");
    for (printed, words) in [
        ("{\"finished_at\": \"yesterday\"}".to_owned(), "is no time"),
        ("{\"done\": true}".to_owned(), "has no finished_at"),
        (format!("{{\"finished_at\": \"{}\"}}", rfc(ago(3 * 3600))), "finished 3 h ago, and 120 min is allowed"),
        (format!("{{\"finished_at\": \"{}\"}}", rfc(ago(-3600))), "from now"),
    ] {
        program(&dir, "check", &format!("echo '{printed}'"));
        refused(&scene, words);
    }
    program(&dir, "check", &format!("[ \"$1\" = '--all of it' ] && echo '{{\"finished_at\": \"{}\"}}'", rfc(ago(600))));
    apply(&scene, &[], 0);
    assert!(notes(&scene, "backup")[0].contains("was finished 10 min ago"));
}

#[test]
fn pgbackrest_is_read_as_it_prints() {
    let scene = scene("[backup]\npgbackrest = \"main\"\n");
    let dir = scene.project.path().to_owned();
    let system = scene.db.psql("SELECT system_identifier FROM pg_control_system()");
    let info = |system: &str, code: i32, stop: i64| {
        format!(
            "[ \"$*\" = '--stanza=main --output=json info' ] || exit 9; cat <<'X'\n\
             [{{\"archive\":[{{\"database\":{{\"id\":1,\"repo-key\":1}},\"id\":\"15-1\",\"max\":\"000000010000000000000004\",\"min\":\"000000010000000000000002\"}}],\
             \"backup\":[{{\"archive\":{{\"start\":\"000000010000000000000002\",\"stop\":\"000000010000000000000002\"}},\"backrest\":{{\"format\":5,\"version\":\"2.54.0\"}},\
             \"database\":{{\"id\":1,\"repo-key\":1}},\"error\":false,\"info\":{{\"delta\":22890000,\"repository\":{{\"delta\":2999,\"size\":2999}},\"size\":22890000}},\
             \"label\":\"20261127-010203F\",\"lsn\":{{\"start\":\"0/2000028\",\"stop\":\"0/2000100\"}},\"prior\":null,\"reference\":null,\
             \"timestamp\":{{\"start\":{},\"stop\":{stop}}},\"type\":\"full\"}}],\"cipher\":\"none\",\
             \"db\":[{{\"id\":1,\"repo-key\":1,\"system-id\":{system},\"version\":\"15\"}}],\"name\":\"main\",\
             \"repo\":[{{\"cipher\":\"none\",\"key\":1,\"status\":{{\"code\":{code},\"message\":\"ok\"}}}}],\
             \"status\":{{\"code\":{code},\"lock\":{{\"backup\":{{\"held\":false}}}},\"message\":\"no valid backups\"}}}}]\nX",
            stop - 60
        )
    };
    refused(&scene, "pgbackrest cannot be started");
    program(&dir, "pgbackrest", "echo 'stanza: main'; echo '    status: ok'");
    refused(&scene, "is no JSON");
    program(&dir, "pgbackrest", &info("6569239123849665679", 0, ago(60)));
    refused(&scene, "another cluster");
    program(&dir, "pgbackrest", &info(&system, 2, ago(60)));
    refused(&scene, "no valid backups (status 2)");
    program(&dir, "pgbackrest", &info(&system, 0, ago(100 * 3600)));
    refused(&scene, "20261127-010203F was finished 4 days ago");
    program(&dir, "pgbackrest", &info(&system, 0, ago(3600)));
    apply(&scene, &[], 0);
    assert!(notes(&scene, "backup")[0].contains("pgBackRest: 20261127-010203F"));
}

#[test]
fn walg_is_read_as_it_prints() {
    let scene = scene("[backup]\nwalg = true\n");
    let dir = scene.project.path().to_owned();
    let system = scene.db.psql("SELECT system_identifier FROM pg_control_system()");
    let list = |system: &str, finished: i64| {
        format!(
            "[ \"$*\" = 'backup-list --json --detail' ] || exit 9; cat <<'X'\n\
             [{{\"backup_name\":\"base_000000010000000000000002\",\"time\":\"{0}\",\"wal_file_name\":\"000000010000000000000002\",\"storage_name\":\"default\",\
             \"start_time\":\"{0}\",\"finish_time\":\"{0}\",\"date_fmt\":\"%Y-%m-%dT%H:%M:%S.%fZ\",\"hostname\":\"db\",\"data_dir\":\"/pg\",\"pg_version\":150018,\
             \"start_lsn\":33554472,\"finish_lsn\":50331648,\"is_permanent\":false,\"system_identifier\":{system},\"uncompressed_size\":1,\"compressed_size\":1}}]\nX",
            rfc(finished)
        )
    };
    program(&dir, "wal-g", "echo 'No backups found' >&2; echo null");
    refused(&scene, "it lists no backup");
    program(&dir, "wal-g", &list("6569239123849665679", ago(60)));
    refused(&scene, "another cluster");
    program(&dir, "wal-g", &list(&system, ago(100 * 3600)));
    refused(&scene, "finished 4 days ago");
    program(&dir, "wal-g", &list(&system, ago(7200)));
    apply(&scene, &[], 0);
    assert!(notes(&scene, "backup")[0].contains("WAL-G: base_000000010000000000000002"));
}

#[test]
fn the_archiver_counts_only_while_it_archives() {
    let off = scene("[backup]\narchiver = true\n");
    refused(&off, "archive_mode is off");
    let conf = vec!["archive_mode = on".to_owned(), "archive_command = 'true'".to_owned()];
    let cluster = support::Cluster::start_with(support::Options { conf, ..support::Options::default() });
    let db = cluster.database();
    db.psql("CREATE TABLE effects (at serial, what text)");
    let url = db.url();
    let on = ["--database-url", &url, "--journal", "other", "apply", "--yes", "--confirm", db.name()];
    db.psql("SELECT pg_switch_wal()");
    let archived = || db.psql("SELECT archived_count > 0 FROM pg_stat_archiver") == "t";
    support::wait_until("a segment is archived", std::time::Duration::from_secs(60), archived);
    off.run(&on).expect(0);
}

#[test]
fn one_proof_is_enough_and_the_others_are_told() {
    let scene = scene("[backup]\ncommand = [\"bin/check\"]\nwalg = true\n");
    program(scene.project.path(), "check", "exit 0");
    program(scene.project.path(), "wal-g", "exit 1");
    let name = scene.db.name();
    let output = scene.run(&["apply", "--yes", "--confirm", name]).expect(0);
    assert!(
        output.stderr.contains("warning: backup: bin/check: the command says that all is well; but WAL-G"),
        "{output}"
    );
}

#[test]
fn a_dump_is_taken_first_and_can_be_restored() {
    let scene = scene("[backup]\ndump = true\ndump_dir = \"dumps\"\n");
    scene.db.psql("INSERT INTO effects (what) VALUES ('precious')");
    let name = scene.db.name().to_owned();
    let output = scene.run(&["apply", "--yes", "--confirm", &name]).expect(0);
    assert!(output.stderr.contains("to restore: stop whoever uses ") && !output.stderr.contains("--clean"), "{output}");
    let kept = notes(&scene, "dump").remove(0);
    let dir = scene.project.path().join("dumps");
    let files: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 1);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&dir), mode(&files[0])), (0o700, 0o600), "a dump holds everything: nobody else may read it");
    let bytes = std::fs::read(&files[0]).unwrap();
    let sha: String = sha2::Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(kept.contains(&sha) && kept.contains(&format!("{} bytes", bytes.len())), "{kept}");
    let other = scene.db.cluster().database();
    let mut restore = scene.db.cluster().program("pg_restore");
    assert!(restore.args(["-d", &other.url()]).arg(&files[0]).status().unwrap().success());
    assert_eq!(other.psql("SELECT what FROM effects"), "precious", "and nothing of the run is in it");
}

/// Runs the commands that `apply` printed, as they stand there.
fn follow(scene: &Scene, output: &support::Output) {
    let name = scene.db.name();
    let maintenance = support::Database::named("postgres", scene.db.cluster());
    support::wait_until("nobody is connected", std::time::Duration::from_secs(60), || {
        maintenance.psql(&format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'")) == "0"
    });
    let (_, printed) = output.stderr.split_once("to restore: stop whoever uses ").unwrap();
    let commands: Vec<&str> = printed.lines().skip(1).take_while(|line| line.starts_with("  ")).collect();
    assert_eq!(commands.len(), 2, "{output}");
    for line in commands {
        let (program, rest) = line.trim().split_once(' ').unwrap();
        let program = scene.db.cluster().program(program).get_program().to_owned();
        let mut shell = std::process::Command::new("sh");
        shell.arg("-c").arg(format!("'{}' {rest}", program.to_str().unwrap())).current_dir(scene.project.path());
        let done = shell.output().unwrap();
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

/// Everything that is not the engine's: schema and rows.
fn contents(scene: &Scene) -> String {
    format!("{}\n{}\n{}", scene.db.dump(), scene.effects(), scene.db.psql("SHOW work_mem"))
}

#[test]
fn the_commands_that_are_printed_bring_everything_back_and_the_next_run_works() {
    let scene = scene("[backup]\ndump = true\ndump_dir = \"my dumps\"\n");
    let name = scene.db.name().to_owned();
    scene.db.psql(&format!("ALTER DATABASE {name} SET work_mem = '7MB'"));
    // From before the very first run, when there was no history yet.
    let before = contents(&scene);
    let first = scene.run(&["apply", "--yes", "--confirm", &name]).expect(0);
    follow(&scene, &first);
    assert_eq!(contents(&scene), before);
    assert_eq!(scene.db.psql("SELECT to_regnamespace('migengine') IS NULL"), "t", "no history without effects");
    assert_eq!(scene.project.run_json(&["status"], 0)["applied"], serde_json::json!([]));
    // The journal that is named knows a database of another identity, and says how to go on.
    let refused = scene.run(&["apply", "--yes", "--confirm", &name]).expect(6);
    assert!(refused.stderr.contains("ME206") && refused.stderr.contains("rebuild --accept-database"), "{refused}");
    scene.run(&["journal", "rebuild", "--accept-database"]).expect(0);
    scene.run(&["apply", "--yes", "--confirm", &name]).expect(0);
    assert_eq!((scene.tables().as_str(), scene.effects().as_str()), ("t001", "+001"));
    // Between two runs.
    let maintenance = support::Database::named("postgres", scene.db.cluster());
    maintenance.psql(&format!("DROP DATABASE {name}_broken"));
    scene.step(2);
    let before = contents(&scene);
    let second = scene.run(&["apply", "--yes", "--confirm", &name]).expect(0);
    assert_eq!(scene.tables(), "t001 t002");
    follow(&scene, &second);
    assert_eq!(contents(&scene), before);
    let check = scene.run(&["journal", "check"]).expect(6);
    for output in [&check, &scene.run(&["apply", "--yes", "--confirm", &name]).expect(6)] {
        assert!(output.stderr.contains("migengine journal rebuild --accept-database"), "{output}");
    }
    scene.run(&["journal", "rebuild", "--accept-database"]).expect(0);
    scene.run(&["journal", "check"]).expect(0);
    assert_eq!(scene.project.run_json(&["status"], 0)["pending"], serde_json::json!(["002_m"]));
    scene.run(&["apply", "--yes", "--confirm", &name]).expect(0);
    assert_eq!((scene.tables().as_str(), scene.effects().as_str()), ("t001 t002", "+001 +002"));
}

#[test]
fn a_dump_that_fails_stops_the_run_and_leaves_no_part_of_itself() {
    let scene = scene("[backup]\ndump = true\ndump_dir = \"dumps\"\n");
    let name = scene.db.name().to_owned();
    let bin = scene.project.path().join("bin");
    let old = |version: &str| {
        program(
            scene.project.path(),
            "pg_dump",
            &format!(
                "case $1 in --version) echo 'pg_dump (PostgreSQL) {version}';; *) printf half; echo no disk >&2; exit 1;; esac"
            ),
        )
    };
    let project = scene.project.path().to_owned();
    for (version, words) in
        [("9.6.1", "every pg_dump here is older: 9.6"), ("99.0", "pg_dump ended with exit status: 1: no disk")]
    {
        old(version);
        let mut command = scene.project.command(&["apply", "--yes", "--confirm", &name]);
        let output = support::project::collect(command.env("MIGENGINE_PG_BIN", &bin).spawn().unwrap()).expect(5);
        assert!(output.stderr.contains("ME715") && output.stderr.contains(words), "{output}");
        let left = std::fs::read_dir(project.join("dumps")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "half a dump must not be trusted");
    }
    assert_eq!(scene.tables(), "");
}

#[test]
fn touched_tables_can_go_to_a_program() {
    let scene = scene("[backup]\ndump = true\ndump_tables = \"touched\"\ndump_command = [\"bin/keep\"]\n");
    program(scene.project.path(), "keep", "cat > kept.dump");
    let name = scene.db.name().to_owned();
    scene.db.psql("CREATE TABLE untouched (n int)");
    scene.run(&["apply", "--yes", "--confirm", &name]).expect(0);
    let mut list = scene.db.cluster().program("pg_restore");
    let listed = list.arg("-l").arg(scene.project.path().join("kept.dump")).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("effects") && !listed.contains("untouched"), "{listed}");
    program(scene.project.path(), "keep", "exit 4");
    scene.step(2);
    let output = scene.run(&["apply", "--yes", "--confirm", &name]).expect(5);
    assert!(output.stderr.contains("ME715") && output.stderr.contains("bin/keep"), "{output}");
}
