//! Bad input of every kind: a clear error, the contract's exit code, and nothing changed.
#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use support::project::collect;
use support::{Cluster, Database, Options, Output, Project, Scene};

#[track_caller]
fn says(output: &Output, code: i32, words: &[&str]) {
    assert_eq!(output.code, Some(code), "{output}");
    for word in words {
        assert!(output.stderr.contains(word), "`{word}` is missing: {output}");
    }
    assert!(output.stderr.contains("state:"), "the state of the database is missing: {output}");
    assert!(!output.stderr.contains("panicked"), "{output}");
}

/// Files, and what must be said of them.
type BadFiles = (&'static [(&'static str, &'static [u8])], &'static [&'static str]);

const BAD_FILES: &[BadFiles] = &[
    (&[("002_a.sql", b"SELECT 1;"), ("002_A.sql", b"SELECT 2;")], &["002_a.sql", "002_A.sql", "ME103"]),
    (
        &[("002_a.sql", b"-- Requires: 003_b\nSELECT 1;"), ("003_b.sql", b"-- Requires: 002_a\nSELECT 1;")],
        &["circle", "002_a.sql", "003_b.sql"],
    ),
    (&[("002_a.sql", b"-- Requires: 002_a\nSELECT 1;")], &["002_a.sql:1:", "itself"]),
    (&[("002_a.sql", b"-- Requires: 001, 999_gone\nSELECT 1;")], &["002_a.sql:1:", "999_gone"]),
    (
        &[("002_a.sql", b"SELECT 1;"), ("002_b.sql", b"SELECT 1;"), ("003_c.sql", b"-- Requires: 002\nSELECT 1;")],
        &["003_c.sql:1:", "002_a", "002_b"],
    ),
    (
        &[("002_a.sql", b"-- Description: x\n-- Tranaction: false\nSELECT 1;")],
        &["002_a.sql:2:", "Tranaction", "Transaction"],
    ),
    (&[("002_a.sql", b"-- Transaction: perhaps\nSELECT 1;")], &["002_a.sql:1:", "Transaction"]),
    (&[("002_a.sql", b"-- Migration: 007_other\nSELECT 1;")], &["002_a.sql:1:", "007_other"]),
    (&[("002_a.sql", b"SELECT 1;\n  \\i other.sql\n")], &["002_a.sql:2:3", "meta-command", "\\i other.sql"]),
    (&[("002_a.sql", b"SELECT 'DROP TABLE x' \\gexec\n")], &["002_a.sql:1:23", "meta-command"]),
    (&[("002_a.sql", b"SELECT 1;\n# a comment\nSELECT 2;")], &["002_a.sql:2:1", "SQL comments are `--"]),
    (&[("002_a.sql", b"SELECT 1;\nSELECT 'it''s; \n\nSELECT 2;\n")], &["002_a.sql:2:8", "never closed"]),
    (&[("002_a.sql", b"SELECT 1;\n /* one /* two */ \nSELECT 2;\n")], &["002_a.sql:2:2", "never closed"]),
    (&[("002_a.sql", b"DO $do$ BEGIN $x$ END $x$;\n$d$;")], &["002_a.sql:1:4", "never closed"]),
    (&[("002_a.sql", b"SELECT \"x;\n")], &["002_a.sql:1:8", "never closed"]),
    (&[("002_a.sql", b"SELECT 1;\nSELECT '\xff\xfe';\n")], &["002_a.sql", "UTF-8"]),
    (&[("002_a.sql", b"S\0E\0L\0E\0C\0T\0")], &["002_a.sql", "NUL"]),
    (&[("002_a.sql", b"SELECT 1;\nSELECT 'a\0b';\n")], &["002_a.sql:2:", "NUL"]),
    (&[("002_a_rollback.sql", b"SELECT 1;")], &["002_a_rollback.sql", "002_a.sql"]),
    (&[("002_a_verify.sql", b"SELECT 1;")], &["002_a_verify.sql", "002_a.sql"]),
    (&[("002_a.sql", b"SELECT 1;"), ("002_a_rollback.sql", b"SELECT 'x")], &["002_a_rollback.sql:1:8"]),
    (&[("notes.sql", b"SELECT 1;")], &["notes.sql"]),
    (&[("002_a.up.sql", b"SELECT 1;")], &["002_a.up.sql"]),
    // All problems of all files at once.
    (
        &[("002_a.sql", b"SELECT 'x"), ("003_b.sql", b"-- Requirs: 001\n# x\n"), ("004_c.sql", b"\\q")],
        &[
            "002_a.sql:1:8",
            "003_b.sql:1:",
            "003_b.sql:2:1",
            "004_c.sql:1:1",
            "problems stand in the way",
            "next:  mend what is named above",
        ],
    ),
];

#[test]
fn files_with_problems_are_refused_with_their_places() {
    let scene = Scene::with_steps(1);
    scene.run(&["apply"]).expect(0);
    let before = scene.everything();
    for (files, words) in BAD_FILES {
        for (name, content) in *files {
            scene.project.write(name, content);
        }
        let output = scene.run(&["apply"]);
        says(&output, 5, words);
        let error = scene.project.run_json(&["apply"], 5)["error"].clone();
        assert!(error["code"].as_str().is_some_and(|code| code.starts_with("ME1")), "{error}");
        for (name, _) in *files {
            scene.project.remove(name);
        }
    }
    assert_eq!(before, scene.everything());

    // Nothing is made in a database that has never seen the engine.
    let fresh = Scene::new();
    fresh.project.write("001_a.sql", "SELECT 'x");
    fresh.run(&["apply"]).expect(5);
    assert_eq!(fresh.db.psql("SELECT to_regnamespace('migengine') IS NULL"), "t");
}

#[test]
fn folders_that_are_none() {
    let scene = Scene::with_steps(1);
    scene.run(&["apply"]).expect(0);
    let before = scene.everything();
    let dir = scene.project.path();
    fs::create_dir(dir.join("empty")).unwrap();
    fs::write(dir.join("file"), "SELECT 1;").unwrap();
    says(&scene.run(&["apply", "--dir", "empty"]), 5, &["no migration", "empty", "migengine new"]);
    says(&scene.run(&["apply", "--dir", "file"]), 5, &["is a file"]);
    says(&scene.run(&["apply", "--dir", "nowhere"]), 5, &["there is no folder nowhere"]);
    assert_eq!(before, scene.everything());
}

#[test]
fn a_link_that_leaves_the_folder() {
    let scene = Scene::with_steps(1);
    let outside = scene.project.path().join("outside.sql");
    fs::write(&outside, "CREATE TABLE sneaked ();").unwrap();
    std::os::unix::fs::symlink(&outside, scene.project.migrations().join("002_x.sql")).unwrap();
    let before = scene.everything();
    says(&scene.run(&["apply"]), 5, &["002_x.sql", "link", "outside.sql"]);
    scene.project.remove("002_x.sql");
    std::os::unix::fs::symlink("nowhere.sql", scene.project.migrations().join("002_x.sql")).unwrap();
    says(&scene.run(&["apply"]), 5, &["002_x.sql", "link"]);
    scene.project.remove("002_x.sql");
    assert_eq!(before, scene.everything());
    // One that stays inside is fine.
    std::os::unix::fs::symlink("001_m.sql", scene.project.migrations().join("002_x.sql")).unwrap();
    scene.project.write("001_m.sql", "INSERT INTO effects (what) VALUES ('twice');");
    scene.run(&["apply"]).expect(0);
    assert_eq!(scene.effects(), "twice twice");
}

#[test]
fn files_that_were_changed_or_deleted_after_apply() {
    let scene = Scene::with_steps(3);
    scene.run(&["apply"]).expect(0);
    scene.step(4);
    let before = scene.everything();
    scene.project.write("002_m.sql", "CREATE TABLE t002 (n bigint);");
    says(&scene.run(&["apply"]), 5, &["002_m.sql", "ME147"]);
    assert_eq!(before, scene.everything());
    // Comments and white space may change: a warning.
    scene.project.write(
        "002_m.sql",
        "-- why\nCREATE  TABLE t002\n (n int); /* ! */ INSERT INTO effects (what) VALUES ('+002');",
    );
    let output = scene.run(&["apply", "--to", "003"]).expect(0);
    assert!(output.stderr.contains("ME148") && output.stderr.contains("002_m"), "{output}");
    scene.step(2);
    let before = scene.everything();
    scene.project.remove("002_m.sql");
    scene.project.remove("002_m_rollback.sql");
    says(&scene.run(&["apply"]), 5, &["002_m", "ME149"]);
    assert_eq!(before, scene.everything());
    scene.step(2);
    scene.run(&["apply"]).expect(0);
    assert_eq!(scene.effects(), "+001 +002 +003 +004");
}

#[test]
fn servers_that_cannot_be_used() {
    let hba = vec!["host all secretive 127.0.0.1/32 scram-sha-256".to_owned()];
    let cluster = Cluster::start_with(Options { tcp: true, hba, ..Options::default() });
    let db = cluster.database();
    db.psql("CREATE ROLE secretive LOGIN PASSWORD 's3cret-right'; CREATE ROLE poor LOGIN");
    db.psql("REVOKE CREATE ON SCHEMA public FROM PUBLIC");
    let (name, port, socket) = (db.name(), cluster.port(), cluster.dir().display());
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let grant = format!("GRANT CREATE ON DATABASE \"{name}\" TO \"poor\"");
    for (url, words) in [
        (format!("postgresql://u:hunter2@127.0.0.1:{free}/x"), &["127.0.0.1", "ME301"][..]),
        ("postgresql:///x?host=/nowhere/at/all&user=u".to_owned(), &["/nowhere/at/all", "ME301"]),
        ("postgresql://u@no-such-host.invalid/x?connect_timeout=5".to_owned(), &["no-such-host.invalid"]),
        (format!("postgresql://secretive:hunter2@127.0.0.1:{port}/{name}"), &["password", "secretive", "ME302"]),
        (format!("postgresql://secretive@127.0.0.1:{port}/{name}"), &["password", "secretive", "ME303"]),
        (format!("postgresql:///absent?host={socket}&port={port}&user=postgres"), &["absent", "createdb", "ME305"]),
        (format!("postgresql:///{name}?host={socket}&port={port}&user=poor"), &["ME335", &*grant]),
        (format!("postgresql:///{name}?host={socket}&port={port}&user=nobody_such"), &["nobody_such"]),
    ] {
        let project = Project::with_url(&url);
        project.pair("001_m", "SELECT 1;", "SELECT 1;");
        let output = project.run(&["apply"]);
        says(&output, 5, words);
        assert!(output.stderr.contains("next:"), "{output}");
        assert!(!output.to_string().contains("hunter2"), "a secret: {output}");
        let output = project.run(&["-vv", "apply", "--format", "json"]).expect(5);
        assert!(!output.to_string().contains("hunter2"), "a secret: {output}");
        assert!(output.json()["error"]["code"].as_str().is_some(), "{output}");
    }
    assert_eq!(db.psql("SELECT to_regnamespace('migengine') IS NULL"), "t");
    // With the grant that was named, it works.
    db.psql(&grant);
    let project = Project::with_url(&format!("postgresql:///{name}?host={socket}&port={port}&user=poor"));
    project.write("001_m.sql", "SELECT 1;");
    project.run(&["apply"]).expect(0);
    for url in ["postgresql://u:hunter2@[::1", "mysql://u:hunter2@host/db", "host=x password='hunter2"] {
        let project = Project::with_url(url);
        project.write("001_m.sql", "SELECT 1;");
        let output = project.run(&["apply"]).expect(2);
        assert!(!output.to_string().contains("hunter2"), "a secret: {output}");
    }
    // A database that is set read-only, as a standby is.
    let frozen = cluster.database();
    frozen.psql(&format!("ALTER DATABASE {} SET default_transaction_read_only = on", frozen.name()));
    let project = Project::new(&frozen);
    project.write("001_m.sql", "SELECT 1;");
    says(&project.run(&["apply"]), 5, &["ME325", "takes no changes"]);
    too_old(&cluster, &db);
}

/// A server behind a proxy that makes it say it is version 13.
fn too_old(cluster: &Cluster, db: &Database<'_>) {
    let number: i32 = db.psql("SHOW server_version_num").parse().unwrap();
    let major = (number / 10_000).to_string();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (old, new) = (number.to_be_bytes(), (130_000 + number % 10_000).to_be_bytes());
    let server = cluster.port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(("127.0.0.1", server)).unwrap();
            let (mut up_from, mut up_to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut up_from, &mut up_to).ok());
            let words = [(old.to_vec(), new.to_vec()), (format!("{major}.").into_bytes(), b"13.".to_vec())];
            std::thread::spawn(move || rewrite(server, client, &words));
        }
    });
    let project = Project::with_url(&format!("postgresql://postgres@127.0.0.1:{port}/{}?sslmode=disable", db.name()));
    project.write("002_m.sql", "SELECT 1;");
    let before = db.dump();
    says(&project.run(&["apply"]), 5, &["ME338", "13.", "14 or newer"]);
    assert_eq!(before, db.dump());
}

/// Copies, replacing words by others of the same length.
fn rewrite(mut from: TcpStream, mut to: TcpStream, words: &[(Vec<u8>, Vec<u8>)]) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length) = from.read(&mut buffer) {
        let Some(bytes) = buffer.get_mut(..length).filter(|bytes| !bytes.is_empty()) else { break };
        for (old, new) in words {
            for at in 0..bytes.len().saturating_sub(old.len() - 1) {
                if bytes[at..].starts_with(old) {
                    bytes[at..at + old.len()].copy_from_slice(new);
                }
            }
        }
        if to.write_all(bytes).is_err() {
            break;
        }
    }
}

#[test]
fn engine_tables_that_are_not_ours() {
    let scene = Scene::with_steps(2);
    scene.run(&["apply", "001"]).expect(0);
    for (edit, words) in [
        ("UPDATE migengine.identity SET layout = 99, engine = '9.9.9'", &["newer migengine", "99", "ME336"][..]),
        ("UPDATE migengine.history SET state = 'odd'", &["odd", "ME337"]),
        ("UPDATE migengine.history SET tokens = 'x'", &["checksum", "ME337"]),
        ("DELETE FROM migengine.identity", &["ME337"]),
    ] {
        scene.db.psql("DROP SCHEMA IF EXISTS kept CASCADE; CREATE SCHEMA kept");
        for table in ["identity", "history"] {
            scene.db.psql(&format!("CREATE TABLE kept.{table} AS TABLE migengine.{table}"));
        }
        scene.db.psql(edit);
        let before = scene.everything();
        for command in [&["apply"][..], &["apply", "--resume"], &["rollback", "--last", "1"]] {
            says(&scene.run(command), 5, words);
        }
        assert_eq!(before, scene.everything(), "{edit}");
        scene.db.psql("DELETE FROM migengine.identity; INSERT INTO migengine.identity TABLE kept.identity");
        scene.db.psql(
            "UPDATE migengine.history h SET state = k.state, tokens = k.tokens FROM kept.history k WHERE k.id = h.id",
        );
    }
    scene.run(&["apply"]).expect(0);
}

#[test]
fn a_journal_of_another_database() {
    let (here, there) = (Scene::with_steps(2), Scene::with_steps(2));
    here.run(&["apply", "001"]).expect(0);
    there.run(&["apply", "001"]).expect(0);
    let before = there.everything();
    let journal = here.project.journal().display().to_string();
    for command in [&["apply"][..], &["apply", "--resume"], &["rollback", "--last", "1"]] {
        let output = there.run(&[&["--journal", &journal], command].concat());
        says(&output, 6, &["another database", "ME206"]);
    }
    assert_eq!(before, there.everything());
    // A database that never saw the engine, and a journal that belongs to one: nothing runs.
    let fresh = Scene::with_steps(1);
    says(&fresh.run(&["--journal", &journal, "apply"]), 6, &["another database", "ME206"]);
    assert_eq!(fresh.effects(), "");
}

#[test]
fn a_journal_that_cannot_be_read_is_moved_aside_and_taken_from_the_database() {
    for damage in ["garbage", "half", "empty"] {
        let scene = Scene::with_steps(3);
        scene.crash("step.answered:3", &["apply"]);
        let files: Vec<PathBuf> = walk(&scene.project.journal());
        for file in files {
            let bytes = fs::read(&file).unwrap();
            let damaged = match damage {
                "garbage" => vec![0xa5; bytes.len()],
                "half" => bytes[..bytes.len() / 2].to_vec(),
                _ => Vec::new(),
            };
            fs::write(&file, damaged).unwrap();
        }
        let output = scene.run(&["apply", "--resume"]);
        assert!(!output.stderr.contains("panicked"), "{damage}: {output}");
        assert_eq!(output.code, Some(0), "{damage}: {output}");
        assert_eq!(scene.effects(), "+001 +002 +003", "{damage}: {output}");
        assert_eq!(scene.history(), "001_m:applied 002_m:applied 003_m:applied");
    }
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    folders.iter().flat_map(|folder| walk(folder)).chain(files).collect()
}

#[test]
fn a_journal_that_cannot_be_written() {
    let scene = Scene::with_steps(2);
    scene.run(&["apply", "001"]).expect(0);
    let file = scene.project.path().join("file");
    fs::write(&file, "no folder").unwrap();
    let before = scene.everything();
    for journal in [file.clone(), file.join("below"), PathBuf::from("/proc/journal")] {
        let output = scene.run(&["--journal", &journal.display().to_string(), "apply"]);
        says(&output, 5, &["journal", "ME202"]);
    }
    assert_eq!(before, scene.everything());
    scene.run(&["apply"]).expect(0);
}

/// A small file system in memory, unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn new(path: &Path) -> Option<Self> {
        fs::create_dir_all(path).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=3000k", "tmpfs"]).arg(path).output();
        matches!(mounted, Ok(output) if output.status.success()).then(|| Self(path.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        Command::new("umount").arg(&self.0).status().unwrap();
    }
}

#[test]
fn a_full_disk_under_the_journal() {
    let scene = Scene::with_steps(1);
    let Some(disk) = Mounted::new(&scene.project.path().join("disk")) else {
        println!("skipped: mounting a small file system takes root");
        return;
    };
    let journal = disk.0.join("journal").display().to_string();
    scene.run(&["--journal", &journal, "apply"]).expect(0);
    scene.step(2);
    let ballast = disk.0.join("ballast");
    let mut file = fs::File::create(&ballast).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    drop(file);
    let before = scene.everything();
    let output = scene.run(&["--journal", &journal, "apply"]);
    says(&output, 5, &["No space left", "ME202", "make room"]);
    assert_eq!(before, scene.everything());
    fs::remove_file(&ballast).unwrap();
    scene.run(&["--journal", &journal, "apply"]).expect(0);
    assert_eq!(scene.effects(), "+001 +002");
}

#[test]
fn a_file_of_a_hundred_megabytes_takes_less_than_three_times_its_size() {
    const SIZE: usize = 100 << 20;
    if !Path::new("/proc/self/status").exists() {
        println!("skipped: this system has no /proc to read the memory from");
        return;
    }
    let scene = Scene::new();
    let mut script = String::from("CREATE TABLE big (n int);\n");
    let filler = "text, which PostgreSQL skips; it is a literal (of a kind). ".repeat(170);
    while script.len() < SIZE {
        script += &format!("INSERT INTO big SELECT length('{filler}');\n");
    }
    scene.project.write("001_big.sql", &script);
    let size = script.len();
    drop(script);
    let mut runner = scene.project.spawn(&["apply"]);
    let status = format!("/proc/{}/status", runner.id());
    let mut peak = 0;
    while runner.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
        peak = peak.max(line.trim().trim_end_matches(" kB").parse().unwrap_or(0_usize) * 1024);
        std::thread::sleep(Duration::from_millis(10));
    }
    collect(runner).expect(0);
    println!("peak of {} MB for a file of {} MB", peak >> 20, size >> 20);
    assert!(peak > size / 2, "the peak was not seen: {peak}");
    assert!(peak < 3 * size, "{} MB for a file of {} MB", peak >> 20, size >> 20);
    assert_eq!(scene.db.psql("SELECT length(up_sql) FROM migengine.history"), size.to_string());
}
