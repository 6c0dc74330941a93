//! What the guard saw and did for one step.

use std::time::Duration;

use super::decide::{Cancelled, Setback};
use super::holder::Holder;

/// What happened to one step so far.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tally {
    /// Tries that came to nothing.
    pub attempts: u32,
    /// Of these, the ones that the guard cancelled while the step held its locks.
    pub hold_cancels: u32,
    /// How long the application waited behind the last try.
    pub last_stall: Duration,
    /// The longest time it waited behind any.
    pub longest_stall: Duration,
    /// Who was in the way, as last seen.
    pub blockers: Vec<Holder>,
}

impl Tally {
    /// Counts a stall.
    pub fn stall(&mut self, stall: Duration) {
        self.last_stall = stall;
        self.longest_stall = self.longest_stall.max(stall);
    }

    /// Counts a setback.
    pub fn count(&mut self, setback: Setback, stall: Duration) {
        self.attempts += 1;
        self.hold_cancels += u32::from(setback == Setback::Budget(Cancelled::Holding));
        self.stall(stall);
    }

    /// What to keep of it in the journal, one sentence; nothing where nothing happened. `waited` is the time from the
    /// first look or try to the last.
    #[must_use]
    pub fn summary(&self, waited: Duration) -> Option<String> {
        let quiet = self.attempts == 0 && self.blockers.is_empty();
        if quiet && self.longest_stall.is_zero() {
            return None;
        }
        let behind = if self.longest_stall.is_zero() {
            "nobody was seen waiting behind it".to_owned()
        } else {
            format!("the longest wait behind it was {}", millis(self.longest_stall))
        };
        Some(if quiet {
            behind
        } else {
            let tries = self.attempts + 1;
            let plural = if tries == 1 { "try" } else { "tries" };
            format!("{tries} {plural}, {} in all; {behind}", millis(waited))
        })
    }
}

/// A duration for people: `85 ms`, `6.2 s`, `4 min 5 s`, `1 h 10 min`.
#[must_use]
pub fn millis(duration: Duration) -> String {
    let ms = duration.as_millis();
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        60_000..3_600_000 if ms % 60_000 < 1_000 => format!("{} min", ms / 60_000),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
        _ => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_tells_what_happened_and_nothing_where_nothing_did() {
        let ms = Duration::from_millis;
        let check = |tally: Tally, expected: Option<&str>| {
            assert_eq!(tally.summary(ms(6_130)).as_deref(), expected);
        };
        check(Tally::default(), None);
        check(Tally { longest_stall: ms(27), ..Tally::default() }, Some("the longest wait behind it was 27 ms"));
        check(
            Tally { blockers: vec![Holder::default()], ..Tally::default() },
            Some("1 try, 6.1 s in all; nobody was seen waiting behind it"),
        );
        check(
            Tally { attempts: 2, longest_stall: ms(104), ..Tally::default() },
            Some("3 tries, 6.1 s in all; the longest wait behind it was 104 ms"),
        );
    }
}
