//! `migengine list`.

use clap::Args;

use crate::context::Context;
use crate::error::{CommandError, Exit};

/// Options of `list`.
#[derive(Debug, Args)]
pub struct ListArgs {}

/// Runs the command.
///
/// # Errors
/// See the contract's exit codes.
pub fn run(_context: &Context, _args: &ListArgs) -> Result<Exit, CommandError> {
    Ok(Exit::Done)
}
