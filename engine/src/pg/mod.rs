//! The shell towards PostgreSQL: it does what the pure part decided, and reports what it saw.

pub mod audit;
pub mod catalog;
pub mod chunk;
pub mod connect;
pub(crate) mod copy;
pub(crate) mod failure;
pub mod fingerprint;
pub(crate) mod flight;
pub(crate) mod guard;
pub mod layout;
pub mod lock;
pub mod mirror;
pub mod orphan;
pub mod preflight;
pub mod protect;
pub mod read;
pub mod rehearse;
pub mod room;
pub mod secret;
pub(crate) mod send;
pub mod session;
pub mod settle;
pub mod sqlstate;
pub mod target;
pub mod tls;
pub mod witness;
