//! Watching what runs: who waits behind it, and for how long. Whoever waits too long has it cancelled.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Driver;
use super::Live;
use crate::guard::{self, Case, millis};
use crate::pg::failure::Fault;
use crate::pg::guard::{Monitor, Seen};
use crate::pg::send::send;
use crate::run::journal::Journal;
use crate::run::state::StepIndex;

/// A step that is answered sooner is not watched: most are, and nobody had to wait for long.
const GRACE: Duration = Duration::from_millis(40);
/// Pause between two cancel requests. One that meets the session between two statements has no effect.
const CANCEL_EVERY: Duration = Duration::from_millis(100);

/// The second connection, opened when it is first needed.
#[derive(Default)]
pub(crate) enum Eye {
    /// Not needed so far.
    #[default]
    Closed,
    /// Open.
    Open(Arc<Monitor>),
    /// It could not be opened.
    Blind,
}

/// How a try is watched.
#[derive(Clone, Copy)]
pub(crate) struct Watch {
    /// From when on.
    grace: Duration,
    /// How long somebody may wait behind it; without it, it is watched and never cancelled.
    budget: Option<Duration>,
}

impl Watch {
    /// A step that travels with others.
    pub(crate) fn in_passing(case: &Case) -> Self {
        Self { grace: GRACE, budget: Some(case.limits.budget) }
    }

    /// Steps of which the first has held its locks since `began`.
    pub(crate) fn since(began: Instant, case: &Case) -> Self {
        Self { grace: GRACE.saturating_sub(began.elapsed()), ..Self::in_passing(case) }
    }

    /// A try that is watched from its first moment.
    pub(super) fn closely(budget: Duration) -> Self {
        Self { grace: Duration::ZERO, budget: Some(budget) }
    }
}

impl<J: Journal> Driver<'_, J> {
    /// Awaits an answer, and watches who waits behind it meanwhile. Somebody who waits longer than the budget has the
    /// statement cancelled; its answer tells whether it was.
    pub(crate) async fn watched<T>(&self, live: &Live, watch: Watch, answer: impl Future<Output = T>) -> (T, Seen) {
        let mut seen = Seen::default();
        let answer = self.cancelling(live, answer);
        tokio::pin!(answer);
        tokio::select! {
            biased;
            answer = &mut answer => return (answer, seen),
            () = sleep(watch.grace) => {}
        }
        let alarm = tokio::select! {
            biased;
            answer = &mut answer => Err(answer),
            phase = self.alarm(live.pid, watch.budget, &mut seen) => Ok(phase),
        };
        let answer = match alarm {
            Err(answer) => answer,
            Ok(phase) => {
                seen.cancelled = Some(phase);
                loop {
                    if let Err(error) = live.session.cancel.cancel().await {
                        self.world.observer.say(&format!("the cancel request did not arrive: {error}"));
                    }
                    tokio::select! {
                        biased;
                        answer = &mut answer => break answer,
                        () = sleep(CANCEL_EVERY) => {}
                    }
                }
            }
        };
        seen.end();
        (answer, seen)
    }

    /// A cancel request that came too late for the body of a transaction must not meet its COMMIT.
    pub(crate) async fn settled<T>(&self, live: &Live, body: Result<T, Fault>, seen: &Seen) -> Result<T, Fault> {
        match (body, seen.cancelled) {
            (Ok(done), Some(_)) => barrier(live).await.map(|()| done),
            (body, _) => body,
        }
    }

    /// Returns when somebody has waited too long, and never if nobody can look.
    async fn alarm(&self, pid: i32, budget: Option<Duration>, seen: &mut Seen) -> guard::Cancelled {
        if let Some(monitor) = self.monitor().await {
            match monitor.watch(pid, budget, seen).await {
                Ok(phase) => return phase,
                Err(error) => self.world.observer.say(&format!("the guard lost sight of the step: {error}")),
            }
        }
        std::future::pending().await
    }

    /// The second connection. What it cannot do is told once.
    pub(super) async fn monitor(&self) -> Option<Arc<Monitor>> {
        let mut eye = self.eye.lock().await;
        match &*eye {
            Eye::Open(monitor) if !monitor.is_lost() => return Some(Arc::clone(monitor)),
            Eye::Blind => return None,
            Eye::Open(_) | Eye::Closed => {}
        }
        let world = self.world;
        let name = format!("migengine:{}:guard", self.run_id());
        match Monitor::open(world.target, world.schema, &name, &world.options.settings).await {
            Ok(monitor) => {
                if !monitor.sees_all {
                    world.observer.say(
                        "this role sees only its own sessions (GRANT pg_read_all_stats TO it): the guard cannot see who \
                         holds what a step needs, and goes on with its time limits alone",
                    );
                }
                let monitor = Arc::new(monitor);
                *eye = Eye::Open(Arc::clone(&monitor));
                Some(monitor)
            }
            Err(error) => {
                world.observer.say(&format!(
                    "the guard gets no connection of its own ({error}): only time limits keep the application from waiting"
                ));
                *eye = Eye::Blind;
                None
            }
        }
    }

    /// A statement outside of any transaction: watched, and cancelled only where that leaves nothing behind.
    pub(crate) async fn watched_alone<T>(
        &mut self,
        live: &Live,
        step: StepIndex,
        case: &Case,
        gentle: bool,
        answer: impl Future<Output = T>,
    ) -> (T, Seen) {
        let watch = Watch { grace: GRACE, budget: (!gentle).then_some(case.limits.budget) };
        let (answer, seen) = self.telling(live.pid, step, Box::pin(self.watched(live, watch, answer))).await;
        if seen.cancelled.is_some() {
            drop(barrier(live).await);
        }
        if !seen.longest.is_zero() {
            let words = format!("the longest wait behind it was {}", millis(seen.longest));
            drop(self.tell(step, &words));
        }
        (answer, seen)
    }
}

/// A round trip. A cancel request that is still on its way hits this instead of what comes after.
pub(super) async fn barrier(live: &Live) -> Result<(), Fault> {
    let sent = send(&live.session.client, "SELECT 1").await?;
    sent.answer().await.map(|_| ()).map_err(|(_, error)| Fault::from(error))
}
