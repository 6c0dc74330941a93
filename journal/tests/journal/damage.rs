//! Damaged folders: healed, moved aside, or refused; never believed, and never a panic.

use std::fs;
use std::path::Path;

use migengine_engine::run::journal::{Journal, JournalError};
use migengine_journal::{Note, SledJournal};

use crate::common::{self, RUN, messages, notes, wait};

fn with_records(path: &Path, count: usize) {
    let journal = common::open(path);
    wait(journal.append(RUN, notes(count))).unwrap();
}

fn snapshots(path: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("snap.")).collect()
}

#[test]
fn a_damaged_index_is_made_again_and_all_records_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    with_records(&path, 70);
    drop(common::open(&path));
    let snapshot = snapshots(&path).pop().unwrap();
    let half = fs::read(&snapshot).unwrap();
    // As a kill leaves it while the next one is written.
    fs::write(path.join("snap.00000000FFFFFFFF.generating"), &half[..half.len() / 2]).unwrap();
    let opened = SledJournal::open(&path).unwrap();
    assert_eq!(opened.note, Some(Note::IndexRebuilt));
    assert_eq!(messages(&wait(opened.journal.records(RUN)).unwrap()).len(), 70);
    drop(opened);
    assert_eq!(wait(common::open(&path).records(RUN)).unwrap().len(), 70);
}

#[test]
fn a_folder_of_garbage_is_moved_aside_and_an_empty_journal_begun() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    with_records(&path, 70);
    fs::write(path.join("conf"), "garbage that is no configuration").unwrap();
    fs::write(path.join("db"), vec![0xA5; 100_000]).unwrap();
    assert!(matches!(SledJournal::open_read_only(&path), Err(JournalError::Damaged { .. })), "reading moves nothing");
    assert!(path.join("db").exists());
    let opened = SledJournal::open(&path).unwrap();
    let Some(Note::Quarantined { moved_to, reason }) = opened.note else { panic!("{:?}", opened.note) };
    assert!(!reason.is_empty());
    assert!(moved_to.to_string_lossy().contains("journal.quarantine-"), "{moved_to:?}");
    assert!(moved_to.join("db").exists());
    assert!(wait(opened.journal.runs()).unwrap().is_empty());
    wait(opened.journal.append(RUN, notes(1))).unwrap();
}

#[test]
fn a_journal_is_set_aside_on_demand() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    assert_eq!(SledJournal::set_aside(&path).unwrap(), None);
    with_records(&path, 1);
    let first = SledJournal::set_aside(&path).unwrap().unwrap();
    with_records(&path, 2);
    let second = SledJournal::set_aside(&path).unwrap().unwrap();
    assert_ne!(first, second);
    assert_eq!(wait(common::open(&first).records(RUN)).unwrap().len(), 1);
    assert_eq!(wait(common::open(&second).records(RUN)).unwrap().len(), 2);
}

/// sled cannot always tell a damaged file from a shorter history, see `chain::compare_anchor`: what it serves must
/// still be a prefix of what was written.
#[test]
fn whatever_byte_is_damaged_no_wrong_record_is_served() {
    const SEED: u64 = 0x5EED_2026;
    println!("seed {SEED:#x}");
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    with_records(&whole, 40);
    let expect = messages(&wait(common::open(&whole).records(RUN)).unwrap());
    let mut state = SEED;
    for round in 0..60 {
        let path = folder.path().join(format!("round-{round}"));
        fs::create_dir_all(path.join("blobs")).unwrap();
        let mut files = Vec::new();
        for entry in fs::read_dir(&whole).unwrap().map(|entry| entry.unwrap()) {
            if entry.file_type().unwrap().is_file() {
                fs::copy(entry.path(), path.join(entry.file_name())).unwrap();
                files.push(path.join(entry.file_name()));
            }
        }
        files.sort();
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let file = &files[(state >> 33) as usize % files.len()];
        let mut bytes = fs::read(file).unwrap();
        let at = (state >> 17) as usize % bytes.len();
        if round % 3 == 0 {
            bytes.truncate(at)
        } else {
            bytes[at] ^= 1 << (state >> 60 & 7)
        }
        fs::write(file, bytes).unwrap();
        let opened = SledJournal::open(&path).unwrap();
        match wait(opened.journal.records(RUN)) {
            Ok(records) => assert!(expect.starts_with(&messages(&records)), "round {round}: {file:?} at {at}"),
            Err(JournalError::Damaged { .. }) => {}
            Err(error) => panic!("round {round}: {file:?} at {at}: {error}"),
        }
    }
}
