//! cli
pub mod embedded;
