//! The shell towards PostgreSQL.

pub mod connect;
pub mod secret;
pub mod sqlstate;
pub mod target;
pub mod tls;
