//! `migengine protect`: a mark inside the database, so that changes to it need its name typed. It wins over any file.

use clap::Args;
use migengine_engine::drive::open_ledger;
use migengine_engine::pg::protect::mark;
use migengine_engine::pg::read::ReadError;
use serde_json::json;
use tokio::sync::watch;

use crate::admission::{consent, word};
use crate::args::{Format, RunOptions};
use crate::commands::apply::refuse_read_only;
use crate::context::{Context, actor};
use crate::error::{CommandError, Exit};
use crate::execute::ENGINE;
use crate::render;

/// Options of `protect`.
#[derive(Debug, Args)]
pub struct ProtectArgs {
    /// Take the mark off.
    #[arg(long)]
    pub off: bool,
    /// Do not ask.
    #[arg(short, long, requires = "off")]
    pub yes: bool,
    /// With --yes: the name of the database that is meant.
    #[arg(long, value_name = "DATABASE", requires = "off")]
    pub confirm: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// See the contract's exit codes.
pub async fn run(context: &Context, args: &ProtectArgs, stop: watch::Receiver<bool>) -> Result<Exit, CommandError> {
    let limits = context.limits(&RunOptions::default())?;
    let target = context.target()?;
    let (mut session, mut state) = context.open(&target, &limits).await?;
    refuse_read_only(&state.server)?;
    let database = state.server.database.clone();
    let marked = state.ledger.as_ref().is_some_and(|ledger| ledger.mark.is_some());
    if marked == args.off {
        if args.off {
            let protection = context.protection(state.ledger.as_ref());
            let show = || format!("target: {target}\nthe mark would be taken off");
            word(&protection, &consent(args.yes, args.confirm.clone()), &database, &show, &stop).await?;
        }
        if state.ledger.is_none() {
            state = open_ledger(&session, limits.lock_wait_runner, ENGINE).await?;
        }
        // The settings of a run: what was acknowledged must be durable.
        session.rename("migengine:protect");
        session.reset().await.map_err(ReadError::from)?;
        mark(&session, !args.off, &actor()).await.map_err(ReadError::from)?;
    }
    drop(state);
    let word = match (args.off, marked) {
        (false, false) => "is protected from now on: changes need its name",
        (false, true) => "is protected already",
        (true, true) => "bears no mark any more",
        (true, false) => "bears no mark",
    };
    if context.look.format == Format::Json {
        render::data(&json!({ "database": database, "protected": !args.off, "error": null }).to_string());
    }
    context.tell(&format!("the database `{database}` {word}"));
    Ok(Exit::Done)
}
