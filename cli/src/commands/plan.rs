//! `migengine plan`.

use clap::Args;

use crate::context::Context;
use crate::error::{CommandError, Exit};

/// Options of `plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {}

/// Runs the command.
///
/// # Errors
/// See the contract's exit codes.
pub async fn run(_context: &Context, _args: &PlanArgs) -> Result<Exit, CommandError> {
    Ok(Exit::Done)
}
