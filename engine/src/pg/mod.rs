//! The shell towards PostgreSQL: it does what the pure part decided, and reports what it saw.

pub mod layout;
pub mod read;
