//! A full disk: an error, nothing acknowledged that is not there, and everything back once there is room.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use migengine_engine::run::journal::{Journal, JournalError};
use migengine_journal::SledJournal;

use crate::common::{self, RUN, messages, note, timed, wait};

/// A small file system in memory, unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn new(path: &Path) -> Option<Self> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1600k", "tmpfs"]).arg(path).output();
        matches!(mounted, Ok(output) if output.status.success()).then(|| Self(path.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        Command::new("umount").arg(&self.0).status().unwrap();
    }
}

#[test]
fn a_full_disk_is_an_error_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Mounted::new(folder.path()) else {
        println!("skipped: mounting a small file system takes root");
        return;
    };
    let ballast = disk.0.join("ballast");
    fs::write(&ballast, vec![0; 400 << 10]).unwrap();
    let path = disk.0.join("journal");
    let journal = common::open(&path);
    let mut acknowledged = 0;
    let error = loop {
        let events = (acknowledged..acknowledged + 3).map(|number| note(format!("{number:>3000}"))).collect();
        match wait(journal.append(RUN, timed(events))) {
            Ok(_) => acknowledged += 3,
            Err(error) => break error,
        }
        assert!(acknowledged < 3000, "the disk never filled");
    };
    assert!(matches!(&error, JournalError::Unwritable { reason, .. } if reason.contains("No space left")), "{error}");
    assert!(acknowledged > 30, "{acknowledged}");
    assert!(matches!(wait(journal.append(RUN, timed(vec![note("x")]))), Err(JournalError::Poisoned)));
    drop(journal);

    match SledJournal::open(&path) {
        Ok(opened) => assert_eq!(opened.note, None, "a full disk is no reason to move a journal aside"),
        Err(error) => assert!(matches!(error, JournalError::Unwritable { .. }), "{error}"),
    }
    fs::remove_file(&ballast).unwrap();
    let journal = common::open(&path);
    let records = wait(journal.records(RUN)).unwrap();
    assert!(records.len() >= acknowledged, "{} of {acknowledged}", records.len());
    let expect: Vec<String> = (0..records.len()).map(|number| format!("{number:>3000}")).collect();
    assert!(messages(&records) == expect);
    wait(journal.append(RUN, timed(vec![note("room again")]))).unwrap();
}
