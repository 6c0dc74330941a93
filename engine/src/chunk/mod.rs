//! Changing many rows in pieces: which SQL a batch is, how large the next one is, when to hold, what to do about a batch
//! that failed, and how far it has come. Pure; `pg::chunk` asks and sends, `drive::chunked` joins them.
//!
//! The rows of a batch, its place in the key and the check of the epoch are one transaction, and the next batch begins
//! where the database says that the last one ended: a runner that dies at any instant leaves nothing to guess.

mod hold;
mod key;
mod pace;
mod pass;
mod report;
mod setback;
mod sql;
mod trail;

pub use hold::{Facts, Hold, hold};
pub use key::{Candidate, Key, Unusable, choose};
pub use pace::Pace;
pub use pass::{After, Pass, SWEEPS, after_pass};
pub use report::{Meter, progress_words};
pub use setback::{Setback, setback};
pub use sql::{Range, Rewritten, boundary, rewrite};
pub use trail::Trail;
