//! One file a command.

pub mod apply;
pub mod explain;
pub mod journal;
pub mod lint;
pub mod list;
pub mod new;
pub mod plan;
pub mod rollback;
pub mod status;
