//! `journal show` and `journal list`.

use std::time::{Duration, Instant};

use clap::Args;
use migengine_engine::id::RunId;
use migengine_engine::pg::afar;
use migengine_engine::run::state::RunSnapshot;
use serde_json::{Value, json};

use crate::args::Format;
use crate::chronicle::{self, Reader, Told};
use crate::context::{Context, now};
use crate::error::{CommandError, Exit};
use crate::render::progress::progress_line_json;
use crate::render::{self, journal};

/// How often a watched run is asked for news.
const POLL: Duration = Duration::from_millis(250);
/// How often it is asked what it is at.
const GLANCE: Duration = Duration::from_secs(1);

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

/// Tells the events that are there, then those that come, and between them what the run is at, until it is over or rests.
/// A journal is opened for a moment only, so that a run can begin beside this.
async fn follow(context: &Context, mut reader: Reader, run: RunId) -> Result<Exit, CommandError> {
    let json = context.look.format == Format::Json;
    let mut seen = 0;
    let mut glance = Glance::default();
    loop {
        if let Some(told) = reader.told(run).await? {
            if seen == 0 && !json {
                render::data(&journal::heading(&told.run));
            }
            for record in told.records.iter().filter(|record| record.seq > seen) {
                if json {
                    render::data(&journal::event_line_json(&told.run, record).to_string());
                } else {
                    render::data(&journal::event_line(&told.run, record));
                }
            }
            seen = told.run.events.max(seen);
            if told.run.state.is_final() || told.run.rest.is_some() {
                return Ok(Exit::Done);
            }
            glance.tell(&reader, &told.run, json).await?;
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

/// What was last told of what a run is at.
#[derive(Default)]
struct Glance {
    at: Option<Instant>,
    words: Vec<String>,
}

impl Glance {
    /// Tells what is new, now and then. Only the database knows.
    async fn tell(&mut self, reader: &Reader, run: &RunSnapshot, json: bool) -> Result<(), CommandError> {
        let Reader::Database(session) = reader else { return Ok(()) };
        if self.at.is_some_and(|at| at.elapsed() < GLANCE) {
            return Ok(());
        }
        self.at = Some(Instant::now());
        let seen = afar::at_work(&session.client, &session.schema, run.run).await?;
        let mut words = Vec::new();
        for (name, progress) in &seen {
            // The server cuts the names of sessions.
            let step = run.started.steps.iter().map(|step| step.id.as_str()).find(|id| id.starts_with(name.as_str()));
            let step = step.unwrap_or(name);
            let line = format!("  {}        {:<15}  {step}  {}", render::time(now()), "now", progress.words());
            let what = format!("{step} {}", progress.words());
            if !self.words.contains(&what) {
                render::data(&if json {
                    progress_line_json(Some(run.run), run.events, Some(step), progress).to_string()
                } else {
                    line
                });
            }
            words.push(what);
        }
        self.words = words;
        Ok(())
    }
}
