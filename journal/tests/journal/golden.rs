//! Journals of every released format open for ever, and no damaged one is believed.
//!
//! A `.bin` file is never written again once it is there. `MIGENGINE_BLESS=1` writes the missing ones, and the texts
//! that say what each decodes to.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use migengine_engine::id::{Digest, RunId};
use migengine_engine::run::event::{EventKind, Recorded};
use migengine_engine::run::journal::{Journal, Sealed};
use migengine_journal::chain;
use migengine_journal::wire::{self, Link};

use crate::common::{self, RUN, wait};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/journal-v1")
}

fn blessing() -> bool {
    std::env::var_os("MIGENGINE_BLESS").is_some()
}

/// The records of a file; what is left over after the last whole one is returned beside them.
fn split(mut bytes: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let mut records = Vec::new();
    while let Some(length) = bytes.get(72..76) {
        let length = 80 + u32::from_le_bytes(length.try_into().unwrap()) as usize;
        let Some((record, rest)) = bytes.split_at_checked(length) else { break };
        records.push(record);
        bytes = rest;
    }
    (records, bytes)
}

fn sealed(events: Vec<migengine_engine::run::event::Event>) -> Vec<Sealed> {
    let mut prev = Digest::ZERO;
    let seal = |(seq, (at, event))| {
        let sealed = wire::seal(Link { run: RUN, seq, prev }, at, &event).unwrap();
        prev = sealed.hash;
        sealed
    };
    (1..).zip(common::timed(events)).map(seal).collect()
}

fn text(records: &[(Recorded, Sealed)]) -> String {
    let mut text = String::new();
    for (Recorded { run, seq, at, event }, sealed) in records {
        writeln!(text, "{run} {seq} {} {} {event:?}", at.0, sealed.hash).unwrap();
    }
    text
}

fn golden() -> Vec<(&'static str, Vec<u8>)> {
    let read = |(name, events)| {
        let path = folder().join(format!("{name}.bin"));
        if blessing() && !path.exists() {
            let mut bytes: Vec<u8> = sealed(events).into_iter().flat_map(|sealed| sealed.bytes).collect();
            bytes.truncate(bytes.len() - if name == "torn-tail" { 9 } else { 0 });
            fs::create_dir_all(folder()).unwrap();
            fs::write(&path, bytes).unwrap();
        }
        (name, fs::read(path).unwrap())
    };
    common::scenarios().into_iter().map(read).collect()
}

#[test]
fn golden_records_decode_to_what_was_written_and_encode_to_the_same_bytes() {
    let mut kinds = Vec::new();
    for (name, bytes) in golden() {
        let (records, rest) = split(&bytes);
        assert_eq!(rest.is_empty(), name != "torn-tail", "{name}");
        let chain = chain::read_chain(RUN, &records).unwrap();
        let path = folder().join(format!("{name}.txt"));
        if blessing() {
            fs::write(&path, text(&chain)).unwrap();
        }
        assert_eq!(text(&chain), fs::read_to_string(path).unwrap(), "{name}");
        let mut prev = Digest::ZERO;
        for (recorded, stored) in &chain {
            let link = Link { run: recorded.run, seq: recorded.seq, prev };
            assert_eq!(wire::seal(link, recorded.at, &recorded.event).unwrap(), *stored, "{name} {}", recorded.seq);
            prev = stored.hash;
            kinds.push(recorded.event.kind());
        }
    }
    for kind in EventKind::ALL {
        assert!(kinds.contains(&kind), "no golden file holds {}", kind.name());
    }
}

#[test]
fn every_flipped_bit_and_every_cut_of_a_golden_record_is_refused() {
    let (mut flips, mut cuts) = (0, 0);
    for (name, bytes) in golden() {
        for record in split(&bytes).0 {
            assert!(wire::open(record).is_ok());
            let mut damaged = record.to_vec();
            for bit in 0..record.len() * 8 {
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert!(wire::open(&damaged).is_err(), "{name}: bit {bit}");
                damaged[bit / 8] ^= 1 << (bit % 8);
                flips += 1;
            }
            for length in 0..record.len() {
                assert!(wire::open(&record[..length]).is_err(), "{name}: cut to {length}");
                cuts += 1;
            }
        }
    }
    assert!(flips > 50_000 && cuts > 6_000, "{flips} flips, {cuts} cuts");
}

#[test]
fn a_torn_tail_is_refused() {
    let (_, bytes) = golden().into_iter().find(|(name, _)| *name == "torn-tail").unwrap();
    let (mut records, rest) = split(&bytes);
    let whole = records.len() as u64;
    records.push(rest);
    let broken = chain::verify_chain(RUN, &records).unwrap_err();
    assert_eq!(broken.at_seq, whole + 1);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target)
        } else {
            fs::copy(entry.path(), target).map(drop).unwrap()
        }
    }
}

/// Scenarios there were when the golden folder was written. Later ones have a file each.
const STORED: usize = 7;

#[test]
fn a_golden_folder_opens_with_all_its_runs() {
    let stored = folder().join("sled");
    let run = |number: usize| RunId::from_bytes([u8::try_from(number).unwrap() + 1; 16]);
    if blessing() && !stored.exists() {
        let temporary = tempfile::tempdir().unwrap();
        let journal = common::open(&temporary.path().join("journal"));
        for (number, (_, events)) in common::scenarios().into_iter().take(STORED).enumerate() {
            wait(journal.append(run(number), common::timed(events))).unwrap();
        }
        wait(journal.append(
            run(STORED),
            common::timed(vec![common::started(migengine_engine::run::state::RunKind::Apply, 200)]),
        ))
        .unwrap();
        wait(journal.bind("6a2f41a3-c54c-fce8-32d2-0324e1c32e22")).unwrap();
        drop(journal);
        copy(&temporary.path().join("journal"), &stored);
    }
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("journal");
    copy(&stored, &path);
    let journal = common::open(&path);
    assert_eq!(wait(journal.binding()).unwrap().as_deref(), Some("6a2f41a3-c54c-fce8-32d2-0324e1c32e22"));
    let report = wait(journal.check(|_| Ok(()))).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(report.runs.len(), 8);
    for (number, (name, events)) in common::scenarios().into_iter().take(STORED).enumerate() {
        let records = wait(journal.records(run(number))).unwrap();
        let found: Vec<_> = records.into_iter().map(|(recorded, _)| recorded.event).collect();
        assert_eq!(found, events, "{name}");
    }
}
