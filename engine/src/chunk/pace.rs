//! How many keys the next batch takes.

use std::time::Duration;

/// The size of batches, adapted to the time that their statements take: not to waiting for a turn on the processor or
/// for COMMIT, which have nothing to do with their size.
#[derive(Debug, Clone, PartialEq)]
pub struct Pace {
    target: Duration,
    size: u32,
    least: u32,
    most: u32,
    /// Sizes are near what fits.
    settled: bool,
    /// Keys of a range that failed and that holds a bad row somewhere; sizes do not grow before it is behind.
    suspect: u64,
}

/// Adapting does not go below this; failing does.
const LEAST: u32 = 100;
/// Bounds of one adaptation.
const STEP: (f64, f64) = (0.5, 2.0);
/// Upper bound as long as no batch has come near its target: how many keys fit is not known yet, and small batches spend
/// their time on everything around them.
const FIRST_STEP: f64 = 4.0;
/// A batch that took this part of the target has come near it.
const NEAR: f64 = 0.7;

impl Pace {
    /// Starts with `size` keys.
    #[must_use]
    pub fn new(target: Duration, size: u32, most: u32) -> Self {
        let size = size.clamp(1, most.max(1));
        Self { target, size, least: LEAST.min(size), most: most.max(1), settled: false, suspect: 0 }
    }

    /// Keys that the next batch takes.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.size
    }

    /// A batch of `keys` took `took`. `crowded`: somebody waited behind it.
    pub fn went_through(&mut self, keys: u64, took: Duration, crowded: bool) {
        if self.suspect > 0 {
            self.suspect = self.suspect.saturating_sub(keys);
            if self.suspect > 0 {
                self.size = half(self.suspect);
                return;
            }
            self.size = self.size.max(self.least);
        }
        let factor = self.target.as_secs_f64() / took.as_secs_f64().max(0.000_1);
        self.settled |= factor < 1.0 / NEAR;
        if crowded {
            return self.halve();
        }
        let growth = if self.settled { STEP.1 } else { FIRST_STEP };
        let wanted = f64::from(self.size) * factor.clamp(STEP.0, growth);
        // A batch that found fewer keys than it could take tells nothing about larger ones.
        let full = keys >= u64::from(self.size);
        if factor < 1.0 || full {
            self.size = to_size(wanted).clamp(self.least.min(self.most), self.most);
        }
    }

    /// The next batch takes half as many.
    pub fn halve(&mut self) {
        self.settled = true;
        self.size = (self.size / 2).max(1);
    }

    /// A batch of `keys` holds a row that cannot be changed: halve until it is alone. `false` when it is.
    pub fn close_in(&mut self, keys: u64) -> bool {
        self.suspect = keys;
        self.size = half(keys);
        keys > 1
    }
}

fn half(keys: u64) -> u32 {
    u32::try_from((keys / 2).max(1)).unwrap_or(u32::MAX)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the range of u32 before")]
fn to_size(wanted: f64) -> u32 {
    wanted.clamp(1.0, f64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn the_size_follows_the_time_within_its_bounds() {
        let mut pace = Pace::new(MS(200), 500, 4_000);
        pace.went_through(500, MS(10), false);
        assert_eq!(pace.size(), 2_000, "far from the target, by leaps");
        pace.went_through(2_000, MS(160), false);
        assert_eq!(pace.size(), 2_500);
        pace.went_through(2_500, MS(1), false);
        assert_eq!(pace.size(), 4_000, "no leaps any more, and no more than the most");
        pace.went_through(4_000, MS(400), false);
        assert_eq!(pace.size(), 2_000);
        pace.went_through(2_000, MS(9_000), false);
        assert_eq!(pace.size(), 1_000);
        pace.went_through(1_000, MS(200), true);
        assert_eq!(pace.size(), 500);
        for _ in 0..20 {
            pace.went_through(500, MS(9_000), false);
        }
        assert_eq!(pace.size(), LEAST);
        pace.went_through(7, MS(1), false);
        assert_eq!(pace.size(), LEAST, "a batch that was not full does not let it grow");
    }

    /// Rows 0..n of which one is bad: the bad one is found alone, everything before it goes through exactly once.
    #[test]
    fn the_bad_row_is_closed_in_upon_wherever_it_is() {
        for bad in 0..1_000_u64 {
            let (mut pace, mut at, mut tries) = (Pace::new(MS(200), 300, 5_000), 0_u64, 0);
            loop {
                tries += 1;
                assert!(tries < 60, "row {bad}");
                let keys = u64::from(pace.size()).min(1_000 - at);
                if !(at..at + keys).contains(&bad) {
                    at += keys;
                    pace.went_through(keys, MS(200), false);
                } else if !pace.close_in(keys) {
                    break;
                }
            }
            assert_eq!(at, bad);
        }
    }
}
