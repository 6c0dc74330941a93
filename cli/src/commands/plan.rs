//! `migengine plan`: what would run. Takes no lock and writes nothing, not even the engine's own tables.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use clap::Args;
use migengine_engine::migration::{MigrationRef, ScriptKind};
use migengine_engine::pg::mirror::kept_scripts;
use migengine_engine::pg::read::{DatabaseState, ReadError, all_runs, earlier_durations};
use migengine_engine::pg::session::Session;
use migengine_engine::plan::{
    self, ApplyTarget, Graph, History, Plan, Planned, Policy, RollbackTarget, plan_apply, plan_rollback,
};
use migengine_engine::run::state::RunKind;

use crate::args::Format;
use crate::chronicle;
use crate::commands::apply::{joined, refuse_bad_files, refused, warn};
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::project::{self, Project};
use crate::render;
use crate::render::plan::Picture;
use crate::sources::{self, Kept};

/// Options of `plan`.
#[derive(Debug, Args, Default)]
pub struct PlanArgs {
    /// Migrations to apply, with what they require, or with --rollback to reverse: ids, numbers or files.
    #[arg(value_name = "ID-OR-FILE")]
    pub targets: Vec<String>,
    /// Everything up to and including this migration; with --rollback everything applied later than it.
    #[arg(long, value_name = "ID", conflicts_with = "targets")]
    pub to: Option<String>,
    /// Show what a rollback would reverse.
    #[arg(long)]
    pub rollback: bool,
    /// With --rollback: the N migrations applied last.
    #[arg(long, value_name = "N", requires = "rollback", conflicts_with_all = ["targets", "to"])]
    pub last: Option<NonZeroUsize>,
    /// With --rollback: what a run applied; `last` for the last run.
    #[arg(long = "run", value_name = "RUN", id = "of_run", requires = "rollback", conflicts_with_all = ["targets", "to", "last"])]
    pub of_run: Option<String>,
    /// With --rollback: also what depends on the migrations named.
    #[arg(long, requires = "rollback")]
    pub cascade: bool,
    /// Print the SQL that would run.
    #[arg(long)]
    pub sql: bool,
    /// Print the graph of all migrations instead.
    #[arg(long, value_enum, value_name = "LANGUAGE", conflicts_with_all = ["sql", "exit_code"])]
    pub graph: Option<Language>,
    /// Exit with 3 when something would run.
    #[arg(long)]
    pub exit_code: bool,
    /// Plan also what stands before an applied migration without saying what it requires.
    #[arg(long, conflicts_with = "rollback")]
    pub out_of_order: bool,
}

/// The languages of `--graph`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Language {
    /// Graphviz.
    Dot,
    /// Mermaid.
    Mermaid,
}

impl PlanArgs {
    /// Whether a rollback is planned: asked for, or every file named is a reverse script.
    #[must_use]
    pub fn direction(&self) -> RunKind {
        let reverse = |text: &String| matches!(MigrationRef::parse(text).kind(), ScriptKind::Reverse);
        let named = !self.targets.is_empty() && self.targets.iter().all(reverse);
        if self.rollback || named { RunKind::Rollback } else { RunKind::Apply }
    }
}

/// Runs the command.
///
/// # Errors
/// See the contract's exit codes.
pub async fn run(context: &Context, args: &PlanArgs) -> Result<Exit, CommandError> {
    if let Some(language) = args.graph {
        return draw(context, language).await;
    }
    let direction = args.direction();
    let rollback = direction == RunKind::Rollback;
    if rollback && args.targets.is_empty() && args.to.is_none() && args.last.is_none() && args.of_run.is_none() {
        let what = "a rollback needs a target: --to ID, --last N, --run RUN, or the migrations themselves";
        return Err(CommandError::usage("ME418", what));
    }
    let dir = context.dir.clone();
    let loading = tokio::task::spawn_blocking(move || match project::load(&dir) {
        // A retreat works without the files: the history keeps their text.
        Err(_) if rollback => Ok(Project { migrations: Vec::new(), diagnostics: Vec::new() }),
        loaded => loaded,
    });
    let opened = chronicle::connect(context).await;
    let project = joined(loading.await)?;
    if !rollback {
        refuse_bad_files(&project, &context.dir)?;
    }
    let project = if args.sql { project.held()? } else { project };
    let (session, state) = opened?;
    let kept = match rollback {
        true => Kept::parse(kept_scripts(&session.client, &session.schema, &[]).await?)?,
        false => Kept::default(),
    };
    let history = sources::history(state.ledger.as_ref(), &kept);
    let graph = Graph::build(project.nodes(), &history);
    let unfinished = match &state.ledger {
        Some(ledger) => chronicle::unfinished(context, &session, ledger).await?,
        None => None,
    };
    let planned = match direction {
        RunKind::Apply => {
            let policy = Policy { out_of_order: args.out_of_order, ..Policy::default() };
            plan_apply(&graph, &history, &apply_target(args), policy).map_err(refused)?
        }
        RunKind::Rollback => {
            let target = rollback_target(args, &session, unfinished.as_ref()).await?;
            plan_rollback(&graph, &history, &target, args.cascade).map_err(refused)?
        }
    };
    if let Some(open) = &unfinished {
        context.tell(&format!(
            "run {} ({}) is not finished: it comes first, with apply --resume or rollback --run (see migengine status)",
            open.run.run,
            open.run.started.kind.name()
        ));
    }
    let earlier = match state.ledger {
        Some(_) => earlier_durations(&session.client, &session.schema).await.map_err(ReadError::from)?,
        None => BTreeMap::new(),
    };
    show(context, args, Picture::new(&project, &kept, &planned).with_earlier(earlier), &planned);
    let pending = args.exit_code && !planned.plan.steps.is_empty();
    Ok(if pending { Exit::Differs } else { Exit::Done })
}

fn show(context: &Context, args: &PlanArgs, picture: Picture<'_>, planned: &Planned) {
    if context.look.format == Format::Json {
        return render::data(&picture.json(args.sql).to_string());
    }
    warn(context, &picture.general());
    if planned.plan.steps.is_empty() {
        context.tell(nothing(&planned.plan));
    } else if args.sql {
        render::data(picture.sql().trim_end());
    } else {
        render::data(picture.text().trim_end());
    }
}

fn nothing(plan: &Plan) -> &'static str {
    match plan.direction {
        RunKind::Apply => "nothing to do: every migration is applied",
        RunKind::Rollback => "nothing to do: nothing was applied after that",
    }
}

fn apply_target(args: &PlanArgs) -> ApplyTarget {
    match &args.to {
        Some(to) => ApplyTarget::To(to.clone()),
        None if args.targets.is_empty() => ApplyTarget::All,
        None => ApplyTarget::Ids(args.targets.clone()),
    }
}

async fn rollback_target(
    args: &PlanArgs,
    session: &Session,
    unfinished: Option<&chronicle::Open>,
) -> Result<RollbackTarget, CommandError> {
    if let Some(to) = &args.to {
        return Ok(RollbackTarget::To(to.clone()));
    }
    if let Some(last) = args.last {
        return Ok(RollbackTarget::Last(last));
    }
    let Some(text) = &args.of_run else { return Ok(RollbackTarget::Ids(args.targets.clone())) };
    let mut rows = all_runs(&session.client, &session.schema).await?;
    if text == "last" {
        // As in the rollback itself: the unfinished run comes first. What of it is in effect stands in the history.
        match unfinished.map(|open| &open.run).filter(|run| run.started.kind == RunKind::Apply) {
            Some(open) => rows.retain(|row| row.run == open.run),
            None => rows.retain(|row| row.kind == RunKind::Apply.name() && row.state == "Committed"),
        }
    }
    let known: Vec<_> = rows.iter().map(|row| row.run).collect();
    Ok(RollbackTarget::Run(chronicle::find(text, &known)?))
}

/// The graph of the files. What is applied is marked where the database can be asked.
async fn draw(context: &Context, language: Language) -> Result<Exit, CommandError> {
    let project = project::load(&context.dir)?.checked()?;
    let history = match chronicle::connect(context).await {
        Ok((_, DatabaseState { ledger, .. })) => sources::history(ledger.as_ref(), &Kept::default()),
        Err(error) => {
            context.tell(&format!("what is applied is not known, so everything is drawn as pending: {}", error.what));
            History::default()
        }
    };
    let graph = Graph::build(project.nodes(), &history);
    let format = match language {
        Language::Dot => plan::Format::Dot,
        Language::Mermaid => plan::Format::Mermaid,
    };
    let text = plan::render(&graph, &history, format);
    if context.look.format == Format::Json {
        render::data(&serde_json::json!({ "graph": text }).to_string());
    } else {
        render::data(text.trim_end());
    }
    warn(context, graph.problems());
    Ok(Exit::Done)
}
