//! Steps that make new things only, one behind the other without waiting: each in a transaction of its own, each fenced by the
//! history row of the one before, and all of them answered in one round trip.
//!
//! What comes behind a step that failed is refused by the server itself: its transaction is aborted, `SET LOCAL` in front of
//! its `COMMIT` is an error there, so the `COMMIT` behind it is not read, and neither is any `BEGIN` until this end sends
//! `ROLLBACK`. Where it is the `COMMIT` that fails, the next fence does not find the history row.

use std::sync::Arc;

use super::alarm::Watch;
use super::pipeline::{Flow, Flying, Open, durability, pipelines};
use super::points::Point;
use super::{DriveError, Driver, Live};
use crate::guard::{Case, Reach};
use crate::migration::{Part, Script};
use crate::pg::failure::Fault;
use crate::pg::flight::{self, After, Cargo, Durability, Gauge, Leaves, Opens, Patience};
use crate::pg::guard::Seen;
use crate::pg::witness::{Mark, Mirror};
use crate::run::journal::Journal;
use crate::run::state::StepIndex;

/// Most steps of a train. What is sent and not answered is what a lost session leaves in doubt.
const CARS: usize = 16;
/// Most bytes of scripts in a train.
const TRAIN_BYTES: usize = 256 << 10;

/// One step of a train, ready to be sent.
struct Car {
    step: StepIndex,
    script: Arc<Script>,
    part: Part,
    name: String,
    case: Case,
    mark: Mark,
    after: After,
    mirror: Mirror,
}

/// The answers to one of them.
struct Arrival {
    /// To the COMMIT of the step before, and when it came, in microseconds.
    before: Option<(Result<(), Fault>, i64)>,
    /// To everything of the step but its COMMIT.
    body: Result<Gauge, Fault>,
}

impl<J: Journal> Driver<'_, J> {
    /// How many of these steps, which follow one another, can travel without waiting.
    pub(super) fn train_of(&self, steps: &[StepIndex]) -> usize {
        let Some(live) = self.session.as_ref().filter(|_| !self.unwinding()) else { return 0 };
        let mut bytes = 0;
        let fits = |step: &&StepIndex| {
            let Some(scripts) = self.scripts.get(**step as usize) else { return false };
            let Some(script) = scripts.up.as_ref().filter(|_| scripts.verify.is_none()) else { return false };
            bytes += script.text.len();
            let quiet =
                |case: &Case| case.reach == Reach::NewOnly && Leaves::of(&live.scribe, case.reach) == Leaves::Nothing;
            script.transactional()
                && pipelines(script)
                && bytes <= TRAIN_BYTES
                && !self.partial.contains(*step)
                && self.cases.get(*step).is_some_and(quiet)
        };
        steps.iter().take(CARS).take_while(fits).count()
    }

    /// Runs some steps that [`Self::train_of`] counted. Afterwards the last of them is open, where all of them did what they
    /// should. Returns how many were seen to.
    pub(super) async fn in_train(
        &mut self,
        steps: &[StepIndex],
        open: &mut Option<Flying>,
    ) -> Result<(Flow, usize), DriveError> {
        let due = open.take();
        let mut cars = Vec::with_capacity(steps.len());
        let mut before = due.as_ref().map(|due| due.open.step);
        for &step in steps {
            match self.car(step, before, cars.is_empty()) {
                Some(car) => cars.push(car),
                None => return Ok((self.no_script(step)?, 0)),
            }
            before = Some(step);
        }
        let mirrored = self.mirror_sent;
        let mut began_us = self.now_us();
        let commit = due.as_ref().map(|due| durability(Reach::NewOnly, &due.landed, began_us));
        let Some(mut live) = self.session.take() else { return Ok((Flow::Stop, 0)) };
        let first = steps.first().copied().unwrap_or_default();
        let (arrivals, seen) = self.telling(live.pid, first, Box::pin(self.ride(&live, &cars, commit))).await;
        self.tell_notices(&mut live);
        self.session = Some(live);
        let mut flying = due.zip(commit);
        let answered = arrivals.len();
        for (index, (car, arrival)) in cars.iter().zip(arrivals).enumerate() {
            let mut landed = Vec::new();
            if let (Some((before, durability)), Some((verdict, at))) = (flying.take(), arrival.before) {
                began_us = at;
                match self.committed(before, durability, verdict, at).await? {
                    Some(waiting) => landed = waiting,
                    None => return Ok((Flow::Stop, index)),
                }
            }
            match arrival.body {
                Ok(gauge) => {
                    let this = Open { step: car.step, mirrored, began_us, gauge, seen };
                    flying = Some((Flying { open: this, landed }, Durability::WithALater));
                }
                Err(fault) => {
                    let flow = self.refused((car.step, &car.script), car.case.clone(), landed, (fault, seen)).await?;
                    return Ok((flow, index + 1));
                }
            }
        }
        if let Some(unsent) = cars.get(answered) {
            // The line broke while they were being sent; whatever arrived, the history knows.
            let fault = Fault::Lost("the line broke".to_owned());
            return Ok((self.faulted(unsent.step, fault).await?, answered));
        }
        *open = flying.map(|(flying, _)| flying);
        self.flush_sometimes().await?;
        Ok((Flow::Continue, steps.len()))
    }

    fn car(&mut self, step: StepIndex, before: Option<StepIndex>, first: bool) -> Option<Car> {
        let script = self.script(step, false)?;
        let part = script.parts.first()?.clone();
        let case = self.cases.remove(&step)?;
        Some(Car {
            step,
            part,
            name: self.session_name(step),
            case,
            mark: self.mark(step),
            after: self.after(before),
            mirror: if first { self.mirror() } else { Mirror::default() },
            script,
        })
    }

    /// Sends all of them, then awaits the answers in order. Fewer arrivals than steps: the line broke at the first that is
    /// missing.
    async fn ride(&self, live: &Live, cars: &[Car], due: Option<Durability>) -> (Vec<Arrival>, Seen) {
        let mut flights = Vec::with_capacity(cars.len());
        for (index, car) in cars.iter().enumerate() {
            self.world.observer.point(Point::StepBefore);
            let durability = if index == 0 { due } else { Some(Durability::WithALater) };
            let cargo = car.cargo(live);
            let sent = async {
                let commit = match durability {
                    Some(durability) => Some(flight::commit(&live.session.client, durability).await?),
                    None => None,
                };
                Ok::<_, tokio_postgres::Error>((commit, flight::launch(&live.session, &live.scribe, &cargo).await?))
            };
            let Ok(sent) = sent.await else { break };
            self.world.observer.point(Point::StepSent);
            flights.push(sent);
        }
        let answers = async {
            let mut arrivals = Vec::with_capacity(flights.len());
            for (commit, flight) in flights {
                let before = match commit {
                    Some(commit) => Some((commit.verdict().await, self.now_us())),
                    None => None,
                };
                self.world.observer.point(Point::StepCommitAnswered);
                let body = flight.arrive().await;
                self.world.observer.point(Point::StepAnswered);
                arrivals.push(Arrival { before, body });
            }
            arrivals
        };
        let Some(strictest) = cars.iter().min_by_key(|car| car.case.limits.budget) else {
            return (Vec::new(), Seen::default());
        };
        let (mut arrivals, seen) = self.watched(live, Watch::in_passing(&strictest.case), answers).await;
        if let Some(last) = arrivals.pop() {
            let body = self.settled(live, last.body, &seen).await;
            arrivals.push(Arrival { body, ..last });
        }
        (arrivals, seen)
    }
}

impl Car {
    fn cargo<'a>(&'a self, live: &Live) -> Cargo<'a> {
        Cargo {
            script: &self.script,
            part: &self.part,
            verify: None,
            name: self.name.clone(),
            settings: String::new(),
            patience: Patience::of(&self.case),
            first: &[],
            sized: Vec::new(),
            opens: Opens::Behind(&self.after),
            leaves: Leaves::Nothing,
            epoch: live.epoch,
            mark: &self.mark,
            mirror: &self.mirror,
        }
    }
}
