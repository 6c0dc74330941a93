//! `migengine apply`: bring the database forward.

use std::path::Path;

use clap::Args;
use migengine_engine::drive::{DriveError, open_ledger};
use migengine_engine::id::Epoch;
use migengine_engine::migration::ScriptKind;
use migengine_engine::pg::read::DatabaseState;
use migengine_engine::plan::{self, ApplyTarget, Graph, Policy, plan_apply};
use migengine_engine::run::event::Event;
use migengine_engine::run::state::{Direction, Manner, RunKind};
use tokio::sync::watch;

use crate::admission::{self, Beginning, Intention, Loss};
use crate::args::{Format, RunOptions};
use crate::commands::rollback::{self, RollbackArgs};
use crate::context::{Context, Limits, actor};
use crate::divisible::refuse_indivisible;
use crate::drift;
use crate::error::{CommandError, Exit};
use crate::execute::{ENGINE, Ending, Stage, Start};
use crate::journals::{self, JournalPlace, OpenJournal};
use crate::manner;
use crate::meant::meant;
use crate::outcome::{self, Asked};
use crate::outline::{self, Seen};
use crate::project::{self, Project};
use crate::render;
use crate::render::plan::Picture;
use crate::runs::{self, Unfinished};
use crate::sources::{self, Kept};

/// Options of `apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// Migrations to apply, with what they require: ids, numbers or files. Without any: all that are pending.
    #[arg(value_name = "ID-OR-FILE")]
    pub targets: Vec<String>,
    /// Everything up to and including this migration, in the order of the plan.
    #[arg(long, value_name = "ID", conflicts_with = "targets")]
    pub to: Option<String>,
    /// Go on with the unfinished run.
    #[arg(long, conflicts_with_all = ["targets", "to", "rollback"])]
    pub resume: bool,
    /// Reverse the migrations named instead.
    #[arg(long, requires = "targets")]
    pub rollback: bool,
    /// What to do when a step fails: rest there, or reverse what this run applied.
    #[arg(long, value_enum, default_value_t = OnFailure::Stop)]
    pub on_failure: OnFailure,
    /// All steps in one transaction: all of them take effect, or none.
    #[arg(long, conflicts_with_all = ["resume", "rollback", "jobs"])]
    pub atomic: bool,
    /// Steps that do not depend on each other, and do not block each other, run at once on N sessions [default: 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), conflicts_with = "rollback")]
    pub jobs: Option<u16>,
    /// Apply also what stands before an applied migration without saying what it requires.
    #[arg(long)]
    pub out_of_order: bool,
    /// How to run.
    #[command(flatten)]
    pub run: RunOptions,
}

impl ApplyArgs {
    fn manner(&self) -> Manner {
        if self.atomic { Manner::AtOnce } else { Manner::StepByStep }
    }
}

/// What to do when a step fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum OnFailure {
    /// Rest there; the run can be resumed or reversed.
    Stop,
    /// Reverse what this run applied.
    Rollback,
}

/// Runs the command.
///
/// # Errors
/// See the contract's exit codes.
pub async fn run(context: &Context, args: &ApplyArgs, stop: watch::Receiver<bool>) -> Result<Exit, CommandError> {
    let reverse =
        |text: &String| matches!(migengine_engine::migration::MigrationRef::parse(text).kind(), ScriptKind::Reverse);
    if args.rollback || (!args.targets.is_empty() && args.targets.iter().all(reverse)) {
        return rollback::run(context, &RollbackArgs::of_ids(args.targets.clone(), args.run.clone()), stop).await;
    }
    let ending = if args.targets.iter().any(reverse) {
        Err(CommandError::usage("ME418", "forward and reverse scripts are named together; a run goes one way")
            .next("migengine rollback ID for what is to be reversed, then: migengine apply ID"))
    } else {
        apply(context, args, stop).await
    };
    conclude(context, RunKind::Apply, ending, args.run.events).await
}

/// Holds the schema against the rehearsed one where a run came to its end, and tells how it ended, in the format asked
/// for.
///
/// # Errors
/// None; the signature is that of a command.
pub async fn conclude(
    context: &Context,
    kind: RunKind,
    ending: Result<Ending, CommandError>,
    events: bool,
) -> Result<Exit, CommandError> {
    let json = context.look.format == Format::Json;
    let finish = |object| if events { outcome::as_last_line(object) } else { object };
    match ending {
        Ok(mut ending) => {
            let mut drift = None;
            if ending.run.is_some() && ending.error.is_none() && ending.exit == Exit::Done {
                let (told, error) = drift::after_run(context).await;
                drift = told;
                ending.exit = error.as_ref().map_or(Exit::Done, |error| error.exit);
                ending.error = error;
            }
            if json {
                let mut object = match (&ending.run, &ending.error) {
                    (Some(run), error) => outcome::json(run, error.as_ref()),
                    (None, _) => outcome::nothing_json(kind),
                };
                if let Some(fields) = object.as_object_mut() {
                    fields.insert("drift".to_owned(), drift.unwrap_or_default());
                }
                let object = outcome::with_remarks(object, &ending.remarks);
                render::data(&finish(object).to_string());
            }
            let error = ending.error.or_else(|| ending.run.as_ref().and_then(rest_error));
            if let Some(mut error) = error {
                let meant = error.failure.as_deref().and_then(|failure| meant(context, failure));
                error.next.splice(0..0, meant);
                render::line(render::error_text(&error, context.look.color).trim_end());
            }
            Ok(ending.exit)
        }
        Err(error) => {
            if json {
                render::data(&finish(outcome::refused_json(kind, &error)).to_string());
            }
            render::line(render::error_text(&error, context.look.color).trim_end());
            Ok(error.exit)
        }
    }
}

/// The message for a run that rests, or that was taken back because a step failed.
fn rest_error(run: &migengine_engine::run::state::RunSnapshot) -> Option<CommandError> {
    let failure = outcome::failure(run);
    let code = failure.map_or_else(|| rest_code(run), |failure| failure.code.clone());
    let step = run.rest.as_ref().and_then(|rest| rest.step).map(|step| run.step_name(step).to_owned());
    let what = match (&run.rest, failure, step) {
        (_, Some(failure), step) => {
            let sqlstate = failure.sqlstate.as_ref().map(|code| format!(" (SQLSTATE {code})")).unwrap_or_default();
            let step = step.map(|step| format!("{step}: ")).unwrap_or_default();
            format!("{step}{}{sqlstate}", failure.message)
        }
        (Some(rest), None, Some(step)) if !rest.message.contains(&step) => format!("{step}: {}", rest.message),
        (Some(rest), None, _) => rest.message.clone(),
        (None, None, _) => return None,
    };
    let mut error = CommandError::refused(&code, what).state(outcome::database_state(run));
    error.failure = failure.cloned().map(Box::new);
    error.next = outcome::next_lines(run);
    Some(error)
}

fn rest_code(run: &migengine_engine::run::state::RunSnapshot) -> String {
    use migengine_engine::run::state::RestReason;
    let code = match run.rest.as_ref().map(|rest| rest.reason) {
        Some(RestReason::Interrupted) => "ME412",
        Some(RestReason::InDoubt) => "ME413",
        Some(RestReason::Diverged) => "ME414",
        Some(RestReason::Stuck) => "ME415",
        Some(RestReason::Failed) | None => "ME401",
    };
    code.to_owned()
}

/// The code of [`DriveError::Overtaken`].
const OVERTAKEN: &str = "ME352";

/// Plans and runs; plans anew where another runner changed the database before this one got the lock.
async fn apply(context: &Context, args: &ApplyArgs, stop: watch::Receiver<bool>) -> Result<Ending, CommandError> {
    loop {
        let ending = attempt(context, args, stop.clone()).await;
        let error = match &ending {
            Ok(ending) => ending.error.as_ref(),
            Err(error) => Some(error),
        };
        if error.is_none_or(|error| error.code != OVERTAKEN) || *stop.borrow() {
            return ending;
        }
        context.tell("another runner was faster: planning anew");
    }
}

async fn attempt(context: &Context, args: &ApplyArgs, stop: watch::Receiver<bool>) -> Result<Ending, CommandError> {
    let limits = Limits { jobs: args.jobs.map_or(1, usize::from), ..context.limits(&args.run)? };
    let outside = context.outside(&args.run)?;
    let (dir, place) = (context.dir.clone(), context.journal.clone());
    let looking = tokio::task::spawn_blocking(move || Folder::look(&dir, &place));
    let target = context.target()?;
    let opened = context.open(&target, &limits).await;
    let folder = joined(looking.await)?;
    if let (Ok((_, state)), Folder::Known(nodes), false, 1) = (&opened, &folder, args.resume, limits.jobs)
        && let Some(found) = nothing_to_do(context, args, nodes, state)
    {
        tracing::info!("the folder is as it was when its files were read last: they are not read again");
        warn(context, &found);
        context.tell(NOTHING_TO_DO);
        return Ok(Ending::nothing_to_do());
    }
    let (project, seen) = folder.read(&context.dir).await?;
    if !args.resume {
        refuse_bad_files(&project, &context.dir)?;
    }
    let (session, mut state) = match opened {
        Ok(opened) => opened,
        Err(error) if args.resume => return Err(runs::unreachable(&context.journal, error).await),
        Err(error) => return Err(error),
    };
    refuse_read_only(&state.server)?;
    manner::refuse_crowded(&session, limits.jobs).await?;
    let history = sources::history(state.ledger.as_ref(), &Kept::default());
    let graph = Graph::build(project.nodes(), &history);
    let mut kept_open = None;
    let settled = state.ledger.as_ref().is_some_and(|ledger| journals::is_settled(&context.journal, ledger));
    if let Some(ledger) = state.ledger.as_ref().filter(|_| !settled) {
        let mut journal = OpenJournal::open(&context.journal, &ledger.uuid).await?;
        if let Some(note) = &journal.note {
            context.tell(note);
        }
        if let Some(found) = runs::unfinished(&session, ledger, &mut journal).await? {
            if !args.resume {
                return Err(runs::in_the_way(&session, ledger, &journal, &found.run).await?);
            }
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
            return resume(stage, found, project, &graph, &args.run).await;
        }
        if args.resume {
            context.tell("nothing to resume: no run is unfinished");
            return Ok(Ending::nothing_to_do());
        }
        kept_open = Some(journal);
    } else if args.resume {
        context.tell("nothing to resume: no run is unfinished");
        return Ok(Ending::nothing_to_do());
    }
    let policy = Policy { out_of_order: args.out_of_order, ..Policy::default() };
    let planned = plan_apply(&graph, &history, &apply_target(args), policy).map_err(refused)?;
    warn(context, &planned.warnings);
    if planned.plan.steps.is_empty() {
        context.tell(NOTHING_TO_DO);
        if let Some(seen) = seen {
            outline::keep(&context.journal, &context.dir, seen, &project);
        }
        if let (Some(journal), Some(ledger)) = (kept_open, &state.ledger) {
            journal.close(None, &ledger.uuid);
        }
        return Ok(Ending::nothing_to_do());
    }
    let scripts = sources::scripts(&project, &Kept::default(), &planned.plan.run_steps(), &graph);
    manner::refuse_unjoinable(args.manner(), &scripts)?;
    let picture = || Picture::new(&project, &Kept::default(), &planned).text();
    let intention = Intention {
        context,
        target: &target,
        session: &session,
        state: &state,
        beginning: Beginning::New,
        options: &args.run,
        scripts: admission::forward(None, &scripts),
        loss: Loss::NeedsAllow,
        picture: &picture,
    };
    drift::refuse_before(context, &session, state.ledger.as_ref()).await?;
    let mut notes = intention.admit(&stop).await?;
    notes.extend(args.manner().chosen());
    let forward: Vec<_> = scripts.iter().filter_map(|scripts| scripts.up.as_deref()).collect();
    refuse_indivisible(&session, &forward).await?;
    // What will run is in `scripts`; everything else that was read of the folder would only take room beside the journal.
    drop((graph, history, project));
    if state.ledger.is_none() {
        state = open_ledger(&session, limits.lock_wait_runner, ENGINE).await?;
        if state.ledger.as_ref().is_some_and(|ledger| ledger.epoch != Epoch::default()) {
            return Err(DriveError::Overtaken.into());
        }
    }
    let uuid = state.ledger.as_ref().map(|ledger| ledger.uuid.clone()).unwrap_or_default();
    let journal = match kept_open {
        Some(journal) => journal,
        None => {
            let journal = OpenJournal::open(&context.journal, &uuid).await?;
            if let Some(note) = &journal.note {
                context.tell(note);
            }
            journal
        }
    };
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
    let start = stage.begin(&planned.plan, args.on_failure == OnFailure::Rollback, notes).await?;
    stage.drive(start, scripts, Asked::Apply).await
}

const NOTHING_TO_DO: &str = "nothing to do: every migration is applied";

/// The folder of migrations, as far as it had to be looked at.
enum Folder {
    /// What was kept of it still holds.
    Known(Vec<plan::Node>),
    /// It was read.
    Read(Project, Option<Seen>),
}

impl Folder {
    fn look(dir: &Path, place: &JournalPlace) -> Result<Self, CommandError> {
        let seen = outline::see(dir);
        match seen.as_ref().and_then(|seen| outline::recall(place, dir, seen)) {
            Some(nodes) => Ok(Self::Known(nodes)),
            None => Ok(Self::Read(project::load(dir)?, seen)),
        }
    }

    async fn read(self, dir: &Path) -> Result<(Project, Option<Seen>), CommandError> {
        match self {
            Self::Read(project, seen) => Ok((project, seen)),
            Self::Known(_) => {
                let dir = dir.to_owned();
                let project = joined(tokio::task::spawn_blocking(move || project::load(&dir)).await)?;
                Ok((project, None))
            }
        }
    }
}

/// Whether the files as they are known ask for nothing, and no run stands in between; then, what is to be said of them.
/// In every other case the files are read, and the question is asked again.
fn nothing_to_do(
    context: &Context,
    args: &ApplyArgs,
    nodes: &[plan::Node],
    state: &DatabaseState,
) -> Option<Vec<migengine_engine::diag::Diagnostic>> {
    let ledger = state.ledger.as_ref().filter(|ledger| journals::is_settled(&context.journal, ledger))?;
    let history = sources::history(Some(ledger), &Kept::default());
    let graph = Graph::build(nodes.to_vec(), &history);
    let policy = Policy { out_of_order: args.out_of_order, ..Policy::default() };
    let planned = plan_apply(&graph, &history, &apply_target(args), policy).ok()?;
    (planned.plan.steps.is_empty() && !state.server.read_only).then_some(planned.warnings)
}

/// Takes an unfinished run up again, in the direction in which it was going.
pub async fn resume(
    stage: Stage<'_>,
    found: Unfinished,
    project: Project,
    graph: &Graph,
    options: &RunOptions,
) -> Result<Ending, CommandError> {
    let asked = match found.run.started.kind {
        RunKind::Apply => Asked::Apply,
        RunKind::Rollback => Asked::Rollback,
    };
    let steps = found.run.started.steps.clone();
    let kept = rollback::kept(&stage).await?;
    let scripts = sources::scripts(&project, &kept, &steps, graph);
    refuse_changed(&stage, &project, &steps)?;
    // What a run that turned around takes back was decided on when it did.
    let ahead = found.run.direction == Direction::Forward;
    let picture = || admission::outline(&found.run);
    let intention = Intention {
        context: stage.context,
        target: stage.target,
        session: &stage.session,
        state: &stage.state,
        beginning: Beginning::Again,
        options,
        scripts: if ahead { admission::forward(Some(&found.run), &scripts) } else { Vec::new() },
        loss: Loss::NeedsAllow,
        picture: &picture,
    };
    let notes = intention.admit(&stage.stop).await?;
    let mut start = Start::resumed(found.run, found.unmirrored);
    stage.note(&mut start, Event::Resumed { actor: actor() }).await?;
    for note in notes {
        stage.note(&mut start, note).await?;
    }
    stage.drive(start, scripts, asked).await
}

/// A file that was changed after it took effect would make the history lie.
fn refuse_changed(
    stage: &Stage<'_>,
    project: &Project,
    steps: &[migengine_engine::run::event::PlannedStep],
) -> Result<(), CommandError> {
    let history = stage.state.ledger.as_ref().map(|ledger| &ledger.history);
    let changed: Vec<String> = steps
        .iter()
        .filter_map(|step| {
            let row = history?.get(&step.id)?;
            let file = project.get(&step.id)?;
            let applied = row.state == migengine_engine::pg::read::HistoryState::Applied;
            (applied && row.tokens != file.up.tokens).then(|| file.up.file.clone())
        })
        .collect();
    if changed.is_empty() {
        return Ok(());
    }
    Err(CommandError::refused("ME147", format!("changed after taking effect: {}", changed.join(", ")))
        .next("put the files back as they were (the history has their text), then: migengine apply --resume"))
}

fn apply_target(args: &ApplyArgs) -> ApplyTarget {
    match &args.to {
        Some(to) => ApplyTarget::To(to.clone()),
        None if args.targets.is_empty() => ApplyTarget::All,
        None => ApplyTarget::Ids(args.targets.clone()),
    }
}

/// The result of a thread that reads files.
///
/// # Errors
/// Its own, or that the thread died.
pub fn joined<T>(result: Result<Result<T, CommandError>, tokio::task::JoinError>) -> Result<T, CommandError> {
    result
        .unwrap_or_else(|error| Err(CommandError::refused("ME010", format!("reading the files ended early: {error}"))))
}

/// Nothing runs while any file of the folder has an error, or there is none at all.
///
/// # Errors
/// All findings.
pub fn refuse_bad_files(project: &Project, dir: &Path) -> Result<(), CommandError> {
    let error = |found: &migengine_engine::diag::Diagnostic| found.severity == migengine_engine::diag::Severity::Error;
    if project.diagnostics.iter().any(error) {
        return Err(CommandError::files(project.diagnostics.clone()));
    }
    if project.migrations.is_empty() {
        let what = format!("there is no migration in {}", dir.display());
        return Err(CommandError::refused("ME011", what).next("write the first one: migengine new NAME"));
    }
    Ok(())
}

/// A standby cannot be migrated.
///
/// # Errors
/// It is one.
pub fn refuse_read_only(server: &migengine_engine::pg::read::ServerFacts) -> Result<(), CommandError> {
    if server.read_only {
        return Err(CommandError::refused("ME325", "this server takes no changes: it is a standby, or set read-only")
            .next("connect to the primary"));
    }
    Ok(())
}

/// A refusal of the planner's. Only targets that name nothing are the user's typing.
#[must_use]
pub fn refused(refused: plan::Refused) -> CommandError {
    let typing = |code: &str| matches!(code, plan::code::UNKNOWN_TARGET | plan::code::AMBIGUOUS_TARGET);
    let mut errors =
        refused.diagnostics.iter().filter(|found| found.severity == migengine_engine::diag::Severity::Error);
    let exit = if errors.all(|found| typing(found.code)) { Exit::Usage } else { Exit::Refused };
    CommandError::files(refused.diagnostics).exit(exit)
}

/// Shows warnings.
pub fn warn(context: &Context, found: &[migengine_engine::diag::Diagnostic]) {
    if !found.is_empty() {
        context.tell(render::diagnostics_text(found, context.look.color).trim_end());
    }
}
