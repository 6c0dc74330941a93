//! What a step cost the database, where that is worth keeping: a note of the journal with the topic [`TOPIC`], as JSON.
//! Small steps leave none, so that a thousand of them cost the journal nothing.

use serde::{Deserialize, Serialize};

/// The topic of the note.
pub const TOPIC: &str = "figures";

/// What a step cost. What was not measured is absent; nothing of it is certain to the byte, because WAL and temporary
/// files are counted by the server for everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Figures {
    /// Milliseconds it waited for locks, as far as it was seen waiting: short waits are not.
    pub lock_wait_ms: u64,
    /// Milliseconds it held them, from its first statement to its COMMIT.
    pub lock_hold_ms: u64,
    /// Rows that its statements returned or changed.
    pub rows: u64,
    /// Bytes of WAL that the server wrote meanwhile, whoever caused them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wal_bytes: Option<u64>,
    /// Bytes of temporary files that the database wrote meanwhile, whoever caused them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temp_bytes: Option<u64>,
    /// Bytes of the tables that it locked, with their indexes, before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_before: Option<u64>,
    /// The same after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_after: Option<u64>,
}

/// Holding locks that long, waiting for them that long, or writing that much WAL is worth keeping.
const HOLD_MS: u64 = 100;
const WAIT_MS: u64 = 20;
const WAL: u64 = 1 << 20;

impl Figures {
    /// Whether they are worth a note.
    #[must_use]
    pub fn are_notable(&self) -> bool {
        self.lock_hold_ms >= HOLD_MS || self.lock_wait_ms >= WAIT_MS || self.wal_bytes.is_some_and(|bytes| bytes >= WAL)
    }

    /// Of two parts of one step: sums, the size before the first and after the last.
    #[must_use]
    pub fn and(self, later: Self) -> Self {
        let sum =
            |one: Option<u64>, two: Option<u64>| one.map_or(two, |one| Some(one.saturating_add(two.unwrap_or(0))));
        Self {
            lock_wait_ms: self.lock_wait_ms.saturating_add(later.lock_wait_ms),
            lock_hold_ms: self.lock_hold_ms.saturating_add(later.lock_hold_ms),
            rows: self.rows.saturating_add(later.rows),
            wal_bytes: sum(self.wal_bytes, later.wal_bytes),
            temp_bytes: sum(self.temp_bytes, later.temp_bytes),
            size_before: self.size_before.or(later.size_before),
            size_after: later.size_after.or(self.size_after),
        }
    }

    /// As the note has them.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// From a note.
    #[must_use]
    pub fn parse(note: &str) -> Option<Self> {
        serde_json::from_str(note).ok()
    }

    /// `held locks for 1.2 s, waited 40 ms for them, 1000000 rows, 79.0 MB of WAL, tables 65.0 MB -> 86.0 MB`.
    #[must_use]
    pub fn words(&self) -> String {
        let ms = |ms| crate::guard::millis(std::time::Duration::from_millis(ms));
        let mut words = vec![format!("held locks for {}", ms(self.lock_hold_ms))];
        if self.lock_wait_ms > 0 {
            words.push(format!("waited {} for them", ms(self.lock_wait_ms)));
        }
        if self.rows > 0 {
            words.push(format!("{} {}", self.rows, if self.rows == 1 { "row" } else { "rows" }));
        }
        // What would show as 0.0 MB says nothing.
        let worth = |bytes: &u64| *bytes >= 1 << 17;
        words.extend(self.wal_bytes.filter(worth).map(|bytes| format!("{} of WAL", megabytes(bytes))));
        words.extend(self.temp_bytes.filter(|bytes| *bytes > 0).map(|bytes| format!("{} temporary", megabytes(bytes))));
        words.extend(match (self.size_before, self.size_after) {
            (Some(before), Some(after)) => Some(format!("tables {} -> {}", megabytes(before), megabytes(after))),
            (None, Some(size)) | (Some(size), None) => Some(format!("tables {}", megabytes(size))),
            (None, None) => None,
        });
        words.join(", ")
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{}.{} MB", bytes >> 20, ((bytes & 0xf_ffff) * 10) >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_comes_back_and_says_only_what_was_measured() {
        let rewrite = Figures {
            lock_hold_ms: 1_200,
            rows: 5,
            wal_bytes: Some(79 << 20),
            size_before: Some(65 << 20),
            size_after: Some((86 << 20) + (1 << 19)),
            ..Figures::default()
        };
        assert_eq!(Figures::parse(&rewrite.to_json()), Some(rewrite));
        assert_eq!(rewrite.words(), "held locks for 1.2 s, 5 rows, 79.0 MB of WAL, tables 65.0 MB -> 86.5 MB");
        let small = Figures { lock_hold_ms: 3_000, rows: 1, wal_bytes: Some(300), ..Figures::default() };
        assert_eq!(small.words(), "held locks for 3.0 s, 1 row");
        assert!(!rewrite.to_json().contains("temp_bytes"));
        assert_eq!(Figures::parse("{\"rows\":3,\"unheard_of\":1}").map(|figures| figures.rows), Some(3));
        assert_eq!(Figures::parse("prose"), None);
    }

    #[test]
    fn small_steps_are_not_worth_a_note_and_parts_add_up() {
        assert!(!Figures { rows: 10, lock_hold_ms: 99, wal_bytes: Some(10_000), ..Figures::default() }.are_notable());
        assert!(Figures { lock_wait_ms: 20, ..Figures::default() }.are_notable());
        let one =
            Figures { rows: 1, wal_bytes: Some(1), size_before: Some(7), size_after: Some(8), ..Figures::default() };
        let two = Figures { rows: 2, size_before: Some(8), size_after: Some(9), ..Figures::default() };
        let both = Figures { rows: 3, size_after: Some(9), ..one };
        assert_eq!(one.and(two), both);
    }
}
