//! `migengine resolve`: a person says what neither the history nor the catalogs can tell. The evidence is shown first,
//! and a verdict that it contradicts is refused.

use clap::{Args, ValueEnum};
use migengine_engine::migration::{DirectiveKey, PartKind, Script};
use migengine_engine::pg::catalog::observe;
use migengine_engine::pg::lock;
use migengine_engine::pg::read::{HistoryRow, HistoryState, ReadError};
use migengine_engine::pg::session::Session;
use migengine_engine::plan::{Graph, Resolver};
use migengine_engine::run::event::Event;
use migengine_engine::run::evidence::{Observed, judge};
use migengine_engine::run::journal::Journal as _;
use migengine_engine::run::recovery::Evidence;
use migengine_engine::run::state::{Direction, RestReason, RunSnapshot, StepIndex, StepState};
use serde_json::json;
use tokio::sync::watch;

use crate::args::{Format, RunOptions, ShowProgress};
use crate::commands::apply::joined;
use crate::context::{Context, actor};
use crate::error::{CommandError, Exit};
use crate::execute::{Stage, Start};
use crate::journals::OpenJournal;
use crate::outside::Outside;
use crate::project::{self, Project};
use crate::sources::{self, Kept};
use crate::{chronicle, outcome, render, runs};

/// Options of `resolve`.
#[derive(Debug, Args)]
pub struct ResolveArgs {
    /// The migration whose effect cannot be told: id, number or file.
    #[arg(value_name = "STEP")]
    pub step: String,
    /// What is true of it now.
    #[arg(long = "as", value_enum, value_name = "STATE")]
    pub verdict: Verdict,
    /// How you know. It is kept in the journal.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// The unfinished run, to be sure that it is the one meant.
    #[arg(long = "run", value_name = "RUN", id = "of_run")]
    pub of_run: Option<String>,
}

/// What a person says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Verdict {
    /// The statement in question is in effect (of a reversal: it is not, so the migration still is).
    Applied,
    /// It is not in effect (of a reversal: it is, so the migration is not).
    RolledBack,
}

/// What is known of the part in question.
struct Question {
    /// Whether it is a part of the reverse script.
    undoing: bool,
    /// The part, from 0.
    part: u32,
    /// The statement.
    sql: String,
    /// `file:line:column`.
    place: String,
    /// What the catalogs say.
    evidence: Evidence,
}

/// Runs the command.
///
/// # Errors
/// See the contract's exit codes.
pub async fn run(context: &Context, args: &ResolveArgs, stop: watch::Receiver<bool>) -> Result<Exit, CommandError> {
    if args.reason.trim().is_empty() {
        return Err(CommandError::usage("ME420", "--reason is empty: say how you know, it is kept in the journal"));
    }
    let limits = context.limits(&RunOptions::default())?;
    let dir = context.dir.clone();
    let loading = tokio::task::spawn_blocking(move || {
        project::load(&dir).or_else(|_| Ok(Project { migrations: Vec::new(), diagnostics: Vec::new() }))
    });
    let target = context.target()?;
    let (session, state) = context.open(&target, &limits).await?;
    let project = joined(loading.await)?;
    let nothing = || CommandError::refused("ME421", "no run is unfinished, so there is nothing to resolve");
    let Some(ledger) = state.ledger.clone() else { return Err(nothing()) };
    let mut journal = OpenJournal::open(&context.journal, &ledger.uuid).await?;
    let own = journal.journal.held().await?;
    if let Some(holder) = lock::holder(&session).await.filter(|holder| !holder.is_one_of(&own)) {
        return Err(CommandError::refused("ME331", format!("another runner holds the lock: {holder}")).exit(Exit::Busy));
    }
    let found = runs::unfinished(&session, &ledger, &mut journal).await?.ok_or_else(nothing)?;
    if let Some(text) = &args.of_run {
        chronicle::find(text, &[found.run.run])?;
    }
    let outside = Outside::silent();
    let windows = context.windows();
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
        show: ShowProgress::Plain,
    };
    let kept = crate::commands::rollback::kept(&stage).await?;
    let index = step_of(&found.run, &args.step)?;
    let id = &found.run.started.steps[index as usize].id; // invariant: `step_of` returns a step of the plan
    let row = ledger.history.get(id);
    let graph = Graph::build(project.nodes(), &sources::history(Some(&ledger), &kept));
    let question = question(&stage.session, &found.run, index, row, &project, &kept, &graph).await?;
    if question.is_none() {
        refuse_diverged(&found.run)?;
    }
    let Some(question) = question else {
        return settled(context, &found.run, index, row, args.verdict);
    };
    show(context, &found.run, index, row, &question);
    let took_effect = (args.verdict == Verdict::Applied) != question.undoing;
    refuse_contradiction(&found.run, index, &question, took_effect)?;
    let resume = outcome::resume_command(&found.run);
    let object = json!({
        "run_id": found.run.run.to_string(),
        "step": found.run.step_name(index),
        "part": question.part + 1,
        "took_effect": took_effect,
        "next": resume,
        "error": null,
    });
    let mut start = Start::resumed(found.run, found.unmirrored);
    let reason = args.reason.trim().to_owned();
    stage.note(&mut start, Event::Resolved { step: index, applied: took_effect, reason, actor: actor() }).await?;
    if context.look.format == Format::Json {
        render::data(&object.to_string());
    }
    context.tell(&format!("recorded in the journal. next: {resume}"));
    Ok(Exit::Done)
}

fn step_of(run: &RunSnapshot, text: &str) -> Result<StepIndex, CommandError> {
    let ids = || run.started.steps.iter().map(|step| &step.id);
    let resolver = Resolver::new(ids());
    let found = resolver.resolve(text).map_err(|error| {
        CommandError::usage("ME140", format!("{error} in run {}: {}", run.run, resolver.help(text)))
    })?;
    (0u32..)
        .zip(ids())
        .find(|(_, id)| *id == found.id)
        .map(|(index, _)| index)
        .ok_or_else(|| CommandError::usage("ME140", format!("run {} has no step {text}", run.run)))
}

/// The part that was announced in the history and not recorded as done. None where the history decides by itself.
async fn question(
    session: &Session,
    run: &RunSnapshot,
    index: StepIndex,
    row: Option<&HistoryRow>,
    project: &Project,
    kept: &Kept,
    graph: &Graph,
) -> Result<Option<Question>, CommandError> {
    let Some(row) = row.filter(|row| row.state != HistoryState::Applied) else { return Ok(None) };
    let Some(before) = row.part_before.as_deref().and_then(|text| serde_json::from_str::<Observed>(text).ok()) else {
        return Ok(None);
    };
    let undoing = row.state == HistoryState::Undoing;
    let scripts = sources::scripts(project, kept, &run.started.steps, graph);
    let scripts = scripts.into_iter().nth(index as usize).unwrap_or_default();
    let Some(script) = (if undoing { scripts.down } else { scripts.up }) else {
        let what = format!("the script of {} is gone, so what it was about cannot be told", run.step_name(index));
        return Err(CommandError::refused("ME422", what).next("put the file back, then try again"));
    };
    let Some(part) = script.parts.get(row.parts_done as usize) else { return Ok(None) };
    let (PartKind::Alone { effect }, Some(statement)) = (&part.kind, script.statements_of(part).first()) else {
        return Ok(None);
    };
    let author = script.directives(statement).find(|directive| directive.key == DirectiveKey::Verify);
    let author = author.map(|directive| directive.value.trim_end_matches(';').to_owned());
    session.client.batch_execute(&settings(&script, row.parts_done)).await.map_err(unreadable)?;
    let now = observe(&session.client, effect, author.as_deref()).await.map_err(unreadable)?;
    session.reset().await.map_err(unreadable)?;
    let position = script.text.position(statement.text.range().start);
    Ok(Some(Question {
        undoing,
        part: row.parts_done,
        sql: script.sql(statement).to_owned(),
        place: format!("{}:{}:{}", script.file, position.line, position.column),
        evidence: judge(effect, &before, &now).evidence,
    }))
}

fn unreadable(error: impl Into<ReadError>) -> CommandError {
    CommandError::from(error.into()).exit(Exit::Person)
}

/// What the script has set by then decides which objects its names mean.
fn settings(script: &Script, part: u32) -> String {
    script.settings_before(part as usize).into_iter().map(|statement| format!("{}; ", script.sql(statement))).collect()
}

fn show(context: &Context, run: &RunSnapshot, index: StepIndex, row: Option<&HistoryRow>, question: &Question) {
    let said = match question.evidence {
        Evidence::Done => "it took effect",
        Evidence::NotDone => "it did not take effect",
        Evidence::Unknown => "they cannot tell",
    };
    let script = if question.undoing { "reverse script" } else { "script" };
    let statement: Vec<String> = question.sql.lines().take(12).map(|line| format!("     {line}")).collect();
    context.tell(&format!(
        "run {} ({}), step {}\n  journal: {:?}\n  history: {}\n  in question: part {} of its {script}, {}\n{}\n  catalogs: {said}",
        run.run,
        run.started.kind.name(),
        run.step_name(index),
        run.steps.get(index as usize).map_or(StepState::Pending, |step| step.state),
        row_words(row),
        question.part + 1,
        question.place,
        statement.join("\n"),
    ));
}

fn row_words(row: Option<&HistoryRow>) -> String {
    match row {
        None => "no row: not in effect".to_owned(),
        Some(row) => match row.state {
            HistoryState::Applied => "in effect".to_owned(),
            HistoryState::Begun => format!("begun, parts done: {}", row.parts_done),
            HistoryState::Undoing => format!("being reversed, parts done: {}", row.parts_done),
        },
    }
}

fn refuse_contradiction(
    run: &RunSnapshot,
    index: StepIndex,
    question: &Question,
    took_effect: bool,
) -> Result<(), CommandError> {
    let contradicted = match question.evidence {
        Evidence::Done => !took_effect,
        Evidence::NotDone => took_effect,
        Evidence::Unknown => false,
    };
    if !contradicted {
        return Ok(());
    }
    let is = if took_effect { "did not take effect" } else { "took effect" };
    let what = format!("the catalogs contradict that: part {} of {} {is}", question.part + 1, run.step_name(index));
    Err(CommandError::refused("ME423", what)
        .state("Nothing was changed, and nothing was recorded.")
        .next(format!("the catalogs are enough to go on: {}", outcome::resume_command(run))))
}

/// Nobody's word brings journal and history together again.
fn refuse_diverged(run: &RunSnapshot) -> Result<(), CommandError> {
    let Some(rest) = run.rest.as_ref().filter(|rest| rest.reason == RestReason::Diverged) else { return Ok(()) };
    let what = format!("run {} has diverged, which is nothing that resolve could settle: {}", run.run, rest.message);
    let error =
        CommandError::refused("ME629", what).exit(Exit::Person).state("Nothing was changed, and nothing was recorded.");
    Err(outcome::next_lines(run).into_iter().fold(error, CommandError::next))
}

/// Where the history row decides, a person's word adds nothing; one against it is refused.
fn settled(
    context: &Context,
    run: &RunSnapshot,
    index: StepIndex,
    row: Option<&HistoryRow>,
    verdict: Verdict,
) -> Result<Exit, CommandError> {
    let in_effect = row.is_some_and(|row| row.state != HistoryState::Begun);
    let name = run.step_name(index);
    let resume = match run.direction {
        Direction::Forward => "migengine apply --resume",
        Direction::Unwinding => "migengine rollback --resume",
    };
    if in_effect != (verdict == Verdict::Applied) && row.is_none_or(|row| row.parts_done == 0) {
        let is = if in_effect { "in effect" } else { "not in effect" };
        let what = format!("the history contradicts that: {name} is {is} by its row, written in its own transaction");
        let failed = run.steps.get(index as usize).is_some_and(|step| step.state == StepState::UndoFailed);
        let next = if failed { format!("mend the reverse script, then: {resume}") } else { resume.to_owned() };
        return Err(CommandError::refused("ME424", what)
            .state("Nothing was changed, and nothing was recorded.")
            .next(next));
    }
    if context.look.format == Format::Json {
        let object = json!({ "run_id": run.run.to_string(), "step": name, "part": null, "took_effect": null, "next": resume, "error": null });
        render::data(&object.to_string());
    }
    context.tell(&format!("{name}: {}. The database itself tells, so no decision is needed", row_words(row)));
    context.tell(&format!("next: {resume}"));
    Ok(Exit::Done)
}
