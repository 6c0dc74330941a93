//! `migengine status`.

use clap::Args;

use crate::context::Context;
use crate::error::{CommandError, Exit};

/// Options of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {}

/// Runs the command.
///
/// # Errors
/// See the contract's exit codes.
pub async fn run(_context: &Context, _args: &StatusArgs) -> Result<Exit, CommandError> {
    Ok(Exit::Done)
}
