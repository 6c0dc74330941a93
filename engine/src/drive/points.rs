//! The places in the protocol at which a crash test stops the world. Passing a point takes a value of [`Point`], and
//! the list of all points is made of the same lines: a new point cannot be missing from the tests.

macro_rules! points {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A place in the protocol.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Point {
            $($(#[$doc])* $variant,)*
        }

        impl Point {
            /// All of them, in the order of a run.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name, for tests and their environment variables.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

points! {
    /// A session stands; the lock was not asked for.
    LockBefore = "lock.before",
    /// Before a session whose runner is gone is ended.
    OrphanBefore = "orphan.before",
    /// After that.
    OrphanAfter = "orphan.after",
    /// The lock is held and the state was read; the epoch was not raised.
    LockHeld = "lock.held",
    /// The epoch was raised; the journal does not know.
    EpochRaised = "epoch.raised",
    /// The epoch is in the journal.
    LockAfter = "lock.after",
    /// Before the recovery table.
    ReconcileBefore = "reconcile.before",
    /// After it.
    ReconcileAfter = "reconcile.after",
    /// Events are decided on and not in the journal.
    JournalBefore = "journal.before",
    /// They are in the journal.
    JournalAfter = "journal.after",
    /// A step in one transaction, before its first byte leaves.
    StepBefore = "step.before",
    /// Everything of it but its COMMIT was handed to the connection, with the COMMIT of the step before.
    StepSent = "step.sent",
    /// The COMMIT of the step before was answered.
    StepCommitAnswered = "step.commit_answered",
    /// Everything of the step but its COMMIT was answered.
    StepAnswered = "step.answered",
    /// Before a COMMIT is sent.
    CommitBefore = "commit.before",
    /// After its answer.
    CommitAfter = "commit.after",
    /// Before a part that has a transaction of its own.
    PartBefore = "part.before",
    /// After its COMMIT.
    PartAfter = "part.after",
    /// Before a piece of a statement that runs in pieces.
    ChunkBefore = "chunk.before",
    /// Everything of it but its COMMIT was answered.
    ChunkAnswered = "chunk.answered",
    /// After its COMMIT.
    ChunkAfter = "chunk.after",
    /// Before a mark of a step by parts is written.
    MarkBefore = "mark.before",
    /// After its COMMIT.
    MarkAfter = "mark.after",
    /// Before a statement outside of any transaction.
    AloneBefore = "alone.before",
    /// It was handed to the connection.
    AloneSent = "alone.sent",
    /// It was answered.
    AloneAfter = "alone.after",
    /// Before the leavings of an interrupted statement are swept up.
    SweepBefore = "sweep.before",
    /// After that.
    SweepAfter = "sweep.after",
    /// Before the result of the run is checked.
    VerifyBefore = "verify.before",
    /// The end of the run is in the journal.
    VerifyAfter = "verify.after",
    /// Before the run's line in the database is brought up to date.
    PublishBefore = "publish.before",
    /// After that.
    PublishAfter = "publish.after",
}

#[cfg(test)]
mod tests {
    use super::Point;

    #[test]
    fn every_point_has_a_name_of_its_own() {
        let mut names: Vec<_> = Point::ALL.iter().map(|point| point.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Point::ALL.len());
    }
}
