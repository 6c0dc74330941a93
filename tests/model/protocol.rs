//! Which protocol is explored: the engine's, or one with a part taken away.

use super::state::Budget;
use migengine_engine::run::state::RunKind;

/// How the script of a step runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// One transaction.
    Tx,
    /// One statement alone: a concurrent index build.
    Index,
    /// A transaction, then the index build.
    TxThenIndex,
}

/// One part of a script by parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartKind {
    Tx,
    Index,
}

impl Kind {
    /// The parts in the order of a direction.
    pub fn parts(self, undo: bool) -> &'static [PartKind] {
        match (self, undo) {
            (Self::Tx, _) => &[],
            (Self::Index, _) => &[PartKind::Index],
            (Self::TxThenIndex, false) => &[PartKind::Tx, PartKind::Index],
            (Self::TxThenIndex, true) => &[PartKind::Index, PartKind::Tx],
        }
    }
}

/// What is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Weak {
    /// Everybody believes to hold the runner lock.
    NoLock,
    /// The history is read first, the lock is taken then.
    ReadBeforeLock,
    /// An intent without an outcome is run again; no history row is asked, none stands in the way.
    JournalOnly,
    /// What is in doubt is settled by the status of its transaction number.
    XidStatus,
    /// Steps do not ask whether their runner was superseded.
    NoFence,
    /// The intent stays in memory until the outcome is there.
    CommitBeforeIntent,
    /// No predicate: `CREATE INDEX CONCURRENTLY IF NOT EXISTS`, and no error means done.
    IfNotExists,
}

/// What to explore.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    pub name: &'static str,
    pub weak: Option<Weak>,
    /// With the repairs of the known flaws.
    pub fixed: bool,
    pub steps: &'static [Kind],
    pub run: RunKind,
    pub runners: u8,
    /// Runs the first runner may begin.
    pub runs: u8,
    pub unwind_on_failure: bool,
    pub budget: Budget,
}
