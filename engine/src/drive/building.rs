//! How far an index build has come, told while it runs.

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::sleep;

use super::Driver;
use crate::progress::Progress;
use crate::run::journal::Journal;
use crate::run::state::StepIndex;

/// Pause between two looks.
const EVERY: Duration = Duration::from_millis(500);

impl<J: Journal> Driver<'_, J> {
    /// Tells of the build that a backend is at, by what the server says of it. Goes on until it is dropped.
    async fn tell_building(&self, pid: i32, step: StepIndex) -> Infallible {
        loop {
            sleep(EVERY).await;
            let Some(monitor) = Box::pin(self.monitor()).await else { continue };
            // What cannot be read is not told; the guard says by itself when it sees nothing.
            if let Ok(Some(building)) = Box::pin(monitor.building(pid)).await {
                self.come(step, &Progress::Building(building));
            }
        }
    }

    /// Awaits an answer, and tells meanwhile of the index that is built for it, if one is.
    /// The answer is boxed, because it is large, and would be part of every future around it.
    pub(crate) async fn telling<T>(&self, pid: i32, step: StepIndex, answer: Pin<Box<impl Future<Output = T>>>) -> T {
        tokio::select! {
            biased;
            done = answer => done,
            never = self.tell_building(pid, step) => match never {},
        }
    }

    /// Tells how far a step has come.
    pub(crate) fn come(&self, step: StepIndex, progress: &Progress) {
        self.world.observer.progress(Some(self.run.step_name(step)), progress);
    }
}
