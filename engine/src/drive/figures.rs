//! What steps cost: put together from what travels anyway, and noted where it is worth keeping.

use std::time::Duration;

use super::{DriveError, Driver};
use crate::pg::flight::Gauge;
use crate::pg::guard::Seen;
use crate::run::event::Event;
use crate::run::figures::{self, Figures};
use crate::run::journal::Journal;
use crate::run::state::StepIndex;

/// A step that held its locks this long is worth a question about temporary files of its own.
const LONG_MS: u64 = 1_000;

/// What is known before the steps of a window.
#[derive(Default)]
pub(crate) struct Before {
    /// Bytes of the tables that each locks.
    pub(crate) sizes: std::collections::BTreeMap<StepIndex, u64>,
    /// Bytes of temporary files that the database ever wrote.
    pub(crate) temporary: Option<u64>,
}

impl<J: Journal> Driver<'_, J> {
    /// What one transaction cost; `took` is the time from its first message to its COMMIT.
    pub(crate) async fn keep_figures(
        &mut self,
        step: StepIndex,
        gauge: Gauge,
        seen: &Seen,
        took: Duration,
        waited_before: Duration,
    ) -> Result<(), DriveError> {
        let mut figures = Figures {
            lock_wait_ms: ms(seen.own + waited_before),
            lock_hold_ms: ms(took.saturating_sub(seen.own)),
            rows: gauge.rows,
            wal_bytes: gauge.wal_bytes,
            temp_bytes: None,
            size_before: self.before.sizes.remove(&step),
            size_after: gauge.size_after,
        };
        if figures.lock_hold_ms >= LONG_MS {
            figures.temp_bytes = self.temporary_since().await;
        }
        self.note_figures(step, figures)
    }

    pub(crate) fn note_figures(&mut self, step: StepIndex, figures: Figures) -> Result<(), DriveError> {
        if !figures.are_notable() {
            return Ok(());
        }
        let (topic, message) = (figures::TOPIC.to_owned(), figures.to_json());
        self.note(Event::Noted { step: Some(step), topic, message })
    }

    /// Temporary bytes since they were last asked about.
    async fn temporary_since(&mut self) -> Option<u64> {
        let before = self.before.temporary?;
        let (_, now) = self.monitor().await?.sizes(&[]).await.ok()?;
        self.before.temporary = now;
        Some(now?.saturating_sub(before))
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
