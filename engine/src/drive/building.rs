//! How far an index build has come, told while it runs.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::sleep;

use super::Driver;
use crate::run::journal::Journal;
use crate::run::state::StepIndex;

/// Pause between two sentences. Shorter builds are not worth one.
const EVERY: Duration = Duration::from_secs(2);

impl<J: Journal> Driver<'_, J> {
    /// Tells of the build that a backend is at, by what the server says of it. Goes on until it is dropped.
    pub(crate) async fn tell_building(&self, pid: i32, step: StepIndex) -> Infallible {
        loop {
            sleep(EVERY).await;
            let Some(monitor) = self.monitor().await else { continue };
            // What cannot be read is not told; the guard says by itself when it sees nothing.
            if let Ok(Some(words)) = monitor.building(pid).await {
                self.world.observer.say(&format!("  progress  {}: {words}", self.run.step_name(step)));
            }
        }
    }
}
