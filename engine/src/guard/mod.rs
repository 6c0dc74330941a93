//! Decisions of the lock guard: how not to keep the application waiting. Pure; `pg::guard` asks the server and
//! `drive::guarded` acts.
//!
//! A statement that waits for a strong lock stands in the queue, and everybody who comes after it waits behind it. So
//! the guard looks first and stays out of the queue while somebody holds what the step needs; it tries with a short
//! `lock_timeout`; it watches who waits behind the step and cancels it when that takes too long; and between two tries
//! it leaves the application in peace for longer than it had disturbed it.

mod claim;
mod decide;
mod holder;
mod limits;
mod tally;

pub use claim::{Case, Reach, case};
pub use decide::{Cancelled, Look, Setback, Verdict, after, is_gentle, look, over_budget, pause, setback};
pub use holder::{Holder, HolderKind, conflicts};
pub use limits::{Limits, OnBlocker};
pub use tally::{Tally, millis};
