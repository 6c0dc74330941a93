//! How far a replica is behind, by where the WAL was when. The server's own `replay_lag` is the age of the last record
//! that was replayed: while a replica replays nothing at all, it stays as it was.

use std::collections::VecDeque;
use std::time::Duration;

/// Where the WAL was, at moments since the work began.
#[derive(Debug, Clone, Default)]
pub struct Trail(VecDeque<(Duration, i64)>);

/// Pause between two moments that are kept.
const EVERY: Duration = Duration::from_millis(100);
/// Most moments that are kept; the oldest ones tell how far a replica is behind.
const MOST: usize = 4_096;

impl Trail {
    /// How long ago the WAL was where the slowest replica is now. `now` is the time since the work began, `written` and
    /// `replayed` are bytes of WAL; without `replayed` there is no replica, or this role may not see it.
    pub fn behind(&mut self, now: Duration, written: i64, replayed: Option<i64>) -> Option<Duration> {
        let Some(replayed) = replayed else {
            self.0.clear();
            return None;
        };
        while self.0.front().is_some_and(|(_, at)| *at <= replayed) {
            self.0.pop_front();
        }
        let due = self.0.back().is_none_or(|(when, _)| now.saturating_sub(*when) >= EVERY);
        if written > replayed && due && self.0.len() < MOST {
            self.0.push_back((now, written));
        }
        Some(self.0.front().map_or(Duration::ZERO, |(when, _)| now.saturating_sub(*when)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_that_stands_still_falls_behind_and_catches_up() {
        let (mut trail, ms) = (Trail::default(), Duration::from_millis);
        assert_eq!(trail.behind(ms(0), 100, None), None);
        assert_eq!(trail.behind(ms(0), 100, Some(100)), Some(ms(0)));
        for (now, written, replayed, behind) in [
            (200, 200, 100, 0),
            (400, 300, 100, 200),
            (3_200, 400, 100, 3_000),
            (3_300, 500, 250, 2_900),
            (3_400, 500, 400, 100),
            (3_500, 500, 500, 0),
            (9_000, 500, 500, 0),
        ] {
            assert_eq!(trail.behind(ms(now), written, Some(replayed)), Some(ms(behind)), "{now}");
        }
    }

    #[test]
    fn it_stays_small_however_long_a_replica_stands_still() {
        let mut trail = Trail::default();
        for second in 0..10_000_i64 {
            trail.behind(Duration::from_secs(second.unsigned_abs()), second + 1, Some(0));
        }
        assert_eq!(trail.0.len(), MOST);
        assert_eq!(trail.behind(Duration::from_secs(10_000), 10_001, Some(0)), Some(Duration::from_secs(10_000)));
    }
}
