//! The process dies at any moment; what was acknowledged is there.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use migengine_engine::run::journal::Journal;
use migengine_journal::SledJournal;
use migengine_journal::points::{Hook, POINTS};

use crate::common::{RUN, messages, note, timed, wait};

const FOLDER: &str = "MIGENGINE_TEST_JOURNAL";
const POINT: &str = "MIGENGINE_TEST_POINT";

/// The child: appends for ever, one to three events at a time, and says how many records are acknowledged.
#[test]
#[ignore = "the child of the other tests here"]
fn child() {
    let Some(folder) = env::var_os(FOLDER) else { return };
    let journal = SledJournal::open_with(folder, point_hook()).unwrap().journal;
    let mut count = wait(journal.records(RUN)).unwrap().len();
    loop {
        let events = (count..count + 1 + count % 3).map(note).collect();
        count = usize::try_from(wait(journal.append(RUN, timed(events))).unwrap().last().unwrap().seq).unwrap();
        println!("acknowledged {count}");
        std::io::stdout().flush().unwrap();
    }
}

/// `name:n` in the environment: die at the nth passing.
fn point_hook() -> Option<Hook> {
    let text = env::var(POINT).ok()?;
    let (name, nth) = text.split_once(':').map(|(name, nth)| (name.to_owned(), nth.parse::<u64>().unwrap()))?;
    let passed = AtomicU64::new(0);
    Some(Arc::new(move |point| {
        if point == name && passed.fetch_add(1, Ordering::SeqCst) + 1 == nth {
            // SIGKILL to ourselves; nothing of the process runs after it.
            Command::new("kill").args(["-9", &std::process::id().to_string()]).status()?;
            thread::sleep(Duration::from_secs(60));
        }
        Ok(())
    }))
}

fn start(folder: &Path, point: Option<&str>) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "kill::child", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(FOLDER, folder).stdout(Stdio::piped()).stderr(Stdio::null());
    if let Some(point) = point {
        command.env(POINT, point);
    }
    command.spawn().unwrap()
}

/// The last acknowledged count, read until the child is gone.
fn acknowledged(child: &mut Child) -> usize {
    let mut last = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        // The harness prints beside the child; a line cut by the kill was never written whole.
        if let Some((_, count)) = line.unwrap().split_once("acknowledged ") {
            last = count.parse().unwrap_or(last);
        }
    }
    child.wait().unwrap();
    last
}

fn verify(folder: &Path, acknowledged: usize, what: &str) -> usize {
    let opened = SledJournal::open(folder).unwrap();
    assert!(!matches!(opened.note, Some(migengine_journal::Note::Quarantined { .. })), "{what}: {:?}", opened.note);
    let records = wait(opened.journal.records(RUN)).unwrap();
    assert!(records.len() >= acknowledged, "{what}: {} of {acknowledged} records", records.len());
    let expect: Vec<String> = (0..records.len()).map(|number| number.to_string()).collect();
    assert_eq!(messages(&records), expect, "{what}");
    assert!(wait(opened.journal.check(|_| Ok(()))).unwrap().is_sound());
    records.len()
}

#[test]
fn no_acknowledged_record_is_lost_by_a_kill() {
    let rounds = env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(20);
    let seed = env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(u64::from(std::process::id()));
    println!("ROUNDS={rounds} SEED={seed}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let (mut state, mut total) = (seed, 0);
    for round in 0..rounds {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut child = start(&path, None);
        thread::sleep(Duration::from_micros(state >> 33 & 0x3_FFFF));
        child.kill().unwrap();
        let count = acknowledged(&mut child);
        total = verify(&path, count.max(total), &format!("round {round}"));
    }
    assert!(total > rounds, "the child wrote {total} records in {rounds} rounds");
}

#[test]
fn no_acknowledged_record_is_lost_by_a_death_at_any_point() {
    for point in POINTS.iter().filter(|point| !point.contains(".snap.") && !point.contains(".quarantine.")) {
        let nths: &[u64] = if point.starts_with("journal.append") { &[2, 5] } else { &[1] };
        for nth in nths {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("journal");
            let mut child = start(&path, Some(&format!("{point}:{nth}")));
            let count = acknowledged(&mut child);
            assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()), Some(9), "{point}:{nth}");
            verify(&path, count, &format!("{point}:{nth}"));
        }
    }
}
