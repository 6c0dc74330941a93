//! The journal on sled 0.34.7, behind one thread. Nothing else of the project knows sled.
//!
//! An append is insert, flush, fsync of every file, fsync of the folder, and only then an answer. sled's flush alone
//! lost acknowledged records in 119 of 240 power cuts; with the fsyncs in none of 300.

mod disk;
mod keys;
mod open;
mod settled;
mod worker;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

use migengine_engine::id::{RunId, Timestamp};
use migengine_engine::run::event::{Event, Recorded};
use migengine_engine::run::journal::{Holding, Journal, JournalError, Sealed};
use tokio::sync::oneshot;

pub use self::open::Note;
pub use self::settled::{Settled, settled};
use self::worker::{Command, Write};
use crate::chain;
use crate::points::{Hook, Points};
use crate::wire;

/// The journal in a folder. Dropping it closes the store and waits for that.
pub struct SledJournal {
    path: PathBuf,
    commands: Sender<Command>,
    thread: Option<JoinHandle<()>>,
}

/// An open journal, and what opening it took.
pub struct Opened {
    /// The journal.
    pub journal: SledJournal,
    /// Something its reader should be told.
    pub note: Option<Note>,
}

impl SledJournal {
    /// Opens the journal in `path`; creates folder and journal where they are missing. A damaged index is made again;
    /// a journal beyond repair is moved aside, see [`Note`].
    ///
    /// # Errors
    /// [`JournalError::InUse`] while any process has it open, this one included; [`JournalError::Unwritable`].
    pub fn open(path: impl AsRef<Path>) -> Result<Opened, JournalError> {
        Self::open_with(path, None)
    }

    /// Like [`SledJournal::open`], with a hook that is called at each of [`crate::points::POINTS`].
    ///
    /// # Errors
    /// As for [`SledJournal::open`].
    pub fn open_with(path: impl AsRef<Path>, hook: Option<Hook>) -> Result<Opened, JournalError> {
        let (path, points) = (path.as_ref(), Points(hook));
        disk::inspect(path)?;
        Self::start(disk::enter(path, &points)?, false, points)
    }

    /// Opens the journal in `path` for reading; `None` where there is none. Nothing is created or moved, but sled
    /// itself writes when it opens, and a damaged index is made again. Appending is refused.
    ///
    /// # Errors
    /// [`JournalError::InUse`], on which the caller reads the database's mirror; [`JournalError::Damaged`].
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Option<Opened>, JournalError> {
        let (path, points) = (path.as_ref(), Points::default());
        match disk::inspect(path)? {
            disk::Found::Nothing => Ok(None),
            disk::Found::Journal => Self::start(disk::enter(path, &points)?, true, points).map(Some),
        }
    }

    /// Moves the journal in `path` aside, to be rebuilt from the database. Returns where it is now; `None` where
    /// there is none.
    ///
    /// # Errors
    /// [`JournalError::InUse`] or [`JournalError::Unwritable`].
    pub fn set_aside(path: impl AsRef<Path>) -> Result<Option<PathBuf>, JournalError> {
        let (path, points) = (path.as_ref(), Points::default());
        match disk::inspect(path)? {
            disk::Found::Nothing => Ok(None),
            disk::Found::Journal => {
                let _locked = disk::enter(path, &points)?;
                disk::set_aside(path, &points).map(Some).map_err(|error| disk::unwritable(path, &error))
            }
        }
    }

    fn start(folder: disk::Folder, read_only: bool, points: Points) -> Result<Opened, JournalError> {
        let path = folder.path.clone();
        let (commands, receiver) = mpsc::channel();
        let (opened, outcome) = mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name(open::THREAD.to_owned())
            .spawn(move || worker::run(folder, read_only, points, &opened, &receiver))
            .map_err(|error| disk::unwritable(&path, &error))?;
        let journal = Self { path, commands, thread: Some(thread) };
        let note = outcome.recv().map_err(|_| JournalError::Poisoned)??;
        Ok(Opened { journal, note })
    }

    /// Closes the store, and leaves a note beside it for [`settled()`]. Only for a journal in which every run is over.
    pub fn settle(mut self, settled: Settled) {
        self.end(Some(settled));
    }

    fn end(&mut self, settled: Option<Settled>) {
        // Both fail only when the thread is gone already.
        self.commands.send(Command::Stop(settled)).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The uuid of the database this journal belongs to, once bound.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn binding(&self) -> Result<Option<String>, JournalError> {
        let Some(bytes) = self.ask(Command::Binding).await? else { return Ok(None) };
        let (recorded, _) = self.decode(&bytes)?;
        match recorded.event {
            Event::Noted { message, .. } => Ok(Some(message)),
            _ => Err(self.damaged("it does not say which database it belongs to".to_owned())),
        }
    }

    /// Binds the journal to a database, durably. Binding it again to the same one does nothing.
    ///
    /// # Errors
    /// [`JournalError::Unwritable`] when it is bound to another one; those of writing.
    pub async fn bind(&self, uuid: &str) -> Result<(), JournalError> {
        let record = worker::fact_record("database", uuid).map_err(|error| error.at(&self.name()))?;
        self.ask(|reply| Command::Write(Write::Bind(record), reply)).await.map(drop)
    }

    /// The bytes of a run's records, each with the number in its key, not verified: for [`crate::check`].
    pub(crate) async fn raw(&self, run: RunId) -> Result<worker::Raw, JournalError> {
        self.ask(|reply| Command::Raw(run, reply)).await
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, JournalError>>) -> Command,
    ) -> Result<T, JournalError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).map_err(|_| JournalError::Poisoned)?;
        answer.await.map_err(|_| JournalError::Poisoned)?
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn damaged(&self, reason: String) -> JournalError {
        JournalError::Damaged { path: self.name(), reason }
    }
}

impl Journal for SledJournal {
    async fn append(&self, run: RunId, events: Vec<(Timestamp, Event)>) -> Result<Vec<Sealed>, JournalError> {
        self.ask(|reply| Command::Write(Write::Append(run, events), reply)).await
    }

    async fn adopt(&self, run: RunId, records: Vec<Vec<u8>>) -> Result<(), JournalError> {
        self.ask(|reply| Command::Write(Write::Adopt(run, records), reply)).await.map(drop)
    }

    async fn records(&self, run: RunId) -> Result<Vec<(Recorded, Sealed)>, JournalError> {
        let raw = self.raw(run).await?;
        chain::read_keyed(run, &raw).map_err(|broken| broken.at(run, &self.name()))
    }

    async fn runs(&self) -> Result<Vec<RunId>, JournalError> {
        self.ask(Command::Runs).await
    }

    async fn hold(&self, sessions: Vec<Holding>) -> Result<(), JournalError> {
        let lines: Vec<String> =
            sessions.iter().map(|session| format!("{} {}", session.pid, session.backend_start.0)).collect();
        let record = worker::fact_record("holders", &lines.join("\n")).map_err(|error| error.at(&self.name()))?;
        self.ask(|reply| Command::Write(Write::Hold(record), reply)).await.map(drop)
    }

    async fn held(&self) -> Result<Vec<Holding>, JournalError> {
        let Some(bytes) = self.ask(Command::Held).await? else { return Ok(Vec::new()) };
        let (recorded, _) = self.decode(&bytes)?;
        let Event::Noted { message, .. } = &recorded.event else { return Ok(Vec::new()) };
        let holding = |line: &str| {
            let (pid, backend_start) = line.split_once(' ')?;
            Some(Holding { pid: pid.parse().ok()?, backend_start: Timestamp(backend_start.parse().ok()?) })
        };
        // Words of a newer version, which this one does not know, prove nothing to it.
        Ok(message.lines().filter_map(holding).collect())
    }

    fn decode(&self, bytes: &[u8]) -> Result<(Recorded, Sealed), JournalError> {
        let (_, recorded, sealed) = wire::open(bytes).map_err(|error| error.at(&self.name()))?;
        Ok((recorded, sealed))
    }
}

impl Drop for SledJournal {
    fn drop(&mut self) {
        self.end(None);
    }
}
