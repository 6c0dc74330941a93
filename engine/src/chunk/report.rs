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

/// `120,000 rows, 24 %, 41,000 keys/s, about 9.1 s left`.
#[must_use]
pub fn progress_words(meter: &Meter) -> String {
    let mut words = format!("{} rows", thousands(meter.rows));
    let (keys, took) = meter.mine;
    let rate = ratio(keys) / took.as_secs_f64().max(0.001);
    if meter.pass > 1 {
        words.push_str(&format!(", sweep {}", meter.pass - 1));
    }
    let left = meter.estimate.saturating_sub(meter.keys);
    if meter.estimate > 0 && left > 0 {
        words.push_str(&format!(", {:.0} %", 100.0 * ratio(meter.keys) / ratio(meter.estimate)));
    }
    if keys > 0 {
        words.push_str(&format!(", {rate:.0} keys/s"));
        if meter.estimate > 0 && left > 0 {
            let eta = Duration::try_from_secs_f64(ratio(left) / rate.max(0.001)).unwrap_or_default();
            words.push_str(&format!(", about {} left", millis(eta)));
        }
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
