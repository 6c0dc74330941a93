//! The port's promises, on the real store and on the one in memory.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use migengine_engine::id::RunId;
use migengine_engine::run::event::Event;
use migengine_engine::run::journal::{Journal, JournalError};
use migengine_engine::run::state::RunKind;
use migengine_journal::chain::{self, Anchor};
use migengine_journal::points::{Hook, POINTS};
use migengine_journal::{MemoryJournal, SledJournal};

use crate::common::{self, RUN, messages, note, notes, timed, wait};

const OTHER: RunId = RunId::from_bytes([0x22; 16]);

async fn keeps_its_promises(journal: &impl Journal, elsewhere: &impl Journal) {
    assert!(journal.runs().await.unwrap().is_empty());
    assert!(journal.records(RUN).await.unwrap().is_empty());
    let first = journal.append(RUN, notes(2)).await.unwrap();
    journal.append(OTHER, notes(1)).await.unwrap();
    let second = journal.append(RUN, timed(vec![note("third")])).await.unwrap();
    assert!(journal.append(RUN, vec![]).await.unwrap().is_empty());
    let records = journal.records(RUN).await.unwrap();
    assert_eq!(messages(&records), ["0", "1", "third"]);
    assert!(records.iter().map(|(_, sealed)| sealed).eq(first.iter().chain(&second)));
    assert_eq!(records.iter().map(|(recorded, _)| recorded.seq).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(journal.runs().await.unwrap(), [RUN, OTHER]);
    assert_eq!(journal.decode(&records[1].1.bytes).unwrap(), records[1]);

    let bytes: Vec<Vec<u8>> = records.iter().map(|(_, sealed)| sealed.bytes.clone()).collect();
    elsewhere.adopt(RUN, bytes[..1].to_vec()).await.unwrap();
    elsewhere.adopt(RUN, bytes.clone()).await.unwrap();
    elsewhere.adopt(RUN, bytes.clone()).await.unwrap();
    assert_eq!(elsewhere.records(RUN).await.unwrap(), records, "taken over once, whatever is repeated");
    assert!(elsewhere.adopt(OTHER, bytes.clone()).await.is_err(), "records of another run");
    elsewhere.append(RUN, timed(vec![note("here")])).await.unwrap();
    journal.append(RUN, timed(vec![note("there")])).await.unwrap();
    let fourth = journal.records(RUN).await.unwrap()[3].1.bytes.clone();
    let fork = elsewhere.adopt(RUN, vec![fourth]).await.unwrap_err();
    assert!(matches!(fork, JournalError::Damaged { .. }), "two histories: {fork}");
    assert_eq!(messages(&elsewhere.records(RUN).await.unwrap()).last().unwrap(), "here");
}

#[test]
fn both_journals_keep_the_promises_of_the_port() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (common::open(&folder.path().join("a")), common::open(&folder.path().join("b")));
    wait(keeps_its_promises(&a, &b));
    wait(keeps_its_promises(&MemoryJournal::new(), &MemoryJournal::new()));
}

#[test]
fn records_and_binding_are_there_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/er/journal");
    let plan = common::started(RunKind::Apply, 10_000);
    let journal = common::open(&path);
    assert_eq!(wait(journal.binding()).unwrap(), None);
    wait(journal.bind("one")).unwrap();
    wait(journal.append(RUN, timed(vec![plan.clone(), Event::Reconciled]))).unwrap();
    drop(journal);
    let journal = common::open(&path);
    assert_eq!(wait(journal.binding()).unwrap().as_deref(), Some("one"));
    wait(journal.bind("one")).unwrap();
    let error = wait(journal.bind("two")).unwrap_err().to_string();
    assert!(error.contains("another database"), "{error}");
    wait(journal.append(RUN, timed(vec![note("after")]))).unwrap();
    let records = wait(journal.records(RUN)).unwrap();
    assert_eq!(records.len(), 3);
    assert_eq!(records[0].0.event, plan);
    let hashes: Vec<_> = records.iter().map(|(_, sealed)| sealed.hash).collect();
    assert_eq!(chain::compare_anchor(&hashes, 2, hashes[1]), Anchor::JournalAhead);
    let report = wait(journal.check(|events| if events.len() == 3 { Ok(()) } else { Err("short".into()) })).unwrap();
    assert!(report.is_sound(), "{report:?}");
    let report = wait(journal.check(|_| Err("an illegal transition".into()))).unwrap();
    assert_eq!(report.runs[0].verdict, Err("an illegal transition".to_owned()));
    assert_eq!(fs::read_dir(path.join("blobs")).unwrap().count(), 0, "no value is moved out to a file");
}

#[test]
fn only_the_owner_may_look() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let journal = common::open(&path);
    wait(journal.append(RUN, notes(1))).unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    for entry in fs::read_dir(&path).unwrap() {
        let entry = entry.unwrap();
        let expect = if entry.file_type().unwrap().is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode(&entry.path()), expect, "{:?}", entry.path());
    }
}

#[test]
fn a_second_opening_says_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let journal = common::open(&path);
    assert!(matches!(SledJournal::open(&path), Err(JournalError::InUse { .. })));
    assert!(matches!(SledJournal::open_read_only(&path), Err(JournalError::InUse { .. })));
    assert!(matches!(SledJournal::set_aside(&path), Err(JournalError::InUse { .. })));
    drop(journal);
    drop(common::open(&path));
}

#[test]
fn reading_creates_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    assert!(SledJournal::open_read_only(&path).unwrap().is_none());
    assert!(!path.exists());
    let journal = common::open(&path);
    wait(journal.append(RUN, notes(3))).unwrap();
    drop(journal);
    let journal = SledJournal::open_read_only(&path).unwrap().unwrap().journal;
    assert_eq!(messages(&wait(journal.records(RUN)).unwrap()), ["0", "1", "2"]);
    for _ in 0..2 {
        let error = wait(journal.append(RUN, notes(1))).unwrap_err();
        assert!(error.to_string().contains("opened for reading"), "{error}");
    }
}

#[test]
fn a_folder_that_is_no_journal_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "text").unwrap();
    let foreign = folder.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("db"), "somebody's").unwrap();
    for (path, expect) in [(&file, "it is a file"), (&foreign, "holds other files"), (&file.join("x"), "directory")] {
        let Err(error) = SledJournal::open(path) else { panic!("{path:?} opened") };
        assert!(matches!(error, JournalError::Unwritable { .. }), "{error}");
        assert!(error.to_string().contains(expect), "{error}");
    }
    assert_eq!(fs::read_dir(&foreign).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(foreign.join("db")).unwrap(), "somebody's");
}

#[test]
fn appends_that_wait_together_are_in_order_and_share_a_flush() {
    let folder = tempfile::tempdir().unwrap();
    let flushes = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&flushes);
    let hook: Hook = Arc::new(move |point| {
        if point == "journal.append.before_flush" {
            counter.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    });
    let journal = SledJournal::open_with(folder.path().join("journal"), Some(hook)).unwrap().journal;
    flushes.store(0, Ordering::SeqCst);
    wait(async {
        let runs = [RUN, OTHER];
        let appends = (0..200).map(|number| journal.append(runs[number % 2], timed(vec![note(number / 2)])));
        let mut set: Vec<_> = appends.map(Box::pin).collect();
        std::future::poll_fn(|context| {
            set.retain_mut(|append| match append.as_mut().poll(context) {
                std::task::Poll::Ready(result) => {
                    result.unwrap();
                    false
                }
                std::task::Poll::Pending => true,
            });
            if set.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        let expect: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        for run in runs {
            assert_eq!(messages(&journal.records(run).await.unwrap()), expect);
        }
    });
    let flushes = flushes.load(Ordering::SeqCst);
    assert!((1..100).contains(&flushes), "200 appends took {flushes} flushes");
}

/// A hook that fails the disk at the `n`th passing of a place.
fn failing(at: &'static str, nth: u64) -> Hook {
    let passed = AtomicU64::new(0);
    Arc::new(move |point| {
        if point == at && passed.fetch_add(1, Ordering::SeqCst) + 1 == nth {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(())
    })
}

#[test]
fn after_a_failed_write_nothing_more_is_done() {
    let points = POINTS.iter().filter(|point| point.starts_with("journal.append."));
    for point in points {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        // Opening flushes once as well.
        let nth = if point.contains("insert") { 2 } else { 3 };
        let journal = SledJournal::open_with(&path, Some(failing(point, nth))).unwrap().journal;
        wait(journal.append(RUN, notes(2))).unwrap();
        let error = wait(journal.append(RUN, notes(2))).unwrap_err();
        assert!(matches!(error, JournalError::Unwritable { .. }), "{point}: {error}");
        assert!(matches!(wait(journal.append(RUN, notes(1))), Err(JournalError::Poisoned)), "{point}");
        assert!(matches!(wait(journal.records(RUN)), Err(JournalError::Poisoned)), "{point}");
        drop(journal);
        let journal = common::open(&path);
        let records = wait(journal.records(RUN)).unwrap();
        assert!((2..=4).contains(&records.len()), "{point}: what was acknowledged is there, and a whole chain");
        wait(journal.append(RUN, notes(1))).unwrap();
    }
}

#[test]
fn a_long_record_torn_half_way_was_never_there() {
    for nth in [1, 100, 250] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let hook = failing("journal.append.between_inserts", nth);
        let journal = SledJournal::open_with(&path, Some(hook)).unwrap().journal;
        wait(journal.append(OTHER, notes(1))).unwrap();
        let plan = |steps| timed(vec![common::started(RunKind::Apply, steps)]);
        assert!(wait(journal.append(RUN, plan(10_000))).is_err());
        drop(journal);
        let journal = common::open(&path);
        assert_eq!(wait(journal.runs()).unwrap(), [OTHER], "part {nth}");
        assert!(wait(journal.records(RUN)).unwrap().is_empty());
        wait(journal.append(RUN, plan(1_000))).unwrap();
        drop(journal);
        let journal = common::open(&path);
        assert_eq!(wait(journal.records(RUN)).unwrap()[0].0.event, plan(1_000)[0].1);
        assert!(wait(journal.check(|_| Ok(()))).unwrap().is_sound());
    }
}

#[test]
fn the_one_in_memory_fails_when_told() {
    let journal = MemoryJournal::new();
    journal.fail_after(1);
    wait(journal.append(RUN, notes(2))).unwrap();
    assert!(matches!(wait(journal.append(RUN, notes(1))), Err(JournalError::Unwritable { .. })));
    assert!(matches!(wait(journal.append(RUN, notes(1))), Err(JournalError::Poisoned)));
    journal.heal();
    assert_eq!(wait(journal.records(RUN)).unwrap().len(), 2);
}
