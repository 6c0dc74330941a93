//! The port towards the journal: what the engine needs of a durable log. The journal crate provides it.

use std::future::Future;

use super::event::{Event, Recorded};
use crate::id::{Digest, RunId, Timestamp};

/// One record as it is stored: the same bytes go to the local journal and to the mirror in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Its place in its run, from 1.
    pub seq: u64,
    /// Hash of the whole record; the next record of the run carries it.
    pub hash: Digest,
    /// The stored bytes.
    pub bytes: Vec<u8>,
}

/// A database session that held the runner lock, or a share of it, for a process with this very journal open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// Its backend.
    pub pid: i32,
    /// Start of that backend: pids are used again.
    pub backend_start: Timestamp,
}

/// What went wrong with the journal.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// Another process has it open.
    #[error("[ME201] the journal {path} is in use by another migengine")]
    InUse {
        /// Its folder.
        path: String,
    },
    /// The disk is full, or the folder cannot be written. Nothing of the database changed because of it: every step
    /// waits for its intent to be on disk.
    #[error("[ME202] the journal {path} cannot be written: {reason}")]
    Unwritable {
        /// Its folder.
        path: String,
        /// The system's words.
        reason: String,
    },
    /// Its bytes are not what was written.
    #[error("[ME203] the journal {path} is damaged: {reason}")]
    Damaged {
        /// Its folder.
        path: String,
        /// What does not fit.
        reason: String,
    },
    /// Written by a newer version.
    #[error("[ME204] the journal was written by a newer migengine ({found}); this one reads up to {known}")]
    Newer {
        /// Format found.
        found: String,
        /// Format known.
        known: String,
    },
    /// An earlier write failed; the handle refuses all work until the journal is opened again.
    #[error("[ME205] an earlier write to the journal failed; nothing more is written by this process")]
    Poisoned,
}

/// A durable, append-only log of runs.
pub trait Journal: Send + Sync {
    /// Appends events of one run, in order, with consecutive sequence numbers after those already there. When the
    /// future resolves, all of them have survived a power cut, under one flush.
    fn append(
        &self,
        run: RunId,
        events: Vec<(Timestamp, Event)>,
    ) -> impl Future<Output = Result<Vec<Sealed>, JournalError>> + Send;

    /// Appends records that were sealed before, by another machine, and read back from the database.
    fn adopt(&self, run: RunId, records: Vec<Vec<u8>>) -> impl Future<Output = Result<(), JournalError>> + Send;

    /// All records of a run, verified.
    fn records(&self, run: RunId) -> impl Future<Output = Result<Vec<(Recorded, Sealed)>, JournalError>> + Send;

    /// All runs, oldest first.
    fn runs(&self) -> impl Future<Output = Result<Vec<RunId>, JournalError>> + Send;

    /// Remembers, durably, which sessions work for the process that has this journal open, instead of those remembered
    /// before. They belong to no run and never travel: whoever reads them later has the journal's lock, and so knows that
    /// that process is gone.
    fn hold(&self, sessions: Vec<Holding>) -> impl Future<Output = Result<(), JournalError>> + Send;

    /// The sessions remembered last.
    fn held(&self) -> impl Future<Output = Result<Vec<Holding>, JournalError>> + Send;

    /// Decodes one stored record, as found in the database's mirror.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] or [`JournalError::Newer`].
    fn decode(&self, bytes: &[u8]) -> Result<(Recorded, Sealed), JournalError>;
}
