//! `migengine rollback`: bring the database back.

use std::num::NonZeroUsize;

use clap::Args;
use migengine_engine::id::RunId;
use migengine_engine::migration::Script;
use migengine_engine::pg::mirror::kept_scripts;
use migengine_engine::plan::{Graph, RollbackTarget, plan_rollback};
use migengine_engine::rehearse::{Trust, trust, unproven};
use migengine_engine::run::event::Event;
use migengine_engine::run::state::{Direction, RunKind, RunSnapshot, StepState};
use tokio::sync::watch;

use crate::admission::{self, Beginning, Intention, Loss};
use crate::args::{RunOptions, reason};
use crate::commands::apply::{conclude, joined, refuse_read_only, refused, warn};
use crate::commands::rehearse::chain::Chain;
use crate::context::{Context, actor};
use crate::divisible::refuse_indivisible;
use crate::error::{CommandError, Exit};
use crate::execute::{Ending, Stage, Start};
use crate::journals::OpenJournal;
use crate::outcome::Asked;
use crate::project::{self, Project};
use crate::render::plan::Picture;
use crate::runs::{self, Unfinished};
use crate::sources::{self, Kept};

/// Options of `rollback`.
#[derive(Debug, Args, Default)]
#[command(group = clap::ArgGroup::new("target").required(true).args(["ids", "to", "last", "of_run", "resume"]))]
pub struct RollbackArgs {
    /// Migrations to reverse: ids, numbers or files.
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// Back to the state right after this migration was applied: reverse all that was applied later.
    #[arg(long, value_name = "ID")]
    pub to: Option<String>,
    /// Reverse the N migrations applied last.
    #[arg(long, value_name = "N")]
    pub last: Option<NonZeroUsize>,
    /// Reverse what a run applied; `last` for the last run. An unfinished run is turned around.
    #[arg(long = "run", value_name = "RUN", id = "of_run")]
    pub of_run: Option<String>,
    /// Go on with an unfinished rollback.
    #[arg(long)]
    pub resume: bool,
    /// Reverse also what depends on the migrations named.
    #[arg(long)]
    pub cascade: bool,
    /// Lose data in a protected database although the reverse script has no Allow line for it; the reason is kept in the
    /// journal.
    #[arg(long, value_name = "REASON", value_parser = reason)]
    pub accept_loss: Option<String>,
    /// Reverse also what no rehearsal has proven, in a protected database; the journal keeps that.
    #[arg(long)]
    pub unproven: bool,
    /// How to run.
    #[command(flatten)]
    pub run: RunOptions,
}

impl RollbackArgs {
    /// For `apply ID --rollback`.
    #[must_use]
    pub fn of_ids(ids: Vec<String>, run: RunOptions) -> Self {
        Self { ids, run, ..Self::default() }
    }
}

/// Runs the command.
///
/// # Errors
/// See the contract's exit codes.
pub async fn run(context: &Context, args: &RollbackArgs, stop: watch::Receiver<bool>) -> Result<Exit, CommandError> {
    let ending = rollback(context, args, stop).await;
    conclude(context, RunKind::Rollback, ending, args.run.events).await
}

/// The scripts that the history keeps.
///
/// # Errors
/// They cannot be read, or do not parse.
pub async fn kept(stage: &Stage<'_>) -> Result<Kept, CommandError> {
    Kept::parse(kept_scripts(&stage.session.client, &stage.session.schema, &[]).await?)
}

async fn rollback(context: &Context, args: &RollbackArgs, stop: watch::Receiver<bool>) -> Result<Ending, CommandError> {
    let limits = context.limits(&args.run)?;
    let outside = context.outside(&args.run)?;
    // The emergency way back works without the files: the history keeps their text.
    let dir = context.dir.clone();
    let loading = tokio::task::spawn_blocking(move || {
        project::load(&dir).or_else(|_| Ok(Project { migrations: Vec::new(), diagnostics: Vec::new() }))
    });
    let target = context.target()?;
    let (session, state) = context.open(&target, &limits).await?;
    let project = joined(loading.await)?;
    refuse_read_only(&state.server)?;
    let Some(ledger) = state.ledger.clone() else {
        return Err(CommandError::refused("ME142", "nothing was ever applied to this database"));
    };
    let mut journal = OpenJournal::open(&context.journal, &ledger.uuid).await?;
    if let Some(note) = &journal.note {
        context.tell(note);
    }
    let found = runs::unfinished(&session, &ledger, &mut journal).await?;
    let windows = context.windows_of(&args.run);
    let stage = Stage {
        context,
        target: &target,
        limits,
        windows,
        session,
        state,
        journal,
        stop,
        outside,
        show: args.run.progress,
    };
    let kept = kept(&stage).await?;
    let history = sources::history(stage.state.ledger.as_ref(), &kept);
    let graph = Graph::build(project.nodes(), &history);
    if let Some(found) = found {
        return go_on(stage, found, args, &project, &kept, &graph).await;
    }
    if args.resume {
        context.tell("nothing to resume: no run is unfinished");
        return Ok(Ending::nothing_to_do());
    }
    let target = match target_of(args, &stage.journal.runs)? {
        Chosen::Target(target) => target,
        Chosen::Run(run) => match known_run(&stage, run).await? {
            Some(run) => RollbackTarget::Run(run),
            None => {
                return Err(CommandError::usage(
                    "ME416",
                    format!("no run is named {}", args.of_run.as_deref().unwrap_or_default()),
                )
                .next("migengine journal list"));
            }
        },
    };
    let planned = plan_rollback(&graph, &history, &target, args.cascade).map_err(refused)?;
    warn(context, &planned.warnings);
    if planned.plan.steps.is_empty() {
        context.tell("nothing to do: nothing was applied after that");
        return Ok(Ending::nothing_to_do());
    }
    let scripts = sources::scripts(&project, &kept, &planned.plan.run_steps(), &graph);
    let notes = admit(&stage, args, Beginning::New, admission::backward(None, &scripts), &|| {
        Picture::new(&project, &kept, &planned).text()
    })
    .await?;
    let reverse: Vec<_> = scripts.iter().filter_map(|scripts| scripts.down.as_deref()).collect();
    refuse_indivisible(&stage.session, &reverse).await?;
    let start = stage.begin(&planned.plan, false, notes).await?;
    stage.drive(start, scripts, Asked::Rollback).await
}

/// With a run unfinished, only that run can be reversed or gone on with.
async fn go_on(
    stage: Stage<'_>,
    found: Unfinished,
    args: &RollbackArgs,
    project: &Project,
    kept: &Kept,
    graph: &Graph,
) -> Result<Ending, CommandError> {
    let Unfinished { run, unmirrored } = found;
    let named = args.of_run.as_deref().is_some_and(|text| text == "last" || names(text, run.run));
    let unwinding = run.direction == Direction::Unwinding;
    if !(named || args.resume && unwinding) {
        let read = stage.state.ledger.clone().unwrap_or_default();
        return Err(runs::in_the_way(&stage.session, &read, &stage.journal, &run).await?);
    }
    let scripts = sources::scripts(project, kept, &run.started.steps, graph);
    let failed: Vec<u32> = run.steps_in(StepState::UndoFailed).collect();
    let notes =
        admit(&stage, args, Beginning::Again, admission::backward(Some(&run), &scripts), &|| admission::outline(&run))
            .await?;
    let mut start = Start::resumed(run, unmirrored);
    stage.note(&mut start, Event::Resumed { actor: actor() }).await?;
    for note in notes {
        stage.note(&mut start, note).await?;
    }
    for step in failed {
        // The part that failed did not take effect; "true" would make a later recovery pass over it.
        let reason = "tried again by rollback".to_owned();
        stage.note(&mut start, Event::Resolved { step, applied: false, reason, actor: actor() }).await?;
    }
    if !unwinding {
        let reason = format!("rollback --run by {}", actor());
        stage.note(&mut start, Event::UnwindStarted { reason }).await?;
    }
    stage.drive(start, scripts, Asked::Rollback).await
}

/// Asks whether the reversal may begin.
async fn admit(
    stage: &Stage<'_>,
    args: &RollbackArgs,
    beginning: Beginning,
    scripts: Vec<&Script>,
    picture: &dyn Fn() -> String,
) -> Result<Vec<Event>, CommandError> {
    let intention = Intention {
        context: stage.context,
        target: stage.target,
        session: &stage.session,
        state: &stage.state,
        beginning,
        options: &args.run,
        scripts: scripts.clone(),
        loss: Loss::Accepted(args.accept_loss.as_deref()),
        picture,
    };
    let mut notes = intention.admit(&stage.stop).await?;
    notes.extend(trusted(stage, args, &scripts)?);
    Ok(notes)
}

/// Whether the reverse scripts may be trusted: told, refused, or noted where a person takes it upon themselves.
fn trusted(stage: &Stage<'_>, args: &RollbackArgs, scripts: &[&Script]) -> Result<Option<Event>, CommandError> {
    let lock = Chain::rehearsed(&stage.context.dir).map(|(_, lock)| lock).unwrap_or_default();
    let found = unproven(&lock, scripts.iter().copied());
    let names: Vec<&str> = found.iter().map(|script| script.file.as_str()).collect();
    let what = format!("no rehearsal has proven that this restores the schema: {}", names.join(", "));
    let protection = stage.context.protection(stage.state.ledger.as_ref());
    match trust(found.len(), args.unproven, &protection) {
        Trust::Given => Ok((!found.is_empty()).then(|| admission::note("unproven", what))),
        Trust::Warn => {
            stage.context.tell(&format!("warning: [ME624] {what}"));
            Ok(None)
        }
        Trust::Refuse => Err(CommandError::refused("ME624", what)
            .next("migengine rehearse, and keep migengine.lock with the files")
            .next("if it has to be: migengine rollback … --unproven, which the journal keeps")),
    }
}

enum Chosen {
    Target(RollbackTarget),
    Run(RunName),
}

enum RunName {
    Known(RunId),
    Text(String),
}

fn names(text: &str, run: RunId) -> bool {
    let text = text.to_ascii_lowercase();
    text.len() >= 4 && run.to_string().starts_with(&text) || run.to_string().ends_with(&text) && text.len() >= 6
}

fn target_of(args: &RollbackArgs, runs: &[RunSnapshot]) -> Result<Chosen, CommandError> {
    if let Some(to) = &args.to {
        return Ok(Chosen::Target(RollbackTarget::To(to.clone())));
    }
    if let Some(last) = args.last {
        return Ok(Chosen::Target(RollbackTarget::Last(last)));
    }
    let Some(text) = &args.of_run else { return Ok(Chosen::Target(RollbackTarget::Ids(args.ids.clone()))) };
    let matching: Vec<RunId> = runs.iter().map(|run| run.run).filter(|run| names(text, *run)).collect();
    match matching.as_slice() {
        [run] => Ok(Chosen::Run(RunName::Known(*run))),
        [] => Ok(Chosen::Run(RunName::Text(text.clone()))),
        several => {
            let several: Vec<String> = several.iter().map(ToString::to_string).collect();
            Err(CommandError::usage("ME416", format!("`{text}` could be {}", several.join(" or "))))
        }
    }
}

/// A run by what was typed, also one that only the database knows.
async fn known_run(stage: &Stage<'_>, name: RunName) -> Result<Option<RunId>, CommandError> {
    let text = match name {
        RunName::Known(run) => return Ok(Some(run)),
        RunName::Text(text) => text,
    };
    let all = migengine_engine::pg::read::all_runs(&stage.session.client, &stage.session.schema).await?;
    if text == "last" {
        return Ok(all.iter().rev().find(|run| run.kind == "apply" && run.state == "Committed").map(|run| run.run));
    }
    let mut matching = all.iter().map(|run| run.run).filter(|run| names(&text, *run));
    Ok(matching.next().filter(|_| matching.next().is_none()))
}
