//! `migengine export`: the schema as a file.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::args::{Format, RunOptions};
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::outside::export::{Wanted, dump, write};
use crate::render;

/// Options of `export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Where to [default: `file` of the export section in the configuration, else schema.sql]; `-` is stdout.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Write nothing, and exit with 3 where the file differs from the schema.
    #[arg(long)]
    pub check: bool,
}

/// Runs the command.
///
/// # Errors
/// See the contract's exit codes.
pub async fn run(context: &Context, args: &ExportArgs) -> Result<Exit, CommandError> {
    let limits = context.limits(&RunOptions::default())?;
    let target = context.target()?;
    let (session, state) = context.open(&target, &limits).await?;
    drop(session);
    let settings = context.section().export.clone().unwrap_or_default();
    let file = args.output.clone().or(settings.file.clone()).unwrap_or_else(|| PathBuf::from("schema.sql"));
    let engine_schema = context.schema.raw().to_owned();
    let wanted = Wanted { target, server: state.server.version, engine_schema, settings };
    let text = tokio::task::spawn_blocking(move || dump(&wanted));
    let text = crate::commands::apply::joined(text.await)?;
    if file.as_os_str() == "-" {
        render::data(text.trim_end());
        return Ok(Exit::Done);
    }
    let same = std::fs::read(&file).is_ok_and(|old| old == text.as_bytes());
    let changed = if args.check { !same } else { write(&file, &text)? };
    match context.look.format {
        Format::Json => render::data(&json!({ "file": file.display().to_string(), "changed": changed }).to_string()),
        Format::Text if args.check && changed => {
            context.tell(&format!("{} is not the schema of the database; next: migengine export", file.display()));
        }
        Format::Text if changed => context.tell(&format!("wrote {}", file.display())),
        Format::Text => context.tell(&format!("{} is up to date", file.display())),
    }
    Ok(if args.check && changed { Exit::Differs } else { Exit::Done })
}
