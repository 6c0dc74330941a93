//! `migengine pause`: keep every runner on this database, wherever it runs, from beginning another piece of a statement
//! that runs in pieces. What is under way is finished first; nothing is cancelled and nothing is lost.

use clap::Args;
use migengine_engine::pg::chunk;
use migengine_engine::pg::read::ReadError;
use migengine_engine::pg::session::Session;
use serde_json::json;

use crate::args::Format;
use crate::chronicle;
use crate::context::{Context, actor};
use crate::error::{CommandError, Exit};
use crate::render;

/// Options of `pause`.
#[derive(Debug, Args)]
pub struct PauseArgs {
    /// Why; shown to whoever waits.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// No connection, or the engine's tables are not there.
pub async fn run(context: &Context, args: &PauseArgs) -> Result<Exit, CommandError> {
    let session = engine_session(context).await?;
    let new = chunk::pause(&session.client, &session.schema, &actor(), args.reason.as_deref())
        .await
        .map_err(ReadError::from)?;
    let words = chunk::paused(&session.client, &session.schema).await.map_err(ReadError::from)?;
    let words = words.unwrap_or_default();
    match context.look.format {
        Format::Json => render::data(&json!({ "paused": true, "new": new, "words": words }).to_string()),
        Format::Text if new => context.tell("paused: no runner begins another batch until `migengine resume`"),
        Format::Text => context.tell(&format!("it was paused already, {words}")),
    }
    Ok(Exit::Done)
}

/// A session on a database that holds the engine's tables.
///
/// # Errors
/// No connection, or the engine's tables are not there.
pub async fn engine_session(context: &Context) -> Result<Session, CommandError> {
    let (session, state) = chronicle::connect(context).await?;
    if state.ledger.is_none() {
        let what = "migengine has never changed this database, so there is nothing to pause or to resume";
        return Err(CommandError::refused("ME443", what).next("look where you are connected: migengine status"));
    }
    Ok(session)
}
