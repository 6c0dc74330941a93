//! `migengine resume`: let runners go on that `migengine pause` holds. An unfinished run is gone on with by
//! `apply --resume`, which is another matter.

use migengine_engine::pg::chunk;
use migengine_engine::pg::read::ReadError;
use serde_json::json;

use super::pause::engine_session;
use crate::args::Format;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::render;

/// Runs the command.
///
/// # Errors
/// No connection, or the engine's tables are not there.
pub async fn run(context: &Context) -> Result<Exit, CommandError> {
    let session = engine_session(context).await?;
    let was = chunk::unpause(&session.client, &session.schema).await.map_err(ReadError::from)?;
    match context.look.format {
        Format::Json => render::data(&json!({ "paused": false, "was": was }).to_string()),
        Format::Text if was => context.tell("resumed: runners that were held go on within a second"),
        Format::Text => {
            context.tell("nothing was paused; to go on with an unfinished run: migengine apply --resume");
        }
    }
    Ok(Exit::Done)
}
