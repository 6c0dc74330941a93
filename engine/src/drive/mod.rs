//! The only loop: decide, write the intent to the journal, do, write the outcome.

mod acquire;
mod alarm;
mod at_once;
mod building;
mod chunked;
mod desk;
mod figures;
mod finish;
mod guarded;
mod lanes;
mod orphans;
mod parts;
mod piece;
mod pipeline;
pub mod points;
mod reconcile;
mod record;
mod train;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;

use crate::guard::{Case, Limits};
use crate::id::{Epoch, RunId, Timestamp};
use crate::migration::Script;
use crate::pg::connect::ConnectError;
use crate::pg::layout::{LayoutError, SchemaName};
use crate::pg::read::{Ledger, ReadError};
use crate::pg::session::Session;
use crate::pg::target::Target;
use crate::pg::witness::{Scribe, Testimony};
use crate::protect::window::Windows;
use crate::run::decide::{Next, next};
use crate::run::event::{Event, Recorded};
use crate::run::evidence::Observed;
use crate::run::journal::{Journal, JournalError, Sealed};
use crate::run::recovery::Standing;
use crate::run::state::{Manner, RestReason, RunSnapshot, StepIndex};
use crate::run::transition::IllegalEvent;

pub use acquire::open_ledger;

/// The scripts of one step. Which of them must be there depends on where the run is heading.
#[derive(Debug, Clone, Default)]
pub struct StepScripts {
    /// Forward.
    pub up: Option<Arc<Script>>,
    /// Reverse: the file, or what the history kept of it.
    pub down: Option<Arc<Script>>,
    /// Checks after the forward script.
    pub verify: Option<Arc<Script>>,
    /// What the history keeps of the step when it takes effect.
    pub testimony: Testimony,
}

/// How to drive.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long to wait for another runner's lock.
    pub lock_patience: Duration,
    /// How long a session whose runner is gone may go on before it is ended, where it is certain whose it is; else how
    /// long it is waited for at least.
    pub orphan_patience: Duration,
    /// How long to try to reach the database again in the middle of a run.
    pub reconnect_patience: Duration,
    /// Settings of every session.
    pub settings: Vec<(String, String)>,
    /// How long steps and the application may wait for one another, where a script's header does not say.
    pub limits: Limits,
    /// When changes are welcome. A statement that runs in pieces begins no piece outside of these windows.
    pub windows: Windows,
    /// Sessions on which steps may run side by side; with one, the session that holds the lock runs them all.
    pub jobs: usize,
    /// Who runs it and where from, for the audit log: JSON, without secrets.
    pub origin: String,
}

/// What the engine tells while it runs.
pub trait Observer: Sync {
    /// An event was decided on; `run` already contains it.
    fn event(&self, run: &RunSnapshot, record: &Recorded);
    /// Something to tell that changes nothing, one sentence.
    fn say(&self, text: &str);
    /// How far something that takes its time has come: the step it is about, if one, and how far. Comes often.
    fn progress(&self, _step: Option<&str>, _progress: &crate::progress::Progress) {}
    /// A point in the protocol was passed. Tests stop the world here.
    fn point(&self, _point: points::Point) {}
}

/// Everything around a run that is not the run.
pub struct World<'a, J> {
    /// The local journal.
    pub journal: &'a J,
    /// The database.
    pub target: &'a Target,
    /// The engine's schema in it.
    pub schema: &'a SchemaName,
    /// How to drive.
    pub options: &'a Options,
    /// Who is told.
    pub observer: &'a dyn Observer,
    /// The clock.
    pub clock: &'a (dyn Fn() -> Timestamp + Sync),
    /// Becomes true when the run should come to rest.
    pub stop: watch::Receiver<bool>,
    /// The highest epoch the local journal ever held for this database.
    pub journal_epoch: Option<Epoch>,
}

/// A run to drive.
pub struct Job {
    /// The run as the journal has it. At least its first event is on disk.
    pub run: RunSnapshot,
    /// Records that the database may not have yet.
    pub unmirrored: Vec<(Recorded, Sealed)>,
    /// One for each step.
    pub scripts: Vec<StepScripts>,
    /// The database's epoch when the plan of a new run was made. Under another one the plan is not what it was.
    pub planned_at: Option<Epoch>,
    /// A session that stands already; it is used for the run.
    pub session: Option<Session>,
}

/// Why a run could not be driven to an end or a rest. What the journal holds is true in every case.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// Another runner holds the lock.
    #[error("[ME331] another runner holds the lock{}", .holder.as_ref().map(|who| format!(": {who}")).unwrap_or_default())]
    Busy {
        /// Who, where it may be seen.
        holder: Option<String>,
    },
    /// While this run waited for the lock, another one changed the database. Nothing of this one was begun.
    #[error("[ME352] another runner was faster, so the plan does not fit the database any more; nothing was changed")]
    Overtaken,
    /// A session of an older epoch does not end.
    #[error("[ME355] a session of an earlier runner is still at work: {who}")]
    Orphan {
        /// Which.
        who: String,
    },
    /// Never connected; nothing was touched.
    #[error("{}", .0.message)]
    Connect(ConnectError),
    /// Journal and database do not belong together, or one of them went back.
    #[error("{message}")]
    Standing {
        /// How they stand.
        standing: Standing,
        /// Both heads, in a sentence.
        message: String,
    },
    /// The engine's tables could not be made.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The engine's tables could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The journal refused.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The engine wrote, or met, an event that cannot be: a bug, or a damaged journal.
    #[error("[ME490] {0}")]
    Illegal(#[from] IllegalEvent),
    /// The line to the database broke where that leaves nothing in doubt.
    #[error("[ME334] the connection to the database was lost: {0}")]
    Lost(String),
}

impl DriveError {
    /// Another runner holds the lock; who, where it may be seen.
    #[must_use]
    pub fn busy(holder: Option<crate::pg::lock::Holder>) -> Self {
        Self::Busy { holder: holder.map(|holder| holder.to_string()) }
    }
}

/// How far a step by parts is known to have come, in its present direction.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    /// Parts done.
    done: u32,
    /// What the catalogs showed before the part after them was first sent.
    before: Option<Observed>,
    /// A person said that the part after them took effect.
    attested: Option<bool>,
}

/// The loop's state.
pub(crate) struct Driver<'w, J> {
    world: &'w World<'w, J>,
    run: RunSnapshot,
    scripts: Arc<[StepScripts]>,
    planned_at: Option<Epoch>,
    session: Option<Live>,
    queue: Vec<(Timestamp, Event)>,
    writing: Option<record::Writing<'w>>,
    unmirrored: Vec<(Recorded, Sealed)>,
    /// Records up to this sequence number travel in a transaction whose COMMIT was not answered.
    mirror_sent: u64,
    progress: BTreeMap<StepIndex, Progress>,
    /// Steps that stopped half-way and are about to be reversed.
    partial: BTreeSet<StepIndex>,
    ledger: Option<Ledger>,
    flushed_at: Timestamp,
    /// What the guard knows of the steps about to be sent.
    cases: BTreeMap<StepIndex, Case>,
    before: figures::Before,
    eye: Arc<tokio::sync::Mutex<alarm::Eye>>,
    /// Becomes true when no further step is to be begun: another lane's step failed.
    held: Arc<AtomicBool>,
    /// Why the run is to come to rest though nobody told it to; the same for all lanes.
    pause: Arc<OnceLock<String>>,
    /// How often the session was lost during a step, and how often in a row while taking the lock.
    losses: BTreeMap<StepIndex, u32>,
    lock_losses: u32,
}

/// Sessions lost during one step before it counts as the step's doing: a script that ends its own session would be
/// run for ever otherwise.
pub(crate) const LOSSES_MAX: u32 = 3;

/// Sessions lost in a row while taking the lock before the run rests.
pub(crate) const LOCK_LOSSES_MAX: u32 = 20;

/// A session that holds the lock.
pub(crate) struct Live {
    session: Session,
    scribe: Scribe,
    epoch: Epoch,
    /// Its backend.
    pid: i32,
    /// Start of that backend.
    backend_start: Timestamp,
}

/// Drives a run until it is over or rests, and returns it as it stands, with what stood in the way, if anything did.
/// The run's journal is true in any case.
pub async fn drive<J: Journal>(world: &World<'_, J>, job: Job) -> (RunSnapshot, Result<(), DriveError>) {
    let mut driver = Driver {
        world,
        run: job.run,
        scripts: job.scripts.into(),
        planned_at: job.planned_at,
        session: None,
        queue: Vec::new(),
        writing: None,
        mirror_sent: 0,
        unmirrored: job.unmirrored,
        progress: BTreeMap::new(),
        partial: BTreeSet::new(),
        ledger: None,
        flushed_at: (world.clock)(),
        cases: BTreeMap::new(),
        before: figures::Before::default(),
        eye: Arc::default(),
        held: Arc::default(),
        pause: Arc::default(),
        losses: BTreeMap::new(),
        lock_losses: 0,
    };
    let result = driver.drive(job.session).await;
    (driver.run, result)
}

impl<J: Journal> Driver<'_, J> {
    pub(crate) async fn drive(&mut self, mut spare: Option<Session>) -> Result<(), DriveError> {
        while !self.run.state.is_final() && self.run.rest.is_none() {
            if self.stopping() {
                match (self.pause.get().cloned(), &self.session) {
                    (Some(why), _) => self.rest(RestReason::Interrupted, None, &why).await?,
                    (None, Some(_)) => self.rest(RestReason::Interrupted, None, "stopped by a signal").await?,
                    (None, None) => self.give_up("stopped by a signal before it was reached").await?,
                }
                break;
            }
            if self.session.is_none() {
                self.acquire(spare.take()).await?;
                continue;
            }
            match next(&self.run) {
                Next::Lock | Next::InDoubt(_) => self.session = None,
                Next::Reconcile => self.reconcile().await?,
                Next::Apply(steps) => match (self.run.manner, self.world.options.jobs) {
                    (Manner::AtOnce, _) => self.at_once(&steps).await?,
                    (Manner::StepByStep, 0 | 1) => self.pipeline(&steps).await?,
                    (Manner::StepByStep, jobs) => self.side_by_side(&steps, jobs).await?,
                },
                Next::Undo(steps) => self.pipeline(&steps).await?,
                Next::Failed(step) => self.failed(step).await?,
                Next::Stuck(step) => {
                    let message = self.failure_message(step);
                    self.rest(RestReason::Stuck, Some(step), &message).await?;
                }
                Next::StepsDone => self.record(Event::StepsDone).await?,
                Next::Verify => self.verify().await?,
                Next::Done => break,
            }
        }
        self.close().await
    }

    pub(crate) fn stopping(&self) -> bool {
        *self.world.stop.borrow() || self.pause.get().is_some()
    }

    /// Has the run come to rest as soon as what runs has ended.
    pub(crate) fn pause_here(&self, why: String) -> parts::Halt {
        // The first reason counts.
        drop(self.pause.set(why));
        parts::Halt::Stop
    }

    /// Whether another lane's failure asks this one to begin no further step.
    pub(crate) fn held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }

    /// A step failed: turn around, or rest there, as the run was told when it began.
    async fn failed(&mut self, step: StepIndex) -> Result<(), DriveError> {
        let message = self.failure_message(step);
        if self.run.turns_around() {
            // What is known of parts is known of the forward scripts; a reverse script has parts of its own.
            self.progress.clear();
            let reason = format!("{} failed: {message}", self.run.step_name(step));
            self.record(Event::UnwindStarted { reason }).await
        } else {
            self.rest(RestReason::Failed, Some(step), &message).await
        }
    }

    fn failure_message(&self, step: StepIndex) -> String {
        let failure = self.run.steps.get(step as usize).and_then(|step| step.failure.as_ref());
        failure.map_or_else(|| "no reason was recorded".to_owned(), |failure| failure.message.clone())
    }

    pub(crate) fn run_id(&self) -> RunId {
        self.run.run
    }
}
