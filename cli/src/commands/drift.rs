//! `migengine drift`: the database held against what was rehearsed.

use clap::Args;
use migengine_engine::schema::{Change, diff};
use serde_json::json;

use crate::args::{Format, RunOptions};
use crate::commands::rehearse::chain::Chain;
use crate::commands::rehearse::server::rehearsed_schema;
use crate::context::Context;
use crate::drift::{Comparison, compare};
use crate::error::{CommandError, Exit};
use crate::render;

/// Options of `drift`.
#[derive(Debug, Args)]
pub struct DriftArgs {
    /// Exit with 3 where the database is not as rehearsed.
    #[arg(long)]
    pub exit_code: bool,
}

/// Runs the command.
///
/// # Errors
/// See the contract's exit codes.
pub async fn run(context: &Context, args: &DriftArgs) -> Result<Exit, CommandError> {
    let chain = Chain::load(&context.dir)?;
    let lock = chain.read_lock().map_err(|error| error.exit(Exit::Refused))?;
    let target = context.target()?;
    let (session, state) = context.open(&target, &context.limits(&RunOptions::default())?).await?;
    let Some(comparison) = compare(context, (&chain, &lock), &session, state.ledger.as_ref()).await? else {
        if context.look.format == Format::Json {
            let object = json!({"drift": false, "after": null, "expected": null, "actual": null, "diff": []});
            render::data(&object.to_string());
        }
        context.tell("nothing is applied, so there is nothing to compare");
        return Ok(Exit::Done);
    };
    drop(session);
    let changes = explain(context, &chain, &comparison).await;
    if context.look.format == Format::Json {
        render::data(&comparison.json(changes.as_deref()).to_string());
    } else {
        changes.iter().flatten().for_each(|change| render::data(&change.to_string()));
    }
    let id = &comparison.after.0;
    if !comparison.drifted() {
        context.tell(&format!("the database is as it was rehearsed after {id}"));
        return Ok(Exit::Done);
    }
    let mut error = comparison.error();
    // The differences stand on stdout.
    error.what = format!("the database is not what it was after {id} when that was rehearsed");
    error.next.retain(|next| !next.starts_with("migengine drift"));
    let error = error.next("migengine schema --diff 'ID' live shows it again");
    render::line(render::error_text(&error, context.look.color).trim_end());
    Ok(if args.exit_code { Exit::Differs } else { Exit::Done })
}

/// The differences, where the rehearsed schema is at hand or can be made again.
async fn explain(context: &Context, chain: &Chain, comparison: &Comparison) -> Option<Vec<Change>> {
    if let Some(changes) = comparison.known_changes() {
        return Some(changes);
    }
    match rehearsed_schema(context, chain, comparison.after.1).await {
        Ok(expected) => Some(diff(&expected, &comparison.actual)),
        Err(error) => {
            context.tell(&format!("the rehearsed schema could not be made again: {}", error.what));
            None
        }
    }
}
