//! One file a command.

pub mod apply;
pub mod journal;
pub mod list;
pub mod new;
pub mod plan;
pub mod rollback;
pub mod status;
