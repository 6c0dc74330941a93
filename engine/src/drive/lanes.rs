//! Steps side by side (`--jobs`): lanes with a session of their own each, all fenced by the epoch of the session that
//! holds the runner lock. What is begun when is decided by `run::schedule`; what became of it is written by the desk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::join_all;
use tokio::sync::mpsc;

use super::desk::{Desk, LaneObserver, Lanes, Report};
use super::{DriveError, Driver, Live, StepScripts, World};
use crate::id::Timestamp;
use crate::pg::connect::ConnectError;
use crate::pg::failure::Fault;
use crate::pg::lock;
use crate::pg::session::Session;
use crate::pg::witness::Scribe;
use crate::run::footprint::Footprint;
use crate::run::journal::{Holding, Journal};
use crate::run::state::StepIndex;

/// Which backend a lane is.
const BACKEND: &str =
    "SELECT pid, (extract(epoch FROM backend_start) * 1000000)::bigint FROM pg_stat_get_activity(pg_backend_pid())";

impl<J: Journal> Driver<'_, J> {
    /// Applies steps on several sessions, as the graph allows. Returns when all of them have ended.
    pub(crate) async fn side_by_side(&mut self, steps: &[StepIndex], jobs: usize) -> Result<(), DriveError> {
        self.held.store(false, Ordering::Relaxed);
        let before = self.run.events;
        // Every effect of a run comes behind records of it in the database.
        self.mirror_now().await;
        let Some(epoch) = self.session.as_ref().map(|live| live.epoch) else { return Ok(()) };
        let world = self.world;
        let (sender, mut reports) = mpsc::unbounded_channel();
        let desk = Desk { journal: world.journal, reports: sender.clone() };
        let observer = LaneObserver(world.observer);
        let lane_world = World {
            journal: &desk,
            target: world.target,
            schema: world.schema,
            options: world.options,
            observer: &observer,
            clock: world.clock,
            stop: world.stop.clone(),
            journal_epoch: world.journal_epoch,
        };
        let sessions = self.open_lanes(steps.len().min(jobs), epoch).await?;
        let Some(sessions) = sessions else { return Ok(()) };
        if sessions.len() < 2 {
            drop(sessions);
            return self.pipeline(steps).await;
        }
        let (mut orders, mut at_home) = (Vec::new(), Vec::new());
        for (number, live) in sessions.into_iter().enumerate() {
            let (order, given) = mpsc::unbounded_channel();
            orders.push(order);
            at_home.push(self.lane(&lane_world, live).serve(number, given, sender.clone()));
        }
        let prints = footprints(&self.scripts);
        let lanes = Lanes { at_work: vec![Vec::new(); orders.len()], orders, prints: &prints };
        let (outcome, losses) = tokio::join!(self.attend(lanes, &mut reports), join_all(at_home));
        self.held.store(false, Ordering::Relaxed);
        let lost: Vec<StepIndex> = losses.into_iter().flat_map(BTreeMap::into_iter).map(|(step, _)| step).collect();
        for step in &lost {
            *self.losses.entry(*step).or_default() += 1;
        }
        if !lost.is_empty() {
            // What became of it is found out under a lock that proves the lane's session to be gone.
            self.session = None;
        }
        outcome?;
        self.flush().await?;
        if self.run.events == before && self.session.is_some() && !self.stopping() {
            // Nothing could be handed out, so nothing can be side by side.
            return self.pipeline(steps).await;
        }
        Ok(())
    }

    /// Sessions that hold a share of the lock. As many as the server gives; nothing where the lock itself is gone.
    async fn open_lanes(&mut self, wanted: usize, epoch: crate::id::Epoch) -> Result<Option<Vec<Live>>, DriveError> {
        let Some(live) = self.session.as_ref() else { return Ok(None) };
        if let Err(error) = lock::admit_lanes(&live.session).await {
            self.world.observer.say(&format!("the connection was lost: {error}"));
            self.session = None;
            return Ok(None);
        }
        let world = self.world;
        let (run, errand) = (self.run_id(), self.errand());
        let opened = join_all((1..=wanted).map(|number| async move {
            let name = format!("migengine:{run}:lane{number}");
            let session = Session::open(world.target, world.schema, &name, &world.options.settings).await;
            let session = session.map_err(|ConnectError { message, .. }| message)?;
            let client = &session.client;
            let none: [(&(dyn tokio_postgres::types::ToSql + Sync), tokio_postgres::types::Type); 0] = [];
            // The settings of the session that holds the lock: what is told as applied is durable on every lane.
            let (reset, joined, scribe, pid) = tokio::join!(
                session.reset(),
                lock::join_lanes(&session),
                Scribe::prepare(client, world.schema, run, errand),
                client.query_typed(BACKEND, &none)
            );
            let said = |error: tokio_postgres::Error| match Fault::from(error) {
                Fault::Lost(why) => why,
                Fault::Refused(failure) => failure.message,
            };
            reset.map_err(said)?;
            let (pid, start) = pid.map_err(said)?.first().map_or((0, 0), |row| (row.get(0), row.get(1)));
            match joined.map_err(said)? {
                true => Ok(Live {
                    scribe: scribe.map_err(said)?.under(epoch),
                    session,
                    epoch,
                    pid,
                    backend_start: Timestamp(start),
                }),
                false => Err("another runner is about to take over".to_owned()),
            }
        }));
        let mut lanes: Vec<Live> = Vec::new();
        for lane in opened.await {
            match lane {
                Ok(lane) => lanes.push(lane),
                Err(why) => world.observer.say(&format!("one session less than asked for: {why}")),
            }
        }
        let holding = |live: &Live| Holding { pid: live.pid, backend_start: live.backend_start };
        let all = self.session.iter().chain(&lanes).map(holding).collect();
        match world.journal.hold(all).await {
            Ok(()) => Ok(Some(lanes)),
            Err(error) => Err(error.into()),
        }
    }

    /// A driver for the steps that one session gets. It knows the run as it is now, and of what comes only its own part.
    fn lane<'l>(&self, world: &'l World<'l, Desk<'l, J>>, live: Live) -> Driver<'l, Desk<'l, J>> {
        Driver {
            world,
            run: self.run.clone(),
            scripts: Arc::clone(&self.scripts),
            planned_at: None,
            session: Some(live),
            queue: Vec::new(),
            writing: None,
            unmirrored: Vec::new(),
            mirror_sent: 0,
            progress: self.progress.clone(),
            partial: self.partial.clone(),
            ledger: None,
            flushed_at: (world.clock)(),
            cases: BTreeMap::new(),
            before: super::figures::Before::default(),
            eye: Arc::clone(&self.eye),
            held: Arc::clone(&self.held),
            pause: Arc::clone(&self.pause),
            losses: BTreeMap::new(),
            lock_losses: 0,
        }
    }
}

impl<J: Journal> Driver<'_, J> {
    /// Runs what it is given until there is nothing more to come. Returns the steps during which the session was lost.
    async fn serve(
        mut self,
        lane: usize,
        mut given: mpsc::UnboundedReceiver<Vec<StepIndex>>,
        reports: mpsc::UnboundedSender<Report>,
    ) -> BTreeMap<StepIndex, u32> {
        while let Some(steps) = given.recv().await {
            let result = match self.pipeline(&steps).await {
                Ok(()) => self.flush().await,
                Err(error) => Err(error),
            };
            let report = Report::Idle { lane, alive: self.session.is_some(), result };
            if reports.send(report).is_err() {
                break;
            }
        }
        self.losses
    }
}

fn footprints(scripts: &[StepScripts]) -> Vec<Footprint> {
    let print = |scripts: &StepScripts| scripts.up.as_ref().map_or(Footprint::Unknown, |script| Footprint::of(script));
    scripts.iter().map(print).collect()
}
