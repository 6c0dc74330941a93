//! A journal that forgets: for tests, and for measuring what the disk costs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use migengine_engine::id::{RunId, Timestamp};
use migengine_engine::run::event::{Event, Recorded};
use migengine_engine::run::journal::{Holding, Journal, JournalError, Sealed};

use crate::chain::{self, Head};
use crate::wire::{self, Link};

const NAME: &str = "(in memory)";

/// The same records as [`crate::SledJournal`], in memory. A clone is another handle on the same records, as a second
/// process would have after the first one died.
#[derive(Debug, Clone, Default)]
pub struct MemoryJournal {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    runs: BTreeMap<RunId, Vec<Sealed>>,
    held: Vec<Holding>,
    appends_left: Option<u64>,
    poisoned: bool,
}

impl MemoryJournal {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets `appends` further writes succeed; the next one fails as a full disk does, and all after it are refused.
    pub fn fail_after(&self, appends: u64) {
        self.lock().appends_left = Some(appends);
    }

    /// The disk has room again and the journal was opened again.
    pub fn heal(&self) {
        let mut inner = self.lock();
        (inner.appends_left, inner.poisoned) = (None, false);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn may_read(&self) -> Result<(), JournalError> {
        if self.poisoned { Err(JournalError::Poisoned) } else { Ok(()) }
    }

    fn may_write(&mut self) -> Result<(), JournalError> {
        self.may_read()?;
        match &mut self.appends_left {
            Some(0) => {
                self.poisoned = true;
                let reason = "No space left on device".to_owned();
                Err(JournalError::Unwritable { path: NAME.to_owned(), reason })
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn head(&self, run: RunId) -> Head {
        let last = self.runs.get(&run).and_then(|records| records.last());
        last.map_or(Head::EMPTY, |sealed| Head { seq: sealed.seq, hash: sealed.hash })
    }
}

impl Journal for MemoryJournal {
    async fn append(&self, run: RunId, events: Vec<(Timestamp, Event)>) -> Result<Vec<Sealed>, JournalError> {
        let mut inner = self.lock();
        inner.may_write()?;
        let Head { mut seq, hash: mut prev } = inner.head(run);
        let mut all = Vec::with_capacity(events.len());
        for (at, event) in events {
            seq += 1;
            let sealed = wire::seal(Link { run, seq, prev }, at, &event).map_err(|error| error.at(NAME))?;
            prev = sealed.hash;
            all.push(sealed);
        }
        if !all.is_empty() {
            inner.runs.entry(run).or_default().extend(all.iter().cloned());
        }
        Ok(all)
    }

    async fn adopt(&self, run: RunId, records: Vec<Vec<u8>>) -> Result<(), JournalError> {
        let mut inner = self.lock();
        inner.may_write()?;
        let there = inner.runs.get(&run).cloned().unwrap_or_default();
        let added = chain::extend(run, &there, &records).map_err(|broken| broken.at(run, NAME))?;
        if !added.is_empty() {
            inner.runs.entry(run).or_default().extend(added);
        }
        Ok(())
    }

    async fn records(&self, run: RunId) -> Result<Vec<(Recorded, Sealed)>, JournalError> {
        let inner = self.lock();
        inner.may_read()?;
        let records = inner.runs.get(&run).into_iter().flatten().map(|sealed| &sealed.bytes);
        chain::read_chain(run, records).map_err(|broken| broken.at(run, NAME))
    }

    async fn runs(&self) -> Result<Vec<RunId>, JournalError> {
        let inner = self.lock();
        inner.may_read()?;
        Ok(inner.runs.keys().copied().collect())
    }

    async fn hold(&self, sessions: Vec<Holding>) -> Result<(), JournalError> {
        let mut inner = self.lock();
        inner.may_write()?;
        inner.held = sessions;
        Ok(())
    }

    async fn held(&self) -> Result<Vec<Holding>, JournalError> {
        let inner = self.lock();
        inner.may_read()?;
        Ok(inner.held.clone())
    }

    fn decode(&self, bytes: &[u8]) -> Result<(Recorded, Sealed), JournalError> {
        let (_, recorded, sealed) = wire::open(bytes).map_err(|error| error.at(NAME))?;
        Ok((recorded, sealed))
    }
}
