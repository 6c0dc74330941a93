//! The note beside a settled journal never says more than the journal itself.

use std::fs;

use migengine_engine::id::Epoch;
use migengine_engine::run::journal::Journal;
use migengine_journal::{Settled, settled};

use crate::common::{self, RUN, wait};

const UUID: &str = "6a2f41a3-c54c-fce8-32d2-0324e1c32e22";

#[test]
fn a_note_is_believed_only_while_the_store_is_as_it_was_left() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("journal");
    let note = Settled { uuid: UUID.to_owned(), epoch: Some(Epoch(4)) };
    let settle = || {
        let journal = common::open(&path);
        assert_eq!(settled(&path), None, "an open journal is not settled");
        journal.settle(note.clone());
    };
    let journal = common::open(&path);
    wait(journal.append(RUN, common::timed(common::scenarios().swap_remove(0).1))).unwrap();
    drop(journal);
    assert_eq!(settled(&path), None, "nobody left a note");
    // sled's own threads may still write a moment after it was closed; the note does not fit then.
    while settled(&path).is_none() {
        settle();
    }
    assert_eq!(settled(&path), Some(note.clone()));

    drop(common::open(&path));
    assert_eq!(settled(&path), None, "whoever opens it takes the note away");
    while settled(&path).is_none() {
        settle();
    }
    let db = path.join("db");
    let bytes = fs::read(&db).unwrap();
    let modified = fs::metadata(&db).unwrap().modified().unwrap();
    fs::write(&db, &bytes).unwrap();
    fs::File::options().write(true).open(&db).unwrap().set_modified(modified).unwrap();
    assert_eq!(settled(&path), None, "the same bytes and times, written by somebody else");

    while settled(&path).is_none() {
        settle();
    }
    let file = path.join("migengine.settled");
    let mut bytes = fs::read(&file).unwrap();
    for at in 0..bytes.len() {
        bytes[at] ^= 1;
        fs::write(&file, &bytes).unwrap();
        assert_eq!(settled(&path), None, "byte {at} was damaged");
        bytes[at] ^= 1;
    }
}
