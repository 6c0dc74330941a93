//! Which protocol is explored: the engine's, or one with a part taken away.

use super::state::Budget;
use migengine_engine::run::state::RunKind;

/// How the script of a step runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// One transaction.
    Tx,
    /// One that makes new things only: the COMMIT before it need not wait for the disk.
    New,
    /// One statement alone: a concurrent index build.
    Index,
    /// A transaction, then the index build.
    TxThenIndex,
    /// A statement in pieces.
    Chunked,
}

/// Pieces of a statement in pieces.
pub const PIECES: usize = 2;

/// One part of a script by parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartKind {
    Tx,
    Index,
    /// The place of a statement in pieces is made.
    Opening,
    /// Its pieces.
    Pieces,
}

impl Kind {
    /// The parts in the order of a direction.
    pub fn parts(self, undo: bool) -> &'static [PartKind] {
        match (self, undo) {
            (Self::Tx | Self::New, _) => &[],
            (Self::Index, _) => &[PartKind::Index],
            (Self::TxThenIndex, false) => &[PartKind::Tx, PartKind::Index],
            (Self::TxThenIndex, true) => &[PartKind::Index, PartKind::Tx],
            (Self::Chunked, _) => &[PartKind::Opening, PartKind::Pieces],
        }
    }

    /// Whether it takes effect as a whole or not at all.
    pub fn whole(self) -> bool {
        matches!(self, Self::Tx | Self::New)
    }

    /// Whether an index is part of its effect.
    pub fn builds(self) -> bool {
        matches!(self, Self::Index | Self::TxThenIndex)
    }

    /// Whether a transaction of its own is.
    pub fn transacts(self) -> bool {
        matches!(self, Self::Tx | Self::New | Self::TxThenIndex)
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
    /// A step counts as applied when its COMMIT was answered, whether it is on the disk or not.
    NotedBeforeDurable,
    /// A piece does not move its place in its own transaction, but in one after it.
    PlaceApart,
    /// The lock does not wait for lanes, and lanes are not fenced.
    NoShare,
    /// The driver goes on to believe what it knew of a step before a lane had it.
    StaleProgress,
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
    /// The first runner has two lanes.
    pub lanes: bool,
    pub budget: Budget,
}
