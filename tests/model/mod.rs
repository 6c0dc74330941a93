//! The model of the protocol; see `tests/model.rs` for what it leaves out.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, unreachable_pub)]

pub mod explore;
pub mod lanes;
pub mod parts;
pub mod protocol;
pub mod rows;
pub mod runner;
pub mod server;
pub mod state;
