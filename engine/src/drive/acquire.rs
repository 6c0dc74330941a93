//! Connecting, taking the lock, and making sure that journal and database belong together. Nothing is written before
//! that is certain.

use std::time::Duration;

use super::points::Point;
use super::{DriveError, Driver, LOCK_LOSSES_MAX, Live, World};
use crate::pg::layout::{ensure, find};
use crate::pg::lock;
use crate::pg::orphan::{self, Orphan};
use crate::pg::read::{DatabaseState, HistoryState, Ledger, ReadError, read, read_ledger};
use crate::pg::session::Session;
use crate::pg::sqlstate::ServerError;
use crate::pg::witness::{Errand, Scribe};
use crate::run::event::Event;
use crate::run::journal::{Holding, Journal};
use crate::run::recovery::{Standing, standing};
use crate::run::state::{Direction, RestReason, RunKind, RunState, StepState};

/// First pause before connecting again. Doubles up to [`RECONNECT_MAX`].
const RECONNECT_MIN: Duration = Duration::from_millis(100);
/// Longest pause before connecting again.
const RECONNECT_MAX: Duration = Duration::from_secs(5);

/// Makes the engine's tables if they are not there, under the runner lock, which the session keeps.
///
/// # Errors
/// Another runner holds the lock, the role lacks a right, or the line broke.
pub async fn open_ledger(session: &Session, patience: Duration, engine: &str) -> Result<DatabaseState, DriveError> {
    let (client, schema) = (&session.client, &session.schema);
    let (taken, found) = tokio::join!(biased; lock::try_take(session), find(client, schema));
    let mut found = found.map_err(ReadError::from)?;
    if !taken.map_err(ReadError::from)? {
        if !lock::take(session, patience).await.map_err(ReadError::from)? {
            return Err(DriveError::busy(lock::holder(session).await));
        }
        found = find(client, schema).await.map_err(ReadError::from)?;
    }
    let (made, state) = tokio::join!(biased; ensure(client, schema, engine, found), read(client, schema));
    made?;
    Ok(state?)
}

/// The engine's tables and the sessions of an older epoch, as they are at this moment.
async fn look_around(
    session: &Session,
) -> (Result<Option<Ledger>, ReadError>, Result<Vec<Orphan>, tokio_postgres::Error>) {
    tokio::join!(biased; read_ledger(&session.client, &session.schema), orphan::at_work(session))
}

impl<J: Journal> Driver<'_, J> {
    /// Gets a session that holds the lock and records the new epoch. Without a session afterwards, the run rests.
    pub(crate) async fn acquire(&mut self, spare: Option<Session>) -> Result<(), DriveError> {
        let session = match spare {
            Some(session) => session,
            None => match self.reach().await? {
                Some(session) => session,
                None => return Ok(()),
            },
        };
        match self.lock_and_check(session).await {
            // The line broke while nothing of ours was in flight: try again, within the patience for reconnecting.
            Err(DriveError::Read(ReadError::Server(error))) if ServerError::from_pg(&error).is_err() => {
                self.lock_losses += 1;
                if self.lock_losses >= LOCK_LOSSES_MAX {
                    return self.give_up(&error.to_string()).await;
                }
                self.world.observer.say(&format!("the connection was lost while taking the lock: {error}"));
                tokio::time::sleep(RECONNECT_MIN).await;
                Ok(())
            }
            other => {
                self.lock_losses = 0;
                other
            }
        }
    }

    async fn lock_and_check(&mut self, mut session: Session) -> Result<(), DriveError> {
        self.world.observer.point(Point::LockBefore);
        session.rename(&format!("migengine:{}", self.run_id()));
        // Nobody else has the lock, most of the time: then all of this is one round trip.
        let (named, taken, mut seen) =
            tokio::join!(biased; session.reset(), lock::try_take(&session), look_around(&session));
        named.map_err(ReadError::from)?;
        if !taken.map_err(ReadError::from)? {
            if let Some(holder) = self.take_lock(&session).await? {
                self.give_way().await?;
                return Err(DriveError::busy(holder));
            }
            seen = look_around(&session).await;
        }
        if matches!(&seen.0, Ok(None)) {
            let found = find(&session.client, &session.schema).await.map_err(ReadError::from)?;
            ensure(&session.client, &session.schema, &self.run.started.engine, found).await?;
            seen = look_around(&session).await;
        }
        let (ledger, orphans) = seen;
        let ledger = ledger?.unwrap_or_default();
        self.check_standing(&ledger)?;
        if let Err(error) = self.settle_orphans(&session, orphans.map_err(ReadError::from)?).await {
            self.give_way().await?;
            return Err(error);
        }
        let fresh = self.run.state == RunState::Preflight && self.run.epoch.is_none();
        let elsewhere = self.planned_at.is_some_and(|planned_at| planned_at != ledger.epoch);
        if fresh && (elsewhere || self.is_outdated(&ledger)) {
            // Steps that are in effect by now would count as this run's own, and be reversed with it.
            self.record(Event::RunRolledBack).await?;
            return Err(DriveError::Overtaken);
        }
        self.world.observer.point(Point::LockHeld);
        // The history counts as read only from behind the raised epoch: a runner that lost the lock without knowing may
        // commit until then. The two travel together, with the statements that the steps will need.
        let (raised, ledger, prepared) = tokio::join!(
            biased;
            lock::raise_epoch(
                &session,
                self.run_id(),
                &self.run.started,
                self.run.started_at,
                &self.world.options.origin
            ),
            read_ledger(&session.client, &session.schema),
            Scribe::prepare(&session.client, &session.schema, self.run_id(), self.errand())
        );
        let (epoch, session_held) = raised.map_err(ReadError::from)?;
        let ledger = ledger?.unwrap_or_default();
        self.world.observer.point(Point::EpochRaised);
        let scribe = prepared.map_err(ReadError::from)?.under(epoch);
        self.ledger = Some(ledger);
        let Holding { pid, backend_start } = session_held;
        self.world.journal.hold(vec![session_held]).await?;
        self.session = Some(Live { session, scribe, epoch, pid, backend_start });
        self.record(Event::Locked { epoch, pid, backend_start }).await?;
        self.world.observer.point(Point::LockAfter);
        Ok(())
    }

    /// What the run's sessions will be asked for most.
    pub(crate) fn errand(&self) -> Errand {
        match (self.run.started.kind, self.run.direction) {
            (RunKind::Apply, Direction::Forward) => Errand::Apply(self.run.started.steps.len()),
            (RunKind::Rollback, _) | (_, Direction::Unwinding) => Errand::Reverse,
        }
    }

    /// Whether the history holds a step that is to be applied, or not one that is to be reversed. The epoch alone does
    /// not show it: a plan may have been made while another runner was at work under the present one.
    fn is_outdated(&self, ledger: &Ledger) -> bool {
        let there = self.run.started.kind == RunKind::Rollback;
        let in_effect = |id| ledger.history.get(id).is_some_and(|row| row.state == HistoryState::Applied);
        self.run.started.steps.iter().any(|step| in_effect(&step.id) != there)
    }

    /// A run that never held the lock is closed: nothing of it was begun.
    async fn give_way(&mut self) -> Result<(), DriveError> {
        if self.run.state == RunState::Preflight { self.record(Event::RunRolledBack).await } else { Ok(()) }
    }

    fn check_standing(&self, ledger: &Ledger) -> Result<(), DriveError> {
        let known = &self.run.started.database.uuid;
        let mine = self.world.journal_epoch.max(self.run.epoch);
        let standing = standing(*known == ledger.uuid, mine, ledger.epoch);
        let message = match standing {
            Standing::Current | Standing::Behind => return Ok(()),
            Standing::OtherDatabase => format!(
                "[ME332] this run belongs to the database {} ({}), and this is another one ({}). Nothing was changed",
                self.run.started.database.name, known, ledger.uuid
            ),
            Standing::DatabaseWentBack => went_back(mine.unwrap_or_default().0, ledger.epoch.0),
        };
        Err(DriveError::Standing { standing, message })
    }

    /// Connects, again and again while the run has effects that must be settled.
    async fn reach(&mut self) -> Result<Option<Session>, DriveError> {
        let deadline = tokio::time::Instant::now() + self.world.options.reconnect_patience;
        let mut pause = RECONNECT_MIN;
        loop {
            let error = match connect(self.world, &format!("migengine:{}", self.run_id())).await {
                Ok(session) => return Ok(Some(session)),
                Err(error) => error,
            };
            if self.run.epoch.is_none() {
                if self.run.state == RunState::Preflight {
                    self.record(Event::RunRolledBack).await?;
                }
                return Err(DriveError::Connect(error));
            }
            if tokio::time::Instant::now() + pause > deadline || self.stopping() {
                return self.give_up(&error.message).await.map(|()| None);
            }
            self.world.observer.say(&format!("{}; trying again", error.message));
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RECONNECT_MAX);
        }
    }

    /// The database cannot be reached: no verdict on what was in flight.
    pub(crate) async fn give_up(&mut self, why: &str) -> Result<(), DriveError> {
        let doubtful = [StepState::InDoubt, StepState::Intent, StepState::UndoIntent];
        let step = doubtful.into_iter().find_map(|state| self.run.steps_in(state).next());
        let reason = if step.is_some() { RestReason::InDoubt } else { RestReason::Interrupted };
        self.rest(reason, step, &format!("the database cannot be reached: {why}")).await
    }
}

/// Opens a session with the run's settings.
async fn connect<J>(world: &World<'_, J>, name: &str) -> Result<Session, crate::pg::connect::ConnectError> {
    let session = Session::open(world.target, world.schema, name, &world.options.settings).await?;
    // They were told when the command opened its first session.
    for warning in &session.warnings {
        tracing::debug!("{warning}");
    }
    Ok(session)
}

/// The sentence for a database that is older than the journal.
#[must_use]
fn went_back(journal: u64, database: u64) -> String {
    format!(
        "[ME333] the database went back in time: the journal has seen epoch {journal}, the database is at epoch {database}. \
         It was restored from a backup, or a failover lost its last commits. Nothing was changed"
    )
}
