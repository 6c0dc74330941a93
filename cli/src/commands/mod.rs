//! One file a command.

pub mod apply;
pub mod drift;
pub mod journal;
pub mod list;
pub mod new;
pub mod plan;
pub mod rehearse;
pub mod rollback;
pub mod schema;
pub mod status;
