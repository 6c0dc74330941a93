//! `migengine drift`: the database held against what was rehearsed.

use std::collections::BTreeSet;

use clap::Args;
use migengine_engine::id::MigrationId;
use migengine_engine::pg::read::{HistoryState, Ledger};
use migengine_engine::pg::session::Session;
use migengine_engine::rehearse::portable;
use migengine_engine::schema::{Change, Schema, diff};
use serde_json::json;

use crate::args::{Format, RunOptions};
use crate::commands::rehearse::chain::Chain;
use crate::commands::rehearse::server::rehearsed_schema;
use crate::commands::schema::{changes_json, read};
use crate::context::Context;
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
    let Some(at) = last_applied(&chain, state.ledger.as_ref())? else {
        if context.look.format == Format::Json {
            let object = json!({"drift": false, "after": null, "expected": null, "actual": null, "diff": []});
            render::data(&object.to_string());
        }
        context.tell("nothing is applied, so there is nothing to compare");
        return Ok(Exit::Done);
    };
    let link = chain.members.get(at).map(|member| &member.link);
    let entry = link.and_then(|link| lock.get(&link.id).filter(|entry| entry.chain == link.chain));
    let (Some(link), Some(entry)) = (link, entry) else {
        let what = "the last applied migration was not rehearsed as the folder has it now";
        return Err(CommandError::refused("ME613", what).next("migengine rehearse"));
    };
    let owner = owner(context, &session).await?;
    let actual = portable(&read(context, &session).await?, &owner);
    drop(session);
    let drift = actual.digest() != entry.schema;
    let changes = if drift { explain(context, &chain, at, &actual).await } else { Some(Vec::new()) };
    if context.look.format == Format::Json {
        let object = json!({
            "drift": drift,
            "after": link.id.as_str(),
            "expected": entry.schema.to_string(),
            "actual": actual.digest().to_string(),
            "diff": changes.as_deref().map(changes_json),
        });
        render::data(&object.to_string());
    } else {
        changes.iter().flatten().for_each(|change| render::data(&change.to_string()));
    }
    if !drift {
        context.tell(&format!("the database is as it was rehearsed after {}", link.id));
        return Ok(Exit::Done);
    }
    let what = format!("the database is not what it was after {} when that was rehearsed", link.id);
    let error = CommandError::refused("ME612", what)
        .next("put the change into a migration, or undo it by hand")
        .next("migengine schema --diff 'ID' live shows it again");
    render::line(render::error_text(&error, context.look.color).trim_end());
    Ok(if args.exit_code { Exit::Differs } else { Exit::Done })
}

/// The differences, where the rehearsed schema is at hand or can be made again.
async fn explain(context: &Context, chain: &Chain, at: usize, actual: &Schema) -> Option<Vec<Change>> {
    match rehearsed_schema(context, chain, at).await {
        Ok(expected) => Some(diff(&expected, actual)),
        Err(error) => {
            context.tell(&format!("the rehearsed schema could not be made again: {}", error.what));
            None
        }
    }
}

/// The place in the chain up to which everything, and nothing else, is applied.
fn last_applied(chain: &Chain, ledger: Option<&Ledger>) -> Result<Option<usize>, CommandError> {
    let rows = ledger.into_iter().flat_map(|ledger| ledger.history.values());
    let applied: BTreeSet<&MigrationId> =
        rows.filter(|row| row.state == HistoryState::Applied).map(|row| &row.id).collect();
    if applied.is_empty() {
        return Ok(None);
    }
    let prefix: BTreeSet<&MigrationId> =
        chain.members.iter().take(applied.len()).map(|member| &member.link.id).collect();
    if prefix == applied {
        return Ok(Some(applied.len() - 1));
    }
    let odd = chain.members.iter().map(|member| &member.link.id).find(|id| !applied.contains(id));
    let what = match odd {
        Some(id) => {
            format!("what is applied was never rehearsed in this combination: {id} is not, others after it are")
        }
        None => "what is applied was never rehearsed in this combination".to_owned(),
    };
    Err(CommandError::refused("ME619", what).next("migengine status shows what is pending and missing"))
}

/// Who applies migrations here: the owner of the engine's schema, as SQL writes it.
async fn owner(context: &Context, session: &Session) -> Result<String, CommandError> {
    let sql = "SELECT quote_ident(pg_get_userbyid(nspowner)) FROM pg_namespace WHERE nspname = $1";
    let row = session.client.query_opt(sql, &[&context.schema.raw()]).await;
    let row = row.map_err(|error| CommandError::refused("ME617", format!("the owner could not be read: {error}")))?;
    Ok(row.and_then(|row| row.try_get(0).ok()).unwrap_or_default())
}
