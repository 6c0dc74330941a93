//! The engine of migengine. See ARCHITECTURE.md for the map.

pub mod audit;
pub mod chunk;
pub mod diag;
#[cfg(feature = "postgres")]
pub mod drive;
pub mod guard;
pub mod hazard;
pub mod id;
pub mod migration;
#[cfg(feature = "postgres")]
pub mod pg;
pub mod plan;
pub mod preflight;
pub mod progress;
pub mod protect;
pub mod rehearse;
pub mod run;
pub mod schema;
pub mod sql;
