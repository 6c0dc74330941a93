//! How far it has come, in words.

use std::time::Duration;

use crate::guard::millis;

/// What is known of the work.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Meter {
    /// Rows changed, all passes.
    pub rows: u64,
    /// Keys passed, in this pass.
    pub keys: u64,
    /// Keys that there are, by the planner's estimate; 0 for unknown.
    pub estimate: u64,
    /// Keys passed by this runner, and how long that took it.
    pub mine: (u64, Duration),
    /// From 1.
    pub pass: u32,
}

impl Meter {
    /// Keys a second, of this runner; nothing before the first.
    #[must_use]
    pub fn rate(&self) -> Option<f64> {
        let (keys, took) = self.mine;
        (keys > 0).then(|| ratio(keys) / took.as_secs_f64().max(0.001))
    }

    /// How much of this pass is done, from 0 to 1; nothing where the estimate is missing or was too low.
    #[must_use]
    pub fn done(&self) -> Option<f64> {
        (self.estimate > self.keys).then(|| ratio(self.keys) / ratio(self.estimate))
    }

    /// Time left in this pass at this rate.
    #[must_use]
    pub fn left(&self) -> Option<Duration> {
        self.done()?;
        let left = ratio(self.estimate - self.keys) / self.rate()?.max(0.001);
        Some(Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX))
    }
}

/// `120,000 rows, 24 %, 41,000 keys/s, about 9.1 s left`.
#[must_use]
pub fn progress_words(meter: &Meter) -> String {
    let mut words = format!("{} rows", thousands(meter.rows));
    if meter.pass > 1 {
        words.push_str(&format!(", sweep {}", meter.pass - 1));
    }
    if let Some(done) = meter.done() {
        words.push_str(&format!(", {:.0} %", 100.0 * done));
    }
    if let Some(rate) = meter.rate() {
        words.push_str(&format!(", {rate:.0} keys/s"));
    }
    if let Some(left) = meter.left() {
        words.push_str(&format!(", about {} left", millis(left)));
    }
    words
}

#[expect(clippy::cast_precision_loss, reason = "shown to people, rounded")]
fn ratio(count: u64) -> f64 {
    count as f64
}

fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut shown = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_tell_rows_rate_and_time_left() {
        let meter = Meter {
            rows: 120_000,
            keys: 250_000,
            estimate: 1_000_000,
            mine: (250_000, Duration::from_secs(5)),
            pass: 1,
        };
        assert_eq!(progress_words(&meter), "120,000 rows, 25 %, 50000 keys/s, about 15.0 s left");
        let sweep = Meter { pass: 2, keys: 0, estimate: 0, mine: (0, Duration::ZERO), ..meter };
        assert_eq!(progress_words(&sweep), "120,000 rows, sweep 1");
        assert_eq!(thousands(1), "1");
        assert_eq!(thousands(1_234_567), "1,234,567");
    }
}
