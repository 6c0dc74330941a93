//! What the planner is given: the files as parsed, and the current state of the history. Plain data, so that a plan
//! can be made from a folder, from a test's one-line notation, or from the database alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::diag::{Diagnostic, Position};
use crate::id::{Digest, MigrationId, RunId, Timestamp};

/// A migration named in a header, as written there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefText {
    /// An id, a number or a file name, trimmed.
    pub text: String,
    /// Where it begins in the file.
    pub position: Position,
    /// The whole header line, to be shown under a message. Shared by the references of a line.
    pub line: Option<Arc<str>>,
}

impl RefText {
    /// Points a diagnostic at this reference.
    pub(super) fn point(&self, mut diagnostic: Diagnostic) -> Diagnostic {
        diagnostic.position = Some(self.position);
        diagnostic.line_text = self.line.as_deref().map(str::to_owned);
        diagnostic
    }
}

/// What the header says about dependencies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requires {
    /// No `Requires` key: the migration before this one, in (number, id) order.
    Default,
    /// `Requires: …`, in the order written. Empty for `Requires: none`, which makes a root.
    Declared(Vec<RefText>),
}

/// What the planner needs to know of one script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Script {
    /// Checksum over the LF-normalised bytes.
    pub content: Digest,
    /// Checksum over the tokens: unchanged by comments and white space.
    pub tokens: Digest,
    /// Whether it runs in one transaction.
    pub transactional: bool,
}

/// One migration as found in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Stem of the forward script.
    pub id: MigrationId,
    /// The forward script as shown to people.
    pub file: String,
    /// Dependencies.
    pub requires: Requires,
    /// Migrations this one may not be applied together with.
    pub conflicts: Vec<RefText>,
    /// Forward script.
    pub up: Script,
    /// Reverse script, where there is a file.
    pub down: Option<Script>,
    /// Text of the `Irreversible` key.
    pub irreversible_reason: Option<String>,
}

impl Node {
    /// Whether the header says what is required, rather than leaving it to the numbers.
    #[must_use]
    pub fn declares_requirements(&self) -> bool {
        self.requires != Requires::Default
    }
}

/// One migration that is in effect, from the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The migration.
    pub id: MigrationId,
    /// Checksum over the LF-normalised bytes of the forward script that was applied.
    pub content: Digest,
    /// Checksum over its tokens.
    pub tokens: Digest,
    /// When it took effect.
    pub applied_at: Timestamp,
    /// Order of application: higher is later. Not necessarily without gaps.
    pub seq: i64,
    /// What it depended on when it was applied.
    pub requires: Vec<MigrationId>,
    /// The reverse script kept in the history, if any.
    pub reverse: Option<Script>,
    /// The run that applied it.
    pub run: RunId,
}

/// Everything that is in effect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    by_id: BTreeMap<MigrationId, Applied>,
    /// Oldest application first.
    order: Vec<MigrationId>,
}

impl History {
    /// From rows in any order. Of two rows with one id the later application counts.
    #[must_use]
    pub fn new(rows: impl IntoIterator<Item = Applied>) -> Self {
        let mut by_id: BTreeMap<MigrationId, Applied> = BTreeMap::new();
        for row in rows {
            if by_id.get(&row.id).is_none_or(|known| known.seq < row.seq) {
                by_id.insert(row.id.clone(), row);
            }
        }
        let mut order: Vec<_> = by_id.values().map(|row| (row.seq, row.id.clone())).collect();
        order.sort();
        Self { by_id, order: order.into_iter().map(|(_, id)| id).collect() }
    }

    /// Whether a migration is in effect.
    #[must_use]
    pub fn contains(&self, id: &MigrationId) -> bool {
        self.by_id.contains_key(id)
    }

    /// The row of a migration that is in effect.
    #[must_use]
    pub fn get(&self, id: &MigrationId) -> Option<&Applied> {
        self.by_id.get(id)
    }

    /// All rows in (number, id) order.
    pub fn by_id(&self) -> impl DoubleEndedIterator<Item = &Applied> {
        self.by_id.values()
    }

    /// All rows in the order of application, oldest first.
    pub fn in_order(&self) -> impl DoubleEndedIterator<Item = &Applied> {
        self.order.iter().filter_map(|id| self.by_id.get(id))
    }

    /// Number of migrations in effect.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether nothing is in effect.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The ids in effect directly before and after an id, in (number, id) order: what to name when it is not there.
    #[must_use]
    pub fn neighbours(&self, id: &MigrationId) -> (Option<&MigrationId>, Option<&MigrationId>) {
        use std::ops::Bound::{Excluded, Unbounded};
        let before = self.by_id.range(..id).next_back().map(|(id, _)| id);
        let after = self.by_id.range((Excluded(id), Unbounded)).next().map(|(id, _)| id);
        (before, after)
    }
}
