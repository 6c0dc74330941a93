//! The hash chain of a run, and its comparison with the anchor the database keeps. Pure.

use std::fmt;

use migengine_engine::id::{Digest, RunId};
use migengine_engine::run::event::Recorded;
use migengine_engine::run::journal::{JournalError, Sealed};

use crate::wire::{self, WireError};

/// The end of a chain: number of records and hash of the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Place of the last record; 0 without any.
    pub seq: u64,
    /// Its hash; zero without any.
    pub hash: Digest,
}

impl Head {
    /// Of a run without records.
    pub const EMPTY: Self = Self { seq: 0, hash: Digest::ZERO };
}

/// What does not fit at one place of a chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The record itself.
    #[error(transparent)]
    Record(#[from] WireError),
    /// A record is missing before this one, or it stands twice.
    #[error("record {found} stands where {expected} should be")]
    Order {
        /// Its own number.
        found: u64,
        /// The number due.
        expected: u64,
    },
    /// It belongs to another run.
    #[error("it belongs to run {0}")]
    OtherRun(RunId),
    /// It continues another history: the record before it is not the one it was written after.
    #[error("the record before it is not the one it was written after")]
    Fork,
}

/// A chain that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Broken {
    /// The first place that does not fit, from 1.
    pub at_seq: u64,
    /// Why.
    pub why: Fault,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record {}: {}", self.at_seq, self.why)
    }
}

impl Broken {
    /// As an error of the journal at `path`.
    #[must_use]
    pub fn at(self, run: RunId, path: &str) -> JournalError {
        match self.why {
            Fault::Record(error @ WireError::Newer { .. }) => error.at(path),
            _ => JournalError::Damaged { path: path.to_owned(), reason: format!("run {run}, {self}") },
        }
    }
}

/// Reads the record that should follow `head`.
///
/// # Errors
/// [`Broken`] at the place after `head`.
pub fn read_next(run: RunId, head: Head, bytes: &[u8]) -> Result<(Recorded, Sealed), Broken> {
    let at_seq = head.seq + 1;
    let broken = |why| Broken { at_seq, why };
    let (link, recorded, sealed) = wire::open(bytes).map_err(|error| broken(error.into()))?;
    if link.run != run {
        return Err(broken(Fault::OtherRun(link.run)));
    }
    if link.seq != at_seq {
        return Err(broken(Fault::Order { found: link.seq, expected: at_seq }));
    }
    if link.prev != head.hash {
        return Err(broken(Fault::Fork));
    }
    Ok((recorded, sealed))
}

/// Reads all records of a run in order, and verifies that they are one chain from the beginning.
///
/// # Errors
/// The first place that does not fit.
pub fn read_chain<B: AsRef<[u8]>>(
    run: RunId,
    records: impl IntoIterator<Item = B>,
) -> Result<Vec<(Recorded, Sealed)>, Broken> {
    let mut head = Head::EMPTY;
    let mut chain = Vec::new();
    for bytes in records {
        let (recorded, sealed) = read_next(run, head, bytes.as_ref())?;
        head = Head { seq: sealed.seq, hash: sealed.hash };
        chain.push((recorded, sealed));
    }
    Ok(chain)
}

/// Like [`read_chain`], with the number each record is kept under, which must be its own.
///
/// # Errors
/// The first place that does not fit.
pub(crate) fn read_keyed(run: RunId, records: &[(u64, Vec<u8>)]) -> Result<Vec<(Recorded, Sealed)>, Broken> {
    for (expected, (found, _)) in (1..).zip(records) {
        if *found != expected {
            return Err(Broken { at_seq: expected, why: Fault::Order { found: *found, expected } });
        }
    }
    read_chain(run, records.iter().map(|(_, bytes)| bytes))
}

/// Verifies records of elsewhere against those `there`, and returns the ones that are new.
///
/// # Errors
/// A record that does not follow, or differs from the one there.
pub(crate) fn extend(run: RunId, there: &[Sealed], records: &[Vec<u8>]) -> Result<Vec<Sealed>, Broken> {
    let mut head = there.last().map_or(Head::EMPTY, |last| Head { seq: last.seq, hash: last.hash });
    let mut added = Vec::new();
    for bytes in records {
        let link = wire::open(bytes).map_err(|error| Broken { at_seq: head.seq + 1, why: error.into() })?.0;
        let index = link.seq.checked_sub(1).and_then(|index| usize::try_from(index).ok());
        match index.and_then(|index| there.get(index)) {
            Some(same) if same.bytes == *bytes => {}
            Some(_) => return Err(Broken { at_seq: link.seq, why: Fault::Fork }),
            None => {
                let (_, sealed) = read_next(run, head, bytes)?;
                head = Head { seq: sealed.seq, hash: sealed.hash };
                added.push(sealed);
            }
        }
    }
    Ok(added)
}

/// Like [`read_chain`], for the end of the chain only.
///
/// # Errors
/// The first place that does not fit.
pub fn verify_chain<B: AsRef<[u8]>>(run: RunId, records: impl IntoIterator<Item = B>) -> Result<Head, Broken> {
    records.into_iter().try_fold(Head::EMPTY, |head, bytes| {
        let (_, sealed) = read_next(run, head, bytes.as_ref())?;
        Ok(Head { seq: sealed.seq, hash: sealed.hash })
    })
}

/// How a run in the journal stands to the count and head the database keeps of it. No store can tell a lost tail from
/// a short history; this can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// The same history.
    Equal,
    /// The journal has the database's history and more: the usual state, the mirror is written after the journal.
    JournalAhead,
    /// The database knows more records than the journal: a lost tail, or another machine went on.
    JournalBehind,
    /// Two histories.
    Fork,
}

/// Compares the hashes of a run's records, in order, with the count and head in the database. Where the database is
/// ahead only its records can show a fork, see the journal's `adopt`.
#[must_use]
pub fn compare_anchor(journal: &[Digest], db_seq: u64, db_head: Digest) -> Anchor {
    let known = journal.len() as u64;
    if db_seq > known {
        return Anchor::JournalBehind;
    }
    let there = match usize::try_from(db_seq).ok().and_then(|seq| seq.checked_sub(1)) {
        None => Some(Digest::ZERO),
        Some(index) => journal.get(index).copied(),
    };
    match there {
        Some(hash) if hash == db_head && db_seq == known => Anchor::Equal,
        Some(hash) if hash == db_head => Anchor::JournalAhead,
        _ => Anchor::Fork,
    }
}

#[cfg(test)]
mod tests {
    use migengine_engine::id::Timestamp;
    use migengine_engine::run::event::Event;

    use super::*;
    use crate::wire::Link;

    const RUN: RunId = RunId::from_bytes([1; 16]);

    fn chain(run: RunId, actors: &[&str]) -> Vec<Sealed> {
        let mut prev = Digest::ZERO;
        (1..)
            .zip(actors)
            .map(|(seq, actor)| {
                let event = Event::Resumed { actor: (*actor).to_owned() };
                let sealed = wire::seal(Link { run, seq, prev }, Timestamp(0), &event).unwrap();
                prev = sealed.hash;
                sealed
            })
            .collect()
    }

    fn check(records: &[&Sealed], expect: Result<u64, (u64, &str)>) {
        let found = verify_chain(RUN, records.iter().map(|sealed| &sealed.bytes));
        match (found, expect) {
            (Ok(head), Ok(seq)) => assert_eq!(head.seq, seq),
            (Err(broken), Err((seq, why))) => {
                assert_eq!(broken.at_seq, seq, "{broken}");
                assert!(broken.to_string().contains(why), "{broken}");
            }
            (found, expect) => panic!("{found:?} is not {expect:?}"),
        }
    }

    #[test]
    fn a_chain_holds_or_breaks_at_a_place() {
        let a = chain(RUN, &["a", "b", "c"]);
        let b = chain(RUN, &["x", "b", "c"]);
        let other = chain(RunId::from_bytes([2; 16]), &["a"]);
        let cut = Sealed { bytes: a[1].bytes[..40].to_vec(), ..a[1].clone() };
        check(&[], Ok(0));
        check(&[&a[0], &a[1], &a[2]], Ok(3));
        check(&[&a[1]], Err((1, "record 2 stands where 1")));
        check(&[&a[0], &a[2]], Err((2, "record 3 stands where 2")));
        check(&[&a[0], &a[0]], Err((2, "record 1 stands where 2")));
        check(&[&a[0], &b[1]], Err((2, "not the one it was written after")));
        check(&[&other[0]], Err((1, "belongs to run")));
        check(&[&a[0], &cut], Err((2, "checksum")));
    }

    #[test]
    fn an_anchor_tells_behind_from_ahead_from_forked() {
        let hashes: Vec<Digest> = chain(RUN, &["a", "b", "c"]).iter().map(|sealed| sealed.hash).collect();
        let rows = [
            (&hashes[..], 3, hashes[2], Anchor::Equal),
            (&hashes[..], 2, hashes[1], Anchor::JournalAhead),
            (&hashes[..], 0, Digest::ZERO, Anchor::JournalAhead),
            (&hashes[..2], 3, hashes[2], Anchor::JournalBehind),
            (&hashes[..], 3, hashes[1], Anchor::Fork),
            (&hashes[..], 2, hashes[2], Anchor::Fork),
            (&hashes[..], 0, hashes[0], Anchor::Fork),
            (&[], 0, Digest::ZERO, Anchor::Equal),
            (&[], 1, hashes[0], Anchor::JournalBehind),
        ];
        for (journal, seq, head, expect) in rows {
            assert_eq!(compare_anchor(journal, seq, head), expect, "{seq}");
        }
    }
}
