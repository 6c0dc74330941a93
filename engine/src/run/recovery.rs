//! What to believe of a step after a crash: one labelled table.
//!
//! Precondition: the runner lock is held, no older session of ours is alive, identity and epoch were checked
//! ([`standing`]). Only then may the witness (the history row) be read: an orphan could still commit before that.
//!
//! ```text
//!     journal               history row         step           decision
//!  A  nothing               none                any            run (unwinding: skip)
//!  B  nothing, or lost      same                any            adopt: the journal is behind
//!  C  any                   other checksum      any            diverged: stop, write nothing
//!  D  intent or in doubt    same                any            adopt: the ghost commit
//!  E  intent or in doubt    none                transactional  it never took effect: run again (unwinding: skip)
//!  F  intent, in doubt,     none or intent      not trans-     predicate: true adopt, false clean up and run,
//!     failed or lost                            actional       unknown ask
//!  G  applied               same                any            keep
//!  H  applied               none, epoch older   any            the database went back: diverged
//!  I  applied               none, epoch equal   any            history was edited: diverged
//!  J  failed                none                any            may run again or unwind
//!  K  failed                same                any            impossible: a bug, stop loudly
//!  L  undo intent           same or begun       any            undo again
//!  M  undo intent           none                transactional  undone: record it
//!  N  undo intent or lost   none or undoing     not trans-     predicate of the reverse script
//!                                               actional
//!  O  undone                none                any            keep
//!  P  undone                same                any            diverged
//!  Q  undo failed           any                 any            stuck
//! ```

use super::state::{Direction, StepState};
use crate::id::Epoch;

/// What the database says of a step: its history row, read under the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Witness {
    /// No row.
    None,
    /// A row that says a script of several parts was begun; its recorded parts are those of the present script.
    Begun,
    /// A row that says applied, with the checksum known to the journal (or, when the journal is lost, to the files).
    Same,
    /// A row that says applied, and its reverse script of several parts was begun.
    Undoing,
    /// A row with another checksum, or recorded parts that are not those of the present script.
    Other,
}

impl Witness {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::None, Self::Begun, Self::Same, Self::Undoing, Self::Other];
}

/// How the step's script runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StepMode {
    /// One transaction, history row included: all or nothing.
    Transactional,
    /// Part by part.
    ByParts,
}

/// How the journal's epoch for the run compares with the database's before this runner took the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EpochOrder {
    /// The database is older than what the journal saw: it went back.
    DatabaseOlder,
    /// Equal, or the database is newer.
    DatabaseCurrent,
}

/// What to do about a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Decision {
    /// Certainly without effect: it may begin.
    Run,
    /// It took effect: record that.
    Adopt,
    /// Journal and history agree: nothing to record.
    Keep,
    /// Ask the catalogs, part by part.
    AskCatalogs,
    /// It is still in effect: reverse it again.
    UndoAgain,
    /// It is reversed: record that.
    RecordUndone,
    /// Stop, write nothing.
    Diverged,
    /// Stop: what was found cannot be.
    Impossible,
    /// Stop: a person must act first.
    Stuck,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Its letter, as in the log, the journal and the tests.
    pub label: char,
    /// Journal states it is about.
    pub journal: &'static [StepState],
    /// Witnesses it is about.
    pub witness: &'static [Witness],
    /// Modes it is about.
    pub mode: &'static [StepMode],
    /// Epoch orders it is about.
    pub epoch: &'static [EpochOrder],
    /// What to do.
    pub decision: Decision,
    /// Why, for the log and for people.
    pub why: &'static str,
}

const ANY_MODE: &[StepMode] = &[StepMode::Transactional, StepMode::ByParts];
const TX: &[StepMode] = &[StepMode::Transactional];
const PARTS: &[StepMode] = &[StepMode::ByParts];
const ANY_EPOCH: &[EpochOrder] = &[EpochOrder::DatabaseOlder, EpochOrder::DatabaseCurrent];

const fn row(
    label: char,
    journal: &'static [StepState],
    witness: &'static [Witness],
    mode: &'static [StepMode],
    decision: Decision,
    why: &'static str,
) -> Row {
    Row { label, journal, witness, mode, epoch: ANY_EPOCH, decision, why }
}

/// The table. Rows do not overlap and leave nothing out; a test enumerates all combinations.
pub static TABLE: &[Row] = {
    use StepState::{Applied, Failed, InDoubt, Intent, Pending, UndoFailed, UndoIntent, Undone};
    use Witness::{Begun, None, Other, Same, Undoing};
    const OLDER: &[EpochOrder] = &[EpochOrder::DatabaseOlder];
    const CURRENT: &[EpochOrder] = &[EpochOrder::DatabaseCurrent];
    &[
        row('A', &[Pending], &[None], ANY_MODE, Decision::Run, "it was never begun"),
        row('B', &[Pending], &[Same], ANY_MODE, Decision::Adopt, "it is in effect; the journal is behind"),
        row(
            'C',
            &[Pending, Intent, Applied, Failed, InDoubt, UndoIntent, Undone],
            &[Other],
            ANY_MODE,
            Decision::Diverged,
            "the history holds it with another content",
        ),
        row('D', &[Intent, InDoubt], &[Same], ANY_MODE, Decision::Adopt, "it was committed; only the answer was lost"),
        row('E', &[Intent, InDoubt], &[None], TX, Decision::Run, "its transaction never committed"),
        row(
            'F',
            &[Intent, InDoubt],
            &[None],
            PARTS,
            Decision::AskCatalogs,
            "its parts ran outside one transaction; the catalogs tell how far it came",
        ),
        row(
            'F',
            &[Pending, Intent, InDoubt, Failed],
            &[Begun],
            ANY_MODE,
            Decision::AskCatalogs,
            "its parts ran outside one transaction; the catalogs tell how far it came",
        ),
        row('G', &[Applied], &[Same], ANY_MODE, Decision::Keep, "journal and history agree"),
        Row {
            epoch: OLDER,
            ..row(
                'H',
                &[Applied],
                &[None, Begun],
                ANY_MODE,
                Decision::Diverged,
                "the database went back to a time before it (a restored backup, or a failover that lost commits)",
            )
        },
        Row {
            epoch: CURRENT,
            ..row(
                'I',
                &[Applied],
                &[None, Begun],
                ANY_MODE,
                Decision::Diverged,
                "its history row was removed by someone else",
            )
        },
        row('J', &[Failed], &[None], ANY_MODE, Decision::Run, "it failed and left nothing"),
        row('K', &[Failed], &[Same], ANY_MODE, Decision::Impossible, "it is recorded as failed, and yet in effect"),
        row('L', &[UndoIntent], &[Same, Begun], ANY_MODE, Decision::UndoAgain, "its reversal never took effect"),
        row('M', &[UndoIntent], &[None], TX, Decision::RecordUndone, "its reversal was committed"),
        row(
            'N',
            &[UndoIntent],
            &[None],
            PARTS,
            Decision::AskCatalogs,
            "its reverse script ran in parts; the catalogs tell how far it came",
        ),
        row(
            'N',
            &[Pending, Applied, UndoIntent],
            &[Undoing],
            ANY_MODE,
            Decision::AskCatalogs,
            "its reverse script ran in parts; the catalogs tell how far it came",
        ),
        row('O', &[Undone], &[None], ANY_MODE, Decision::Keep, "journal and history agree"),
        row(
            'P',
            &[Undone],
            &[Same, Begun, Undoing],
            ANY_MODE,
            Decision::Diverged,
            "it was reversed, and is in effect again",
        ),
        row(
            'P',
            &[Intent, InDoubt, Failed],
            &[Undoing],
            ANY_MODE,
            Decision::Diverged,
            "it is being reversed by a run this journal does not know",
        ),
        row('Q', &[UndoFailed], &Witness::ALL, ANY_MODE, Decision::Stuck, "its reverse script failed"),
    ]
};

/// Looks a step up in the table.
///
/// Total: every combination of arguments has exactly one row (enumerated by a test).
#[must_use]
pub fn recover(journal: StepState, witness: Witness, mode: StepMode, epoch: EpochOrder) -> &'static Row {
    TABLE
        .iter()
        .find(|row| {
            row.journal.contains(&journal)
                && row.witness.contains(&witness)
                && row.mode.contains(&mode)
                && row.epoch.contains(&epoch)
        })
        .unwrap_or(&UNLISTED)
}

/// What [`recover`] would answer for a combination the table forgot. Nothing is written on its word.
static UNLISTED: Row =
    row('?', &[], &[], ANY_MODE, Decision::Impossible, "the recovery table has no row for what was found");

/// What the catalogs say of the first part that is not recorded as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evidence {
    /// Its effect is there.
    Done,
    /// Its effect is not there (leavings, if any, can be cleaned up).
    NotDone,
    /// The catalogs cannot tell.
    Unknown,
}

/// How a step by parts goes on, once the catalogs were asked (rows F and N).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PartsVerdict {
    /// All parts are done: record the step as done in its direction.
    Finished,
    /// Go on with this part (from 0).
    ContinueAt(u32),
    /// Nothing of it took effect.
    Untouched,
    /// A person must say whether this part (from 0) took effect.
    Ask(u32),
}

/// Settles rows F and N. `done` parts are recorded as done; `evidence` is about the part after them, absent when that
/// part was never begun, can be run in a transaction (then its absence from the record proves it had no effect), or runs
/// in pieces, each of which moves its own place in the same transaction (then it goes on from there).
#[must_use]
pub fn settle_parts(done: u32, total: u32, evidence: Option<Evidence>) -> PartsVerdict {
    let done = match evidence {
        Some(Evidence::Unknown) => return PartsVerdict::Ask(done),
        Some(Evidence::Done) => done.saturating_add(1),
        Some(Evidence::NotDone) | None => done,
    };
    match done {
        done if done >= total => PartsVerdict::Finished,
        0 => PartsVerdict::Untouched,
        done => PartsVerdict::ContinueAt(done),
    }
}

/// How a journal stands to the database it is about to act on, before any step is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// They belong together.
    Current,
    /// Another runner took the lock after this journal's last entry: the mirror in the database knows more.
    Behind,
    /// The database is older than this journal: a restored backup, or a failover that lost commits.
    DatabaseWentBack,
    /// The journal was made for another database.
    OtherDatabase,
}

/// Compares identities and epochs. `journal_epoch` is the highest epoch this journal ever held.
#[must_use]
pub fn standing(same_database: bool, journal_epoch: Option<Epoch>, database_epoch: Epoch) -> Standing {
    match journal_epoch {
        _ if !same_database => Standing::OtherDatabase,
        None => Standing::Current,
        Some(mine) if mine > database_epoch => Standing::DatabaseWentBack,
        Some(mine) if mine < database_epoch => Standing::Behind,
        Some(_) => Standing::Current,
    }
}

/// Whether a step that may run should, given where the run is heading (rows A, E, J: "unwinding: skip").
#[must_use]
pub const fn runs_towards(direction: Direction) -> bool {
    matches!(direction, Direction::Forward)
}

#[cfg(test)]
mod tests;
