//! When the work holds between two batches.

use std::time::Duration;

/// What the server says of itself between two batches. What it does not say (no replicas, no right to see them) is
/// absent, and holds nothing up.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Facts {
    /// Who paused the work, and since when.
    pub paused: Option<String>,
    /// How far the slowest replica is behind.
    pub lag: Option<Duration>,
    /// Bytes of WAL that were written, and up to which the slowest replica has replayed them.
    pub written: i64,
    /// See there; nothing where no replica streams, or where this role may not see it.
    pub replayed: Option<i64>,
    /// Bytes of WAL that may still be written before a replication slot loses what it needs.
    pub slot_left: Option<i64>,
    /// WAL segments that wait to be archived.
    pub archive_backlog: Option<i64>,
    /// Whether the time of day is outside of the window.
    pub outside_window: bool,
    /// What the author's own query says: true holds.
    pub author: bool,
}

/// Segments waiting to be archived beyond which the archiver is taken to be behind (the figure GitLab uses).
const ARCHIVE_MAX: i64 = 42;
/// Bytes that a slot must have left.
const SLOT_MIN: i64 = 64 << 20;

/// A reason to hold, as the end of a sentence.
pub type Hold = String;

/// Why to hold, if there is a reason. A pause by a person comes first: it is what they want to see.
#[must_use]
pub fn hold(facts: &Facts, max_lag: Duration, window: Option<&(String, String)>) -> Option<Hold> {
    if let Some(paused) = &facts.paused {
        return Some(format!("paused {paused}; `migengine resume` lets it go on"));
    }
    if let (true, Some((from, to))) = (facts.outside_window, window) {
        return Some(format!("it may work between {from} and {to} by the server's clock"));
    }
    if let Some(lag) = facts.lag.filter(|lag| *lag > max_lag) {
        return Some(format!("a replica is {} behind", crate::guard::millis(lag)));
    }
    if let Some(left) = facts.slot_left.filter(|left| *left < SLOT_MIN) {
        return Some(format!("a replication slot would lose its WAL after {} MB more", left >> 20));
    }
    if let Some(backlog) = facts.archive_backlog.filter(|backlog| *backlog > ARCHIVE_MAX) {
        return Some(format!("{backlog} WAL segments wait to be archived"));
    }
    facts.author.then(|| "the script's own throttle query says so".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_holds_and_silence_does_not() {
        let window = ("22:00".to_owned(), "06:00".to_owned());
        let check = |facts: Facts, expected: Option<&str>| {
            let reason = hold(&facts, Duration::from_secs(5), Some(&window));
            match expected {
                None => assert_eq!(reason, None),
                Some(words) => assert!(reason.as_ref().is_some_and(|reason| reason.contains(words)), "{reason:?}"),
            }
        };
        check(Facts::default(), None);
        check(Facts { lag: Some(Duration::from_secs(5)), slot_left: Some(1 << 30), ..Facts::default() }, None);
        check(Facts { lag: Some(Duration::from_secs(6)), ..Facts::default() }, Some("replica is 6.0 s behind"));
        check(Facts { slot_left: Some(32 << 20), ..Facts::default() }, Some("32 MB"));
        check(Facts { archive_backlog: Some(43), ..Facts::default() }, Some("43 WAL segments"));
        check(Facts { outside_window: true, ..Facts::default() }, Some("between 22:00 and 06:00"));
        check(Facts { author: true, ..Facts::default() }, Some("throttle query"));
        let paused = Some("by ada".to_owned());
        check(Facts { paused, author: true, ..Facts::default() }, Some("paused by ada"));
    }
}
