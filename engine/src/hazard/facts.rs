//! What is known of one statement from its text.

use super::lock::{Blocks, LockMode, ObjectLock};
use crate::diag::Severity;
use crate::sql::QualifiedName;

/// What one statement does to the tables and to their users, as far as its text and the scripts before it tell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StatementFacts {
    /// Its first words, `ALTER TABLE`.
    pub verb: String,
    /// The locks it takes on tables that exist already. `ACCESS SHARE` and `ROW SHARE` are left out: they hinder nobody.
    pub locks: Vec<ObjectLock>,
    /// It writes a table anew.
    pub rewrite: bool,
    /// It reads a whole table, or builds an index.
    pub scan: bool,
    /// Data that was there is gone afterwards.
    pub data_loss: bool,
    /// The application that runs now may fail afterwards: a name it uses is gone.
    pub breaks_application: bool,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
    /// Whether the classifier knows this kind of statement. Nothing is known of the others: take them for dangerous or
    /// try them on a copy.
    pub classified: bool,
}

impl StatementFacts {
    /// Whom its strongest lock keeps waiting.
    #[must_use]
    pub fn blocks(&self) -> Blocks {
        self.locks.iter().map(|lock| lock.mode.blocks()).max().unwrap_or_default()
    }

    /// Its strongest lock.
    #[must_use]
    pub fn strongest(&self) -> Option<&ObjectLock> {
        self.locks.iter().max_by_key(|lock| lock.mode)
    }
}

/// What a finding costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// The lock that makes it one.
    pub lock: Option<LockMode>,
    /// A table is written anew.
    pub rewrite: bool,
    /// A table is read whole, or an index is built.
    pub scan: bool,
    /// Data is gone afterwards.
    pub data_loss: bool,
    /// The running application may fail.
    pub breaks_application: bool,
}

impl Cost {
    /// Nothing but a short lock.
    #[must_use]
    pub const fn lock(mode: LockMode) -> Self {
        Self { lock: Some(mode), rewrite: false, scan: false, data_loss: false, breaks_application: false }
    }

    /// A scan or an index build under this lock.
    #[must_use]
    pub const fn scan(mode: LockMode) -> Self {
        Self { scan: true, ..Self::lock(mode) }
    }

    /// A rewrite under the strongest lock.
    #[must_use]
    pub const fn rewrite() -> Self {
        Self { rewrite: true, ..Self::scan(LockMode::AccessExclusive) }
    }

    /// Data is lost, under the strongest lock.
    #[must_use]
    pub const fn loss() -> Self {
        Self { data_loss: true, breaks_application: true, ..Self::lock(LockMode::AccessExclusive) }
    }

    /// A name is lost, under the strongest lock.
    #[must_use]
    pub const fn breaking() -> Self {
        Self { breaks_application: true, ..Self::lock(LockMode::AccessExclusive) }
    }
}

/// One thing that is wrong with a statement, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// `MH001`; each has a page.
    pub code: &'static str,
    /// The name by which `-- Allow: hazard(object)` accepts it.
    pub hazard: &'static str,
    /// A note tells; a warning is worth a change.
    pub severity: Severity,
    /// What is hit: a table, or a column as `table.column`; with quotes where they are needed.
    pub object: String,
    /// The same as parts.
    pub path: Vec<String>,
    /// What it costs.
    pub cost: Cost,
    /// What happens, one sentence.
    pub message: String,
    /// What to write instead, with the statement's own names.
    pub safe_form: String,
    /// Where in the text it stands, in bytes.
    pub offset: usize,
}

impl Finding {
    /// Whom the lock keeps waiting.
    #[must_use]
    pub fn blocks(&self) -> Blocks {
        self.cost.lock.map(LockMode::blocks).unwrap_or_default()
    }
}

/// The parts of a name, with the column behind them.
pub(super) fn path(name: &QualifiedName, column: Option<&str>) -> Vec<String> {
    name.schema.iter().cloned().chain([name.name.clone()]).chain(column.map(ToOwned::to_owned)).collect()
}
