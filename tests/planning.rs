//! What a command costs before anything runs: round trips, and files that need not be read again because nothing about them
//! changed. The note about a folder must never hide a change.
#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::io::Write as _;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use support::{Scene, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);
/// What `-v` says where the folder's files are not read.
const UNREAD: &str = "the folder is as it was";

/// Waits until the files of the folder count as at rest: kept is only what had not changed for three seconds.
fn at_rest(scene: &Scene) {
    let newest = || {
        let files = fs::read_dir(scene.project.migrations()).unwrap().map(|entry| entry.unwrap().metadata().unwrap());
        files.map(|metadata| metadata.ctime().max(metadata.mtime())).max().unwrap()
    };
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    wait_until("the files are at rest", PATIENCE, || now() > u64::try_from(newest()).unwrap() + 4);
}

/// The note, where there is one.
fn note(scene: &Scene) -> Option<PathBuf> {
    let beside = scene.project.journal();
    let mut found = fs::read_dir(beside.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    found.find(|path| path.to_string_lossy().contains("journal.folder-"))
}

/// Whether `apply -v` finds nothing to do without reading the files.
fn unread(scene: &Scene) -> bool {
    let output = scene.run(&["apply", "-v"]).expect(0);
    assert!(output.stderr.contains("nothing to do"), "{output}");
    output.stderr.contains(UNREAD)
}

/// A scene whose folder is known.
fn known() -> Scene {
    let scene = Scene::with_steps(3);
    scene.run(&["apply"]).expect(0);
    at_rest(&scene);
    assert!(!unread(&scene), "nothing was known");
    assert!(unread(&scene), "the folder is known");
    scene
}

/// Writes the same number of bytes into a file and sets its time of writing back.
fn change_unseen(path: &Path, from: &str, to: &str) {
    let (text, before) = (fs::read_to_string(path).unwrap(), fs::metadata(path).unwrap());
    assert!(text.contains(from) && from.len() == to.len());
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    (&file).write_all(text.replacen(from, to, 1).as_bytes()).unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
    let after = fs::metadata(path).unwrap();
    assert_eq!((before.len(), before.mtime_nsec(), before.ino()), (after.len(), after.mtime_nsec(), after.ino()));
}

#[test]
fn a_change_of_an_applied_file_is_seen_although_length_and_time_of_writing_are_the_same() {
    let scene = known();
    let path = scene.project.migrations().join("002_m.sql");
    change_unseen(&path, "t002", "t00x");
    let output = scene.run(&["apply"]).expect(5);
    assert!(output.stderr.contains("002_m.sql"), "{output}");
    change_unseen(&path, "t00x", "t002");
    at_rest(&scene);
    assert!(!unread(&scene) && unread(&scene), "what was put back has to be read once more");
}

#[test]
fn files_that_come_go_or_take_anothers_place_are_seen() {
    let scene = known();
    scene.step(4);
    scene.run(&["apply"]).expect(0);
    assert_eq!(scene.effects(), "+001 +002 +003 +004");
    let (clock, fourth) = (SystemTime::now(), scene.project.migrations().join("004_m.sql"));
    let written_at = |at| fs::OpenOptions::new().write(true).open(&fourth).unwrap().set_modified(at).unwrap();
    written_at(clock + PATIENCE * 60);
    assert!(!unread(&scene) && !unread(&scene), "a file that is not at rest is not kept");
    written_at(clock);
    at_rest(&scene);
    assert!(!unread(&scene) && unread(&scene));
    let (folder, aside) = (scene.project.migrations(), scene.project.path().join("aside.sql"));
    fs::write(&aside, fs::read_to_string(folder.join("004_m.sql")).unwrap() + "SELECT 1;\n").unwrap();
    fs::rename(&aside, folder.join("004_m.sql")).unwrap();
    let output = scene.run(&["apply"]).expect(5);
    assert!(output.stderr.contains("004_m.sql"), "{output}");
    scene.project.remove("004_m.sql");
    scene.project.remove("004_m_rollback.sql");
    let with_note = scene.run(&["apply"]);
    fs::remove_file(note(&scene).unwrap()).unwrap();
    let without = scene.run(&["apply"]);
    assert_eq!((with_note.code, &with_note.stderr), (without.code, &without.stderr));
}

#[test]
fn a_damaged_note_is_as_if_it_were_not_there() {
    let scene = known();
    let path = note(&scene).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let good = fs::read(&path).unwrap();
    for at in (0..good.len()).step_by(good.len() / 23) {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(!unread(&scene), "byte {at} was changed");
        fs::write(&path, &good[..at]).unwrap();
        assert!(!unread(&scene), "cut off behind byte {at}");
    }
    fs::write(&path, &good).unwrap();
    assert!(unread(&scene), "whole again");
}

#[test]
fn another_database_and_other_steps_are_not_taken_for_the_known_ones() {
    let scene = known();
    scene.run(&["rollback", "--last", "1"]).expect(0);
    let output = scene.run(&["apply", "-v"]).expect(0);
    assert!(!output.stderr.contains(UNREAD), "there was something to do: {output}");
    assert_eq!(scene.effects(), "+001 +002 +003 -003 +003");
}

/// Relays connections to a server, and counts how often a client spoke after it had been answered.
fn counting_line(socket: PathBuf) -> (u16, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, trips) = (listener.local_addr().unwrap().port(), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&trips);
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (client, server) = (client.unwrap(), UnixStream::connect(&socket).unwrap());
            let answered = Arc::new(AtomicBool::new(true));
            let (trips, asked) = (Arc::clone(&counted), Arc::clone(&answered));
            let (up, down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || {
                pump(&up, &server, || {
                    if asked.swap(false, Ordering::SeqCst) {
                        trips.fetch_add(1, Ordering::SeqCst);
                    }
                });
                server.shutdown(Shutdown::Both).ok();
            });
            std::thread::spawn(move || {
                pump(&down, &client, || answered.store(true, Ordering::SeqCst));
                TcpStream::shutdown(&client, Shutdown::Both).ok();
            });
        }
    });
    (port, trips)
}

fn pump(mut from: impl std::io::Read, mut to: impl std::io::Write, seen: impl Fn()) {
    let mut buffer = [0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        seen();
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
}

#[test]
fn finding_nothing_to_do_takes_five_round_trips_at_most() {
    let scene = Scene::with_steps(40);
    scene.run(&["apply"]).expect(0);
    let cluster = scene.db.cluster();
    let socket = cluster.dir().join(format!(".s.PGSQL.{}", cluster.port()));
    let (port, trips) = counting_line(socket);
    let url = format!("postgresql://postgres@127.0.0.1:{port}/{}?sslmode=disable", scene.db.name());
    let output = scene.run(&["--database-url", &url, "apply"]).expect(0);
    assert!(output.stderr.contains("nothing to do"), "{output}");
    // The last message says goodbye and is not answered.
    let counted = trips.load(Ordering::SeqCst);
    assert!((1..=5).contains(&counted), "{counted} round trips");
}
