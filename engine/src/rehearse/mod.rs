//! What a rehearsal finds out, how that is judged, and what of it is kept. Pure: the shell in `pg::rehearse` runs the
//! scripts.
//!
//! A rehearsal applies each migration to a scratch database, reverses it, holds the schema against the one before,
//! applies it again and holds the schema against the one after. [`Rehearsal`] is the outcome for one migration,
//! [`LockFile`] what travels with the files.

mod blame;
mod contradiction;
mod cost;
mod estimate;
mod extensions;
mod json;
mod lock;
mod order;
mod portable;
mod proof;
mod requires;
mod seed;
#[cfg(test)]
mod tests;
mod trial;
mod verdict;

pub use blame::{blame, blame_all};
pub use cost::{Build, Dropped, Observed, Oid, Relation, Scan, StatementCost, Tally, strongest_locks, worst_lock};
pub use estimate::{Hold, Size, Speed, holds};
pub use extensions::{created_extensions, created_roles, drops_plpgsql, package_of};
pub use json::InvalidRehearsal;
pub use lock::{BadLock, Entry, Link, LockFile, Stale, links, stale};
pub use order::other_order;
pub use portable::portable;
pub use proof::{Trust, trust, unproven};
pub use requires::{Footprint, Tie, fewest_requires, missing_ties, reduce};
pub use seed::{Reference, SeedColumn, SeedTable, Shape};
pub use trial::{Contents, Lost, Trial, Tried, lost};
pub use verdict::{Apply, Found, HeldLock, Reapply, Rehearsal, Rollback, excuse};
