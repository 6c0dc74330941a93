//! `migengine journal`.

use clap::Args;

use crate::context::Context;
use crate::error::{CommandError, Exit};

/// Options of `journal`.
#[derive(Debug, Args)]
pub struct JournalArgs {}

/// Runs the command.
///
/// # Errors
/// See the contract's exit codes.
pub async fn run(_context: &Context, _args: &JournalArgs) -> Result<Exit, CommandError> {
    Ok(Exit::Done)
}
