//! `migengine journal`: runs and their events, their integrity, and the way back from a lost journal.

mod check;
mod rebuild;
mod show;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::context::Context;
use crate::error::{CommandError, Exit};

/// Options of `journal`.
#[derive(Debug, Args)]
pub struct JournalArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: JournalCommand,
}

/// The commands of `journal`.
#[derive(Debug, Subcommand)]
pub enum JournalCommand {
    /// Show runs with their events, oldest first.
    Show(show::ShowArgs),
    /// List the runs, oldest first.
    List,
    /// Check the integrity of the journal, and compare it with the database where that can be reached.
    Check,
    /// Move the journal aside and make a new one from what the database keeps of every run.
    Rebuild(rebuild::RebuildArgs),
}

impl JournalArgs {
    /// The fields of the JSON interface, without anything in them: what an error is told beside.
    #[must_use]
    pub fn empty_json(&self) -> Value {
        match &self.command {
            JournalCommand::Show(_) | JournalCommand::List => json!({ "runs": [] }),
            JournalCommand::Check => json!({ "sound": null, "journals": [] }),
            JournalCommand::Rebuild(_) => json!({ "journal": null, "moved_to": null, "runs": 0, "records": 0 }),
        }
    }

    /// Whether an interrupt is the normal end of the command.
    #[must_use]
    pub fn watches(&self) -> bool {
        matches!(&self.command, JournalCommand::Show(args) if args.follow)
    }
}

/// Runs the command.
///
/// # Errors
/// See the contract's exit codes.
pub async fn run(context: &Context, args: &JournalArgs) -> Result<Exit, CommandError> {
    match &args.command {
        JournalCommand::Show(args) => show::run(context, args).await,
        JournalCommand::List => show::list(context).await,
        JournalCommand::Check => check::run(context).await,
        JournalCommand::Rebuild(args) => rebuild::run(context, args).await,
    }
}
