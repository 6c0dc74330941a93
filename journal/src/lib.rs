//! The local journal of migengine: what this machine was about to do and what came of it, on disk before the next act.
//!
//! - [`wire`]: the stored form of a record and its versions;
//! - [`chain`]: the hash chain of a run, and its comparison with the database's anchor;
//! - [`store`]: the records on sled, durable and behind one thread;
//! - [`check`]: integrity of a whole journal;
//! - [`memory`]: the same records without a disk;
//! - [`points`]: the places at which a test may kill the process or fail the disk.

pub mod chain;
pub mod check;
pub mod memory;
pub mod points;
pub mod store;
pub mod wire;

pub use memory::MemoryJournal;
pub use store::{Note, Opened, Settled, SledJournal, settled};
