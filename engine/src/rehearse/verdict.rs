//! The outcome of rehearsing one migration, and what it is worth.

use super::cost::StatementCost;
use super::requires::Footprint;
use super::trial::Trial;
use crate::id::{Digest, MigrationId};
use crate::migration::Header;
use crate::run::failure::Failure;
use crate::schema::{Change, Verdict};

/// Declares an enumeration whose values have a word each, used in JSON and in the lock file alike.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$item:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$item])* $variant,)* }

        impl $name {
            /// The word for it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// The value a word stands for.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

words! {
    /// What the forward script did.
    Apply {
        /// It took effect, and its checks hold.
        Ok = "ok",
        /// It did not take effect, or was not tried because something it requires did not.
        Failed = "failed",
    }
}

words! {
    /// What the reverse script did.
    Rollback {
        /// The schema is what it was before.
        Exact = "exact",
        /// It is, but for the order of columns.
        Order = "order",
        /// Another schema is there.
        Differs = "differs",
        /// It raised an error.
        Failed = "failed",
        /// There is none, and nobody said that this is on purpose.
        Missing = "missing",
        /// There is none, on purpose.
        Irreversible = "irreversible",
    }
}

words! {
    /// What the forward script did after the reverse script.
    Reapply {
        /// The schema is what it was after the first time.
        Exact = "exact",
        /// It is, but for the order of columns.
        Order = "order",
        /// Another schema is there.
        Differs = "differs",
        /// It raised an error.
        Failed = "failed",
        /// Not tried: there was nothing to apply it to again.
        Skipped = "skipped",
    }
}

impl From<Verdict> for Rollback {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Exact => Self::Exact,
            Verdict::OrderOnly => Self::Order,
            Verdict::Differs => Self::Differs,
        }
    }
}

impl From<Verdict> for Reapply {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Exact => Self::Exact,
            Verdict::OrderOnly => Self::Order,
            Verdict::Differs => Self::Differs,
        }
    }
}

/// One difference, with the line of the script that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The object and what is different about it.
    pub change: Change,
    /// File and line (from 1).
    pub at: Option<(String, u32)>,
}

/// A lock that the forward script held on something that was there before it, at its strongest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldLock {
    /// The relation as SQL names it, `users`.
    pub object: String,
    /// `ACCESS EXCLUSIVE`, `SHARE ROW EXCLUSIVE`, …
    pub mode: String,
}

/// The outcome for one migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rehearsal {
    /// The migration.
    pub id: MigrationId,
    /// Forward.
    pub apply: Apply,
    /// Back.
    pub rollback: Rollback,
    /// Forward again.
    pub reapply: Reapply,
    /// What is different after the rollback; where that is exact, after the second apply.
    pub diff: Vec<Found>,
    /// The first error of the three.
    pub error: Option<Failure>,
    /// Locks of the forward script, each at its strongest.
    pub locks: Vec<HeldLock>,
    /// What each statement of the forward script cost.
    pub statements: Vec<StatementCost>,
    /// What each statement of the reverse script cost, as far as it went.
    pub rollback_statements: Vec<StatementCost>,
    /// What the forward script makes, changes and reads.
    pub footprint: Footprint,
    /// The same with rows in the tables, where that was asked for.
    pub trial: Option<Trial>,
    /// The whole rehearsal of this migration, in microseconds.
    pub duration_us: u64,
    /// Fingerprint of the schema after it, without the names of its owner (see [`super::portable()`]).
    pub schema: Option<Digest>,
    /// `Allow: unfaithful-rollback(reason)`, or the text of `Irreversible`.
    pub excuse: Option<String>,
}

impl Rehearsal {
    /// A migration of which nothing is known yet.
    #[must_use]
    pub fn failed(id: MigrationId, error: Failure) -> Self {
        Self {
            id,
            apply: Apply::Failed,
            rollback: Rollback::Missing,
            reapply: Reapply::Skipped,
            diff: Vec::new(),
            error: Some(error),
            locks: Vec::new(),
            statements: Vec::new(),
            rollback_statements: Vec::new(),
            footprint: Footprint::default(),
            trial: None,
            duration_us: 0,
            schema: None,
            excuse: None,
        }
    }

    /// Forward, back and forward again gave what they should; the order of columns does not matter.
    #[must_use]
    pub fn proven(&self) -> bool {
        self.apply == Apply::Ok
            && !self.fails_with_rows()
            && matches!(self.rollback, Rollback::Exact | Rollback::Order)
            && matches!(self.reapply, Reapply::Exact | Reapply::Order)
    }

    /// Not proven, and the author said why that is accepted. An error is never excused.
    #[must_use]
    pub fn excused(&self) -> bool {
        let faithful_again = !matches!(self.reapply, Reapply::Failed);
        self.apply == Apply::Ok
            && !self.fails_with_rows()
            && match self.rollback {
                Rollback::Irreversible => true,
                Rollback::Differs => self.excuse.is_some() && faithful_again,
                // Reversed exactly, but the second time gives another schema.
                Rollback::Exact | Rollback::Order => {
                    self.reapply == Reapply::Differs && self.excuse.is_some() && faithful_again
                }
                Rollback::Failed | Rollback::Missing => false,
            }
    }

    /// Whether rows in the tables, of whatever value, make it fail.
    #[must_use]
    pub fn fails_with_rows(&self) -> bool {
        self.trial.as_ref().is_some_and(Trial::fails_for_any_rows)
    }

    /// Neither proven nor excused.
    #[must_use]
    pub fn broken(&self) -> bool {
        !self.proven() && !self.excused()
    }
}

/// What the header of a forward script, or of its reverse, says in excuse of a rollback that does not restore the
/// schema.
#[must_use]
pub fn excuse(headers: &[&Header]) -> Option<String> {
    let irreversible = headers.iter().find_map(|header| header.irreversible.clone());
    irreversible.or_else(|| {
        let allowances = headers.iter().flat_map(|header| &header.allow);
        let allowed = allowances.into_iter().find(|allowance| allowance.hazard == "unfaithful-rollback")?;
        Some(allowed.reason.clone().unwrap_or_else(|| allowed.object.clone()))
    })
}
