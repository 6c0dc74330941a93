//! `audit show`.

use clap::Args;
use migengine_engine::audit::Entry;
use serde_json::{Value, json};

use super::{Log, object};
use crate::args::Format;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::render;

/// Options of `audit show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Only what was done to this migration: its id, or the beginning of it.
    #[arg(long, value_name = "ID")]
    pub migration: Option<String>,
    /// Only this run: its name, or the beginning of it.
    #[arg(long, value_name = "RUN")]
    pub run: Option<String>,
}

impl ShowArgs {
    fn wants(&self, entry: &Entry) -> bool {
        let begins = |wanted: &Option<String>, value: &Option<String>| {
            wanted.as_ref().is_none_or(|wanted| {
                value.as_ref().is_some_and(|value| value.to_lowercase().starts_with(&wanted.to_lowercase()))
            })
        };
        begins(&self.migration, &entry.migration) && begins(&self.run, &entry.run)
    }
}

/// Runs the command.
///
/// # Errors
/// The log cannot be read.
pub(super) async fn run(context: &Context, args: &ShowArgs) -> Result<Exit, CommandError> {
    let mut log = Log::open(context).await?;
    let json = context.look.format == Format::Json;
    let heading = ["SEQ", "AT", "ACTION", "MIGRATION", "WHO", "WHERE FROM", "DETAIL"].map(str::to_owned).to_vec();
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut objects: Vec<Value> = Vec::new();
    loop {
        let entries = log.next().await?;
        if entries.is_empty() {
            break;
        }
        for entry in entries.iter().filter(|entry| args.wants(entry)) {
            if json {
                objects.push(object(entry));
            } else {
                rows.push(row(entry));
            }
        }
    }
    if json {
        render::data(&json!({ "entries": objects }).to_string());
    } else if rows.is_empty() {
        context.tell("no entry fits");
    } else {
        rows.insert(0, heading);
        render::data(render::table(0, &rows).trim_end());
    }
    Ok(Exit::Done)
}

fn row(entry: &Entry) -> Vec<String> {
    let origin: Value = entry.origin.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let text = |key: &str| origin[key].as_str().map(str::to_owned);
    let commit = text("git_commit").map(|commit| format!("commit {}", commit.chars().take(12).collect::<String>()));
    let from: Vec<String> = [text("ci_url").or_else(|| text("ci")), commit].into_iter().flatten().collect();
    // Whoever changes things outside of a run has no part in the origin of the last one.
    let ours = entry.application.as_deref().is_some_and(|name| name.starts_with("migengine"));
    let who = match text("actor").filter(|_| ours) {
        Some(actor) => format!("{actor} as {}", entry.role),
        None => format!("{} by {}", entry.role, entry.application.as_deref().unwrap_or("an unnamed program")),
    };
    // Every entry of a run has them; they are told once.
    let opens = matches!(entry.action.as_str(), "run_started" | "run_resumed");
    let decided = origin["decided"].as_array().filter(|_| opens && ours).into_iter().flatten();
    let decided = decided.filter_map(|text| text.as_str().map(str::to_owned));
    let detail: Vec<String> = entry.detail.iter().cloned().chain(decided).collect();
    vec![
        entry.seq.to_string(),
        render::time(entry.at),
        entry.action.clone(),
        entry.migration.clone().unwrap_or_default(),
        who,
        if ours { from.join(", ") } else { String::new() },
        detail.join("; "),
    ]
}
