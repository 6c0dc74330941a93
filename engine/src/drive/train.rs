//! Steps that make new things only, one behind the other without waiting: each in a transaction of its own, each fenced by the
//! history row of the one before. All of them are sent at once; the answers are taken up in groups, so that the server is at
//! work on the next ones while this end writes down what became of the last.
//!
//! What comes behind a step that failed is refused by the server itself: its transaction is aborted, `SET LOCAL` in front of
//! its `COMMIT` is an error there, so the `COMMIT` behind it is not read, and neither is any `BEGIN` until this end sends
//! `ROLLBACK`. Where it is the `COMMIT` that fails, the next fence does not find the history row. A plain `COMMIT`, which would
//! take an aborted transaction back and leave only the fence in the way, is never sent before its step was answered: it travels
//! at the head of a train, and is awaited before anything may ask the server to cancel, because a cancelled wait for a standby
//! reads like a `COMMIT` that the standby has.

use std::sync::Arc;

use super::alarm::Watch;
use super::pipeline::{Flow, Flying, Landed, Open, durability, pipelines};
use super::points::Point;
use super::{DriveError, Driver, Live};
use crate::guard::{Case, Reach};
use crate::migration::{Part, Script};
use crate::pg::failure::Fault;
use crate::pg::flight::{self, After, Cargo, Commit, Durability, Flight, Gauge, Leaves, Opens, Patience, Row};
use crate::pg::guard::Seen;
use crate::pg::witness::{Mark, Mirror};
use crate::run::journal::Journal;
use crate::run::state::StepIndex;

/// Most steps of a train. What is sent and not answered is what a lost session leaves in doubt.
const CARS: usize = 32;
/// Steps whose answers are awaited together. They have the guard's grace together, too, and with it a connection of its own.
const GROUP: usize = 8;
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

/// One of them, sent: the COMMIT of the step before, where one was due, and everything of the step but its own.
type SentCar<'a> = (Option<Commit>, Flight<'a>);

/// The answers to one of them.
struct Arrival {
    /// To the COMMIT of the step before, and when it came, in microseconds.
    before: Option<(Result<(), Fault>, i64)>,
    /// To everything of the step but its COMMIT.
    body: Result<Gauge, Fault>,
}

/// How a train fared.
enum Ride {
    /// All of it did what it should; the last step is open.
    Through(Flying),
    /// The COMMIT at the head did not take effect, or nobody knows.
    Uncommitted { flying: Flying, durability: Durability, fault: Fault, at: i64 },
    /// The step of this car did not do what it should; those that landed before it wait for the disk.
    Refused { at_car: usize, landed: Vec<Landed>, fault: Fault, seen: Seen },
    /// The line broke before this car was sent.
    Unsent { at_car: usize },
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
        let commit = due.as_ref().map(|due| durability(Reach::NewOnly, &due.landed, self.now_us()));
        let Some(mut live) = self.session.take() else { return Ok((Flow::Stop, 0)) };
        let ride = self.ride(&live, &cars, due.zip(commit)).await;
        self.tell_notices(&mut live);
        self.session = Some(live);
        match ride? {
            Ride::Through(flying) => {
                *open = Some(flying);
                Ok((Flow::Continue, steps.len()))
            }
            Ride::Uncommitted { flying, durability, fault, at } => {
                self.committed(flying, durability, Err(fault), at).await?;
                Ok((Flow::Stop, 0))
            }
            Ride::Refused { at_car, landed, fault, seen } => {
                let Some(car) = cars.get(at_car) else { return Ok((Flow::Stop, at_car)) };
                let flow = self.refused((car.step, &car.script), car.case.clone(), landed, (fault, seen)).await?;
                Ok((flow, at_car + 1))
            }
            Ride::Unsent { at_car } => {
                let Some(car) = cars.get(at_car) else { return Ok((Flow::Stop, at_car)) };
                // Whatever arrived, the history knows.
                let fault = Fault::Lost("the line broke".to_owned());
                Ok((self.faulted(car.step, fault).await?, at_car))
            }
        }
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

    /// Sends all of them, then takes up the answers in order. The session is with the caller: what needs it is left to it.
    async fn ride(&mut self, live: &Live, cars: &[Car], due: Option<(Flying, Durability)>) -> Result<Ride, DriveError> {
        let mirrored = self.mirror_sent;
        let mut began_us = self.now_us();
        let durability = due.as_ref().map(|(_, durability)| *durability);
        let (head, sent) = self.send_off(live, cars, durability).await;
        let mut landed = Vec::new();
        if let (Some(head), Some((flying, durability))) = (head, due) {
            let verdict = head.verdict().await;
            began_us = self.now_us();
            self.world.observer.point(Point::StepCommitAnswered);
            match verdict {
                Ok(()) => landed = self.land(flying, durability, began_us).await?,
                Err(fault) => return Ok(Ride::Uncommitted { flying, durability, fault, at: began_us }),
            }
        }
        let (mut sent, mut seen, mut at_car) = (sent.into_iter(), Seen::default(), 0);
        let mut flying: Option<Flying> = None;
        while sent.len() > 0 {
            let group: Vec<SentCar<'_>> = sent.by_ref().take(GROUP).collect();
            let riding = cars.get(at_car..at_car + group.len()).unwrap_or_default();
            let first = riding.first().map_or(0, |car| car.step);
            let (arrivals, seen_now) = self.telling(live.pid, first, Box::pin(self.answers(live, riding, group))).await;
            // A cancel request that came too late for these may meet a later one.
            seen = seen.and(seen_now);
            for (car, arrival) in riding.iter().zip(arrivals) {
                if let (Some(before), Some((verdict, at))) = (flying.take(), arrival.before) {
                    began_us = at;
                    match verdict {
                        Ok(()) => landed = self.land(before, Durability::WithALater, at).await?,
                        Err(fault) => {
                            let at_car = at_car.saturating_sub(1);
                            return Ok(Ride::Refused { at_car, landed: before.landed, fault, seen });
                        }
                    }
                }
                let last = at_car + 1 == cars.len();
                let body = if last { self.settled(live, arrival.body, &seen).await } else { arrival.body };
                match body {
                    Ok(gauge) => {
                        let open = Open { step: car.step, mirrored, began_us, gauge, seen: seen_now };
                        flying = Some(Flying { open, landed: std::mem::take(&mut landed) });
                    }
                    Err(fault) => return Ok(Ride::Refused { at_car, landed, fault, seen }),
                }
                at_car += 1;
            }
            self.flush_sometimes().await?;
        }
        Ok(match flying {
            Some(flying) if at_car == cars.len() => Ride::Through(flying),
            _ => Ride::Unsent { at_car },
        })
    }

    /// Sends all of them, or as many as the line takes. The COMMIT of the step before the first one, where one is due, comes
    /// back by itself.
    async fn send_off<'a>(
        &self,
        live: &'a Live,
        cars: &'a [Car],
        due: Option<Durability>,
    ) -> (Option<Commit>, Vec<SentCar<'a>>) {
        let mut flights = Vec::with_capacity(cars.len());
        let mut head = None;
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
            let Ok((commit, flight)) = sent.await else { break };
            self.world.observer.point(Point::StepSent);
            let own = if index == 0 {
                head = commit;
                None
            } else {
                commit
            };
            flights.push((own, flight));
            // The connection's task puts on the line what is there, and the server begins.
            if index.is_multiple_of(GROUP) {
                tokio::task::yield_now().await;
            }
        }
        (head, flights)
    }

    /// Awaits the answers to some of them, in order.
    async fn answers(&self, live: &Live, cars: &[Car], sent: Vec<SentCar<'_>>) -> (Vec<Arrival>, Seen) {
        let answers = async {
            let mut arrivals = Vec::with_capacity(sent.len());
            for (commit, flight) in sent {
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
        self.watched(live, Watch::in_passing(&strictest.case), answers).await
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
            row: Row::Own,
            mark: &self.mark,
            mirror: &self.mirror,
        }
    }
}
