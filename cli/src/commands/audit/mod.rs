//! `migengine audit`: who did what to the schema, whether the log is as it was written, and the log for elsewhere.

mod export;
mod show;
mod verify;

use clap::{Args, Subcommand};
use migengine_engine::audit::Entry;
use migengine_engine::pg::audit::page;
use migengine_engine::pg::read::{DatabaseState, Ledger};
use migengine_engine::pg::session::Session;
use serde_json::{Value, json};

use crate::chronicle;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::render;

/// Options of `audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: AuditCommand,
}

/// The commands of `audit`.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Show the entries, oldest first.
    Show(show::ShowArgs),
    /// Check the hash chain, the journal's memory of it, and the history against it.
    Verify,
    /// Write every entry with all its columns, as lines of JSON or comma-separated (`--format jsonl|csv`).
    Export(export::ExportArgs),
}

impl AuditArgs {
    /// Whether the formats of an export apply.
    #[must_use]
    pub fn exports(&self) -> bool {
        matches!(self.command, AuditCommand::Export(_))
    }

    /// The fields of the JSON interface without anything in them.
    #[must_use]
    pub fn empty_json(&self) -> Value {
        match &self.command {
            AuditCommand::Show(_) => json!({ "entries": [] }),
            AuditCommand::Verify => json!({ "sound": null, "entries": null, "findings": [] }),
            AuditCommand::Export(_) => json!({}),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// See the contract's exit codes.
pub async fn run(context: &Context, args: &AuditArgs) -> Result<Exit, CommandError> {
    match &args.command {
        AuditCommand::Show(args) => show::run(context, args).await,
        AuditCommand::Verify => verify::run(context).await,
        AuditCommand::Export(args) => export::run(context, args).await,
    }
}

/// A log that is read page by page, so that many long scripts never are in memory together.
struct Log {
    session: Session,
    ledger: Ledger,
    after: i64,
}

impl Log {
    /// Connects.
    async fn open(context: &Context) -> Result<Self, CommandError> {
        match chronicle::connect(context).await? {
            (session, DatabaseState { ledger: Some(ledger), .. }) => Ok(Self { session, ledger, after: 0 }),
            _ => Err(CommandError::refused("ME757", "this database has no audit log: nothing was ever applied to it")
                .next("migengine apply")),
        }
    }

    /// The next entries; none at the end.
    async fn next(&mut self) -> Result<Vec<Entry>, CommandError> {
        let entries = page(&self.session.client, &self.session.schema, self.after).await?;
        self.after = entries.last().map_or(self.after, |entry| entry.seq);
        Ok(entries)
    }
}

/// An entry with all its columns.
fn object(entry: &Entry) -> Value {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let origin: Option<Value> =
        entry.origin.as_deref().map(|text| serde_json::from_str(text).unwrap_or_else(|_| text.into()));
    json!({
        "seq": entry.seq,
        "at": render::time(entry.at),
        "action": entry.action,
        "run_id": entry.run,
        "migration": entry.migration,
        "epoch": entry.epoch,
        "role": entry.role,
        "address": entry.address,
        "application": entry.application,
        "origin": origin,
        "content": entry.content.as_deref().map(hex),
        "tokens": entry.tokens.as_deref().map(hex),
        "sql": entry.sql,
        "detail": entry.detail,
        "hash": hex(&entry.hash),
    })
}
