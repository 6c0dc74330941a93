//! `migengine new`.

use clap::Args;

use crate::context::Context;
use crate::error::{CommandError, Exit};

/// Options of `new`.
#[derive(Debug, Args)]
pub struct NewArgs {}

/// Runs the command.
///
/// # Errors
/// See the contract's exit codes.
pub fn run(_context: &Context, _args: &NewArgs) -> Result<Exit, CommandError> {
    Ok(Exit::Done)
}
