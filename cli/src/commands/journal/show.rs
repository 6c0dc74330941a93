//! `journal show` and `journal list`.

use std::time::Duration;

use clap::Args;
use migengine_engine::id::RunId;
use serde_json::{Value, json};

use crate::args::Format;
use crate::chronicle::{self, Reader, Told};
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::render::{self, journal};

/// How often a watched run is asked for news.
const POLL: Duration = Duration::from_millis(250);

/// Options of `journal show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// A run: its name, four or more characters of its beginning, or `last`. Without it: all runs.
    #[arg(value_name = "RUN")]
    pub run: Option<String>,
    /// Go on showing events as they come, until the run is over or rests. In JSON: one event a line.
    #[arg(long)]
    pub follow: bool,
}

/// Runs `journal show`.
///
/// # Errors
/// Nothing can be read, or the run is not known.
pub(super) async fn run(context: &Context, args: &ShowArgs) -> Result<Exit, CommandError> {
    let reader = chronicle::open(context, args.follow).await?;
    if args.follow {
        let run = reader.find(args.run.as_deref().unwrap_or("last")).await?;
        return follow(context, reader, run).await;
    }
    let wanted = match &args.run {
        Some(text) => vec![reader.find(text).await?],
        None => reader.runs().await?,
    };
    let mut told = Vec::new();
    for run in wanted {
        told.extend(reader.told(run).await?);
    }
    if context.look.format == Format::Json {
        let runs: Vec<Value> = told.iter().map(|told| journal::run_json(&told.run, Some(&told.records))).collect();
        render::data(&json!({ "runs": runs }).to_string());
    } else if told.is_empty() {
        context.tell("there is no run yet");
    } else {
        let texts: Vec<String> = told.iter().map(whole).collect();
        render::data(texts.join("\n").trim_end());
    }
    Ok(Exit::Done)
}

fn whole(told: &Told) -> String {
    let mut text = format!("{}\n", journal::heading(&told.run));
    for record in &told.records {
        text.push_str(&journal::event_line(&told.run, record));
        text.push('\n');
    }
    text
}

/// Runs `journal list`.
///
/// # Errors
/// Nothing can be read.
pub(super) async fn list(context: &Context) -> Result<Exit, CommandError> {
    let reader = chronicle::open(context, false).await?;
    let mut runs = Vec::new();
    for run in reader.runs().await? {
        runs.extend(reader.told(run).await?.map(|told| told.run));
    }
    if context.look.format == Format::Json {
        let runs: Vec<Value> = runs.iter().map(|run| journal::run_json(run, None)).collect();
        render::data(&json!({ "runs": runs }).to_string());
    } else if runs.is_empty() {
        context.tell("there is no run yet");
    } else {
        let heading = ["RUN", "KIND", "STATE", "STARTED", "TOOK", "STEPS", "REST"].map(str::to_owned).to_vec();
        let rows: Vec<Vec<String>> = std::iter::once(heading).chain(runs.iter().map(journal::row)).collect();
        render::data(render::table(0, &rows).trim_end());
    }
    Ok(Exit::Done)
}

/// Tells the events that are there, then those that come, until the run is over or rests. A journal is opened for a
/// moment only, so that a run can begin beside this.
async fn follow(context: &Context, mut reader: Reader, run: RunId) -> Result<Exit, CommandError> {
    let json = context.look.format == Format::Json;
    let mut seen = 0;
    loop {
        if let Some(told) = reader.told(run).await? {
            if seen == 0 && !json {
                render::data(&journal::heading(&told.run));
            }
            for record in told.records.iter().filter(|record| record.seq > seen) {
                if json {
                    render::data(&journal::event_json(&told.run, record).to_string());
                } else {
                    render::data(&journal::event_line(&told.run, record));
                }
            }
            seen = told.run.events.max(seen);
            if told.run.state.is_final() || told.run.rest.is_some() {
                return Ok(Exit::Done);
            }
        }
        if let Reader::Journals(journals) = reader {
            drop(journals);
            tokio::time::sleep(POLL).await;
            reader = chronicle::open(context, true).await?;
        } else {
            tokio::time::sleep(POLL).await;
        }
    }
}
