//! The audit log: who did what to the schema, when, and how it ended. Its entries are written by triggers of the
//! database in the same transactions as what they tell of, each carries a hash over itself and the entry before it, and
//! the journal keeps heads of the chain. This module is the other half: it computes the same hashes and says where what
//! is stored is not what was written.

use std::collections::BTreeMap;
use std::fmt;

use crate::id::{Digest, Timestamp};

/// The topic of the journal's notes that keep a head of the chain.
pub const TOPIC: &str = "audit";

/// The topic of the journal's note of who runs it and where from.
pub const ORIGIN: &str = "origin";

/// What the first entry's hash covers in place of an entry before it.
const SEED: &[u8] = b"migengine audit 1";

/// One entry, column by column.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // one for one the columns of `audit` in layout.sql
pub struct Entry {
    pub seq: i64,
    pub at: Timestamp,
    pub action: String,
    pub run: Option<String>,
    pub migration: Option<String>,
    pub epoch: i64,
    pub role: String,
    pub address: Option<String>,
    pub application: Option<String>,
    pub origin: Option<String>,
    pub content: Option<Vec<u8>>,
    pub tokens: Option<Vec<u8>>,
    pub sql: Option<String>,
    pub detail: Option<String>,
    pub hash: Vec<u8>,
}

/// An entry's place and hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// Its number, from 1; 0 is before the first.
    pub seq: i64,
    /// Its hash.
    pub hash: Digest,
}

/// As the journal keeps it.
impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.seq, self.hash)
    }
}

impl Anchor {
    /// Reads what the journal keeps.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (seq, hash) = text.split_once(' ')?;
        Some(Self { seq: seq.parse().ok()?, hash: Digest::from_hex(hash)? })
    }
}

/// The hash of an entry, which covers the hash of the one before it.
#[must_use]
pub fn digest(before: &[u8], entry: &Entry) -> Digest {
    use serde_json::Value;
    let text = |text: &Option<String>| text.clone().map_or(Value::Null, Value::String);
    let hex = |bytes: &Option<Vec<u8>>| {
        bytes
            .as_ref()
            .map_or(Value::Null, |bytes| Value::String(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    };
    let cells: [Value; 14] = [
        entry.seq.into(),
        entry.at.0.into(),
        entry.action.as_str().into(),
        text(&entry.run),
        text(&entry.migration),
        entry.epoch.into(),
        entry.role.as_str().into(),
        text(&entry.address),
        text(&entry.application),
        text(&entry.origin),
        hex(&entry.content),
        hex(&entry.tokens),
        text(&entry.sql),
        text(&entry.detail),
    ];
    // As PostgreSQL's json_build_array writes it, which puts a space behind each comma.
    let cells = cells.map(|cell| cell.to_string()).join(", ");
    let covered = [before, b"[", cells.as_bytes(), b"]"].concat();
    Digest::of(&covered)
}

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The entry's columns do not give its hash, or it does not follow the one before it.
    Altered {
        /// Which.
        seq: i64,
    },
    /// Entries are missing before this one.
    Missing {
        /// The first that is missing.
        from: i64,
        /// The last.
        to: i64,
    },
    /// Entries are missing at the end, or there are more than the head knows.
    End {
        /// The last entry.
        last: i64,
        /// The last one by the head.
        head: i64,
    },
    /// The head was deleted and made again from what there was; what was missing at the end then is not known.
    HeadLost {
        /// The entry that says so.
        seq: i64,
    },
    /// The journal remembers another entry in this place: the log was written anew.
    Rewritten {
        /// Which.
        seq: i64,
    },
    /// The history says something that no entry tells of.
    History {
        /// The migration.
        id: String,
        /// In words.
        what: &'static str,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Altered { seq } => write!(f, "entry {seq} is not as it was written, or not in its place"),
            Self::HeadLost { seq } => {
                write!(f, "the head of the log was deleted before entry {seq}: entries before that one may be missing")
            }
            Self::Missing { from, to } if from == to => write!(f, "entry {from} is missing"),
            Self::Missing { from, to } => write!(f, "entries {from} to {to} are missing"),
            Self::End { last, head } => write!(f, "the log ends with entry {last}, and its head knows of {head}"),
            Self::Rewritten { seq } => write!(f, "entry {seq} is another one than the journal remembers"),
            Self::History { id, what } => write!(f, "{id}: {what}"),
        }
    }
}

/// Goes through the log, entry by entry.
#[derive(Debug)]
pub struct Verifier {
    before: Vec<u8>,
    last: i64,
    findings: Vec<Finding>,
    anchors: BTreeMap<i64, Digest>,
    /// What the entries say is in effect: the checksum of each migration.
    in_effect: BTreeMap<String, Vec<u8>>,
}

impl Verifier {
    /// `anchors` are the heads that the journal remembers.
    #[must_use]
    pub fn new(anchors: impl IntoIterator<Item = Anchor>) -> Self {
        Self {
            before: Digest::of(SEED).as_bytes().to_vec(),
            last: 0,
            findings: Vec::new(),
            anchors: anchors.into_iter().filter(|anchor| anchor.seq > 0).map(|a| (a.seq, a.hash)).collect(),
            in_effect: BTreeMap::new(),
        }
    }

    /// The next entry, in the order of their numbers.
    pub fn push(&mut self, entry: &Entry) {
        if entry.seq > self.last + 1 {
            self.findings.push(Finding::Missing { from: self.last + 1, to: entry.seq - 1 });
        } else if digest(&self.before, entry).as_bytes().as_slice() != entry.hash {
            self.findings.push(Finding::Altered { seq: entry.seq });
        }
        if self.anchors.remove(&entry.seq).is_some_and(|hash| hash.as_bytes().as_slice() != entry.hash) {
            self.findings.push(Finding::Rewritten { seq: entry.seq });
        }
        match (entry.action.as_str(), &entry.migration) {
            ("applied", Some(id)) => drop(self.in_effect.insert(id.clone(), entry.tokens.clone().unwrap_or_default())),
            ("reversed" | "withdrawn", Some(id)) => drop(self.in_effect.remove(id)),
            ("head_lost", _) => self.findings.push(Finding::HeadLost { seq: entry.seq }),
            ("edited", id) => self.findings.push(Finding::History {
                id: id.clone().unwrap_or_else(|| "the history".to_owned()),
                what: "the history was changed by hand",
            }),
            _ => {}
        }
        self.before.clone_from(&entry.hash);
        self.last = entry.seq;
    }

    /// The end: the head as it is stored, and what the history says is in effect, with the checksum of the tokens.
    #[must_use]
    pub fn finish(mut self, head: Option<Anchor>, history: &BTreeMap<String, Vec<u8>>) -> Vec<Finding> {
        let head = head.map_or((0, Vec::new()), |head| (head.seq, head.hash.as_bytes().to_vec()));
        if head != (self.last, self.before) {
            self.findings.push(Finding::End { last: self.last, head: head.0 });
        }
        self.findings.extend(self.anchors.keys().map(|seq| Finding::Missing { from: *seq, to: *seq }));
        for (id, tokens) in history {
            let what = match self.in_effect.get(id) {
                None => "in effect by the history, and no entry says so",
                Some(told) if told != tokens => "the history holds another script than the one whose entry there is",
                Some(_) => continue,
            };
            self.findings.push(Finding::History { id: id.clone(), what });
        }
        for id in self.in_effect.keys().filter(|id| !history.contains_key(*id)) {
            let what = "in effect by the log, and not in the history";
            self.findings.push(Finding::History { id: id.clone(), what });
        }
        self.findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(length: i64) -> Vec<Entry> {
        let mut before = Digest::of(SEED).as_bytes().to_vec();
        let entry = |seq| {
            let mut entry = Entry {
                seq,
                at: Timestamp(seq * 1000),
                action: "applied".to_owned(),
                run: None,
                migration: Some(format!("{seq:03}_m")),
                epoch: 1,
                role: "me".to_owned(),
                address: None,
                application: Some(String::new()),
                origin: Some("{}".to_owned()),
                content: Some(vec![1]),
                tokens: Some(vec![2]),
                sql: Some("SELECT 1".to_owned()),
                detail: None,
                hash: Vec::new(),
            };
            entry.hash = digest(&before, &entry).as_bytes().to_vec();
            before.clone_from(&entry.hash);
            entry
        };
        (1..=length).map(entry).collect()
    }

    fn findings(log: &[Entry], head: &Entry, anchors: &[Anchor]) -> Vec<Finding> {
        let mut verifier = Verifier::new(anchors.iter().copied());
        log.iter().for_each(|entry| verifier.push(entry));
        let history = log.iter().filter_map(|entry| Some((entry.migration.clone()?, vec![2]))).collect();
        let head = Anchor { seq: head.seq, hash: Digest::from_slice(&head.hash).unwrap() };
        verifier.finish(Some(head), &history)
    }

    #[test]
    fn a_log_as_it_was_written_has_no_findings() {
        let log = log(5);
        assert_eq!(findings(&log, &log[4], &[]), []);
    }

    #[test]
    fn every_edit_of_every_column_is_found() {
        let whole = log(3);
        let edits: [fn(&mut Entry); 15] = [
            |e| e.seq += 10,
            |e| e.at.0 += 1,
            |e| e.action.push('x'),
            |e| e.run = Some(String::new()),
            |e| e.migration = None,
            |e| e.epoch += 1,
            |e| e.role.push('x'),
            |e| e.address = Some("10.0.0.1".to_owned()),
            |e| e.application = None,
            |e| e.origin = None,
            |e| e.content = None,
            |e| e.tokens = Some(vec![3]),
            |e| e.sql = Some("SELECT 2".to_owned()),
            |e| e.detail = Some(String::new()),
            |e| e.hash[0] ^= 1,
        ];
        for (number, edit) in edits.iter().enumerate() {
            for place in 0..3 {
                let mut log = whole.clone();
                edit(&mut log[place]);
                assert_ne!(findings(&log, &whole[2], &[]), [], "column {number} of entry {place}");
            }
        }
    }

    #[test]
    fn deleted_entries_and_swapped_ones_are_found() {
        let whole = log(4);
        let named = |place: usize| {
            let mut log = whole.clone();
            log.remove(place);
            findings(&log, &whole[3], &[])
        };
        assert!(named(0).contains(&Finding::Missing { from: 1, to: 1 }));
        assert!(named(2).contains(&Finding::Missing { from: 3, to: 3 }));
        assert!(named(3).contains(&Finding::End { last: 3, head: 4 }));
        let mut swapped = whole.clone();
        swapped.swap(1, 2);
        (swapped[1].seq, swapped[2].seq) = (2, 3);
        assert!(findings(&swapped, &whole[3], &[]).contains(&Finding::Altered { seq: 2 }));
    }

    #[test]
    fn a_log_written_anew_does_not_agree_with_the_journal() {
        let whole = log(3);
        let anchor = |entry: &Entry| Anchor { seq: entry.seq, hash: Digest::from_slice(&entry.hash).unwrap() };
        assert_eq!(findings(&whole, &whole[2], &[anchor(&whole[1])]), []);
        let other = Anchor { seq: 2, hash: Digest::of(b"another") };
        assert_eq!(findings(&whole, &whole[2], &[other]), [Finding::Rewritten { seq: 2 }]);
        assert_eq!(findings(&whole[..2], &whole[1], &[anchor(&whole[2])]), [Finding::Missing { from: 3, to: 3 }]);
        assert_eq!(Anchor::parse(&other.to_string()), Some(other));
        assert_eq!(Anchor::parse("x y"), None);
    }
}
