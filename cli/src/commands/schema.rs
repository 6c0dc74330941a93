//! `migengine schema`: a schema in readable form, or the difference of two.

use std::path::Path;

use clap::Args;
use migengine_engine::pg::fingerprint;
use migengine_engine::pg::session::Session;
use migengine_engine::pg::target::{SystemFiles, Target};
use migengine_engine::schema::{Change, Schema, compare, diff};
use serde_json::{Value, json};

use crate::args::{Format, RunOptions};
use crate::commands::rehearse::chain::Chain;
use crate::commands::rehearse::server::rehearsed_schema;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::render;

/// Options of `schema`.
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Show what B has that A has not, and the other way round. Each is the URL of a database, a file written by
    /// `schema --format json`, a migration (the rehearsed schema after it), or `live` (the database of this command).
    #[arg(long, num_args = 2, value_names = ["A", "B"])]
    pub diff: Option<Vec<String>>,
    /// Exit with 3 where the two differ.
    #[arg(long, requires = "diff")]
    pub exit_code: bool,
}

/// Runs the command.
///
/// # Errors
/// See the contract's exit codes.
pub async fn run(context: &Context, args: &SchemaArgs) -> Result<Exit, CommandError> {
    let json = context.look.format == Format::Json;
    if let Some([a, b]) = args.diff.as_deref() {
        let (expected, actual) = (source(context, a).await?, source(context, b).await?);
        let changes = diff(&expected, &actual);
        if json {
            let verdict = compare(&expected, &actual).as_str();
            render::data(&json!({ "verdict": verdict, "diff": changes_json(&changes) }).to_string());
        } else {
            changes.iter().for_each(|change| render::data(&change.to_string()));
            if changes.is_empty() {
                context.tell("the same schema");
            }
        }
        return Ok(if args.exit_code && !changes.is_empty() { Exit::Differs } else { Exit::Done });
    }
    let schema = live(context).await?;
    if json {
        render::data(&schema.to_json().to_string());
    } else {
        render::data(schema.to_text().trim_end());
    }
    Ok(Exit::Done)
}

/// `[{"object","change"}]`.
#[must_use]
pub fn changes_json(changes: &[Change]) -> Vec<Value> {
    changes.iter().map(|change| json!({"object": change.object, "change": change.change})).collect()
}

async fn source(context: &Context, text: &str) -> Result<Schema, CommandError> {
    if text == "live" {
        return live(context).await;
    }
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        let env = |name: &str| std::env::var(name).ok();
        return of_target(context, &Target::resolve(Some(text), &env, &SystemFiles)?).await;
    }
    if !text.ends_with(".sql") && Path::new(text).is_file() {
        let content = std::fs::read_to_string(text).map_err(|error| wrong(text, &error.to_string()))?;
        let document: Value = serde_json::from_str(&content).map_err(|error| wrong(text, &error.to_string()))?;
        return Schema::from_json(&document).map_err(|error| wrong(text, &error.to_string()));
    }
    let chain = Chain::load(&context.dir)?;
    let at = chain.place(text)?;
    rehearsed_schema(context, &chain, at).await
}

fn wrong(text: &str, why: &str) -> CommandError {
    CommandError::usage("ME614", format!("{text} holds no schema: {why}"))
        .next("write one: migengine schema --format json > FILE")
}

async fn live(context: &Context) -> Result<Schema, CommandError> {
    let target = context.target()?;
    of_target(context, &target).await
}

async fn of_target(context: &Context, target: &Target) -> Result<Schema, CommandError> {
    let settings = context.limits(&RunOptions::default())?.settings();
    let session = Session::open(target, &context.schema, "migengine:schema", &settings).await?;
    read(context, &session).await
}

/// The schema of a session's database, without the engine's own.
///
/// # Errors
/// It could not be read.
pub async fn read(context: &Context, session: &Session) -> Result<Schema, CommandError> {
    let schema = fingerprint::read(&session.client, &[context.schema.raw()]).await;
    schema.map_err(|error| migengine_engine::pg::rehearse::RehearseError::from(error).into())
}
