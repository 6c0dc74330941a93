//! From a plan or an unfinished run to its end: journal, engine, report. Shared by `apply` and `rollback`.

use migengine_engine::audit;
use migengine_engine::drive::points::Point;
use migengine_engine::drive::{DriveError, Job, Observer, Options, StepScripts, World, drive};
use migengine_engine::id::{Epoch, RunId};
use migengine_engine::pg::read::DatabaseState;
use migengine_engine::pg::session::Session;
use migengine_engine::pg::target::Target;
use migengine_engine::plan::Plan;
use migengine_engine::progress::Progress;
use migengine_engine::protect::window::Windows;
use migengine_engine::run::event::{DatabaseIdentity, Event, Recorded, RunStarted};
use migengine_engine::run::journal::{Journal as _, Sealed};
use migengine_engine::run::state::RunSnapshot;
use tokio::sync::watch;

use crate::aftermath::Aftermath;
use crate::args::ShowProgress;
use crate::context::{Context, Limits, actor, now};
use crate::error::{CommandError, Exit};
use crate::journals::OpenJournal;
use crate::origin::origin;
use crate::outcome::{self, Asked};
use crate::outside::Outside;
use crate::outside::moment::Moment;
use crate::outside::post::Remark;
use crate::show::Show;

/// Version of the engine, as runs record it.
pub const ENGINE: &str = env!("CARGO_PKG_VERSION");

/// Everything that is open while a command runs.
pub struct Stage<'a> {
    /// Options.
    pub context: &'a Context,
    /// The database.
    pub target: &'a Target,
    /// How long to wait for what.
    pub limits: Limits,
    /// When changes are welcome.
    pub windows: Windows,
    /// The session that read the state.
    pub session: Session,
    /// The state.
    pub state: DatabaseState,
    /// The journal of this database.
    pub journal: OpenJournal,
    /// Becomes true at the first signal.
    pub stop: watch::Receiver<bool>,
    /// Who is told of the run.
    pub outside: Outside,
    /// How it is shown while it lasts.
    pub show: ShowProgress,
}

/// How a run begins or goes on.
pub struct Start {
    /// The run, folded.
    run: RunSnapshot,
    unmirrored: Vec<(Recorded, Sealed)>,
    planned_at: Option<Epoch>,
    /// What was found and what a person decided before it began: the audit log tells it of what this process does.
    decided: Vec<String>,
}

impl Start {
    /// An unfinished run that is taken up again.
    #[must_use]
    pub fn resumed(run: RunSnapshot, unmirrored: Vec<(Recorded, Sealed)>) -> Self {
        Self { run, unmirrored, planned_at: None, decided: Vec::new() }
    }
}

/// What a note says of how a run came to be.
fn decision(event: &Event) -> Option<String> {
    match event {
        Event::Noted { topic, message, .. } => Some(format!("{topic}: {message}")),
        _ => None,
    }
}

impl Stage<'_> {
    /// Records a new run, with notes on how it came to be.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub async fn begin(&self, plan: &Plan, unwind_on_failure: bool, notes: Vec<Event>) -> Result<Start, CommandError> {
        let ledger = self.state.ledger.as_ref();
        let started = RunStarted {
            kind: plan.direction,
            steps: plan.run_steps(),
            plan_hash: plan.hash,
            database: DatabaseIdentity {
                uuid: ledger.map(|ledger| ledger.uuid.clone()).unwrap_or_default(),
                system: self.state.server.system,
                name: self.state.server.database.clone(),
                host: self.target.to_string(),
            },
            engine: ENGINE.to_owned(),
            actor: actor(),
            unwind_on_failure,
        };
        let mut random = [0; 10];
        getrandom::fill(&mut random)
            .map_err(|error| CommandError::refused("ME008", format!("the system gives no random numbers: {error}")))?;
        let at = now();
        let run = RunId::from_parts(u64::try_from(at.0 / 1000).unwrap_or_default(), random);
        let first = Recorded { run, seq: 1, at, event: Event::RunStarted(Box::new(started)) };
        let mut folded = RunSnapshot::begin(run, &first).map_err(DriveError::from)?;
        self.outside.written(&folded, &first);
        let mut records = vec![first];
        let message = origin(&actor(), self.context.environment(), &[]);
        let whence = Event::Noted { step: None, topic: audit::ORIGIN.to_owned(), message };
        let decided = notes.iter().filter_map(decision).collect();
        for event in std::iter::once(whence).chain(notes) {
            let record = Recorded { run, seq: folded.events + 1, at, event };
            folded.apply(&record).map_err(DriveError::from)?;
            self.outside.written(&folded, &record);
            records.push(record);
        }
        let sealed =
            self.journal.journal.append(run, records.iter().map(|one| (at, one.event.clone())).collect()).await?;
        let planned_at = Some(ledger.map(|ledger| ledger.epoch).unwrap_or_default());
        Ok(Start { run: folded, unmirrored: records.into_iter().zip(sealed).collect(), planned_at, decided })
    }

    /// Writes an event of a person's into a run that is about to be driven.
    ///
    /// # Errors
    /// The journal cannot be written, or the event does not fit.
    pub async fn note(&self, start: &mut Start, event: Event) -> Result<(), CommandError> {
        start.decided.extend(decision(&event));
        let record = Recorded { run: start.run.run, seq: start.run.events + 1, at: now(), event };
        start.run.apply(&record).map_err(DriveError::from)?;
        self.outside.written(&start.run, &record);
        let sealed = self.journal.journal.append(record.run, vec![(record.at, record.event.clone())]).await?;
        start.unmirrored.extend(std::iter::repeat_n(record, 1).zip(sealed));
        Ok(())
    }

    /// Drives the run, tells how it went, and returns how the process exits.
    ///
    /// # Errors
    /// It could not be driven to an end or a rest.
    pub async fn drive(self, start: Start, scripts: Vec<StepScripts>, asked: Asked) -> Result<Ending, CommandError> {
        let show = Show::new(self.context, self.show, self.limits.jobs, &start.run);
        let teller = Teller { context: self.context, outside: &self.outside, show };
        let moment = if start.planned_at.is_some() { Moment::Started } else { Moment::Resumed };
        self.outside.tell(moment, &start.run, None);
        let options = Options {
            lock_patience: self.limits.lock_wait_runner,
            orphan_patience: self.limits.orphan_wait,
            reconnect_patience: self.limits.reconnect,
            settings: self.limits.settings(),
            limits: self.limits.guard,
            windows: self.windows,
            jobs: self.limits.jobs,
            origin: origin(&actor(), self.context.environment(), &start.decided),
        };
        let journal_epoch = self.journal.epoch();
        let world = World {
            journal: &self.journal.journal,
            target: self.target,
            schema: &self.context.schema,
            options: &options,
            observer: &teller,
            clock: &now,
            stop: self.stop.clone(),
            journal_epoch,
        };
        let job = Job {
            run: start.run,
            unmirrored: start.unmirrored,
            scripts,
            planned_at: start.planned_at,
            session: Some(self.session),
        };
        let (run, result) = drive(&world, job).await;
        drop(teller);
        let exit = outcome::exit(&run, asked);
        let aftermath = Aftermath {
            context: self.context,
            target: self.target,
            server: self.state.server.version,
            stop: self.stop,
        };
        let done = result.is_ok() && exit == Exit::Done;
        let remarks = aftermath.settle(&run, done, self.outside, &self.journal).await;
        self.journal.close(Some(&run), &run.started.database.uuid);
        let Err(error) = result else { return Ok(Ending { exit, run: Some(run), error: None, remarks }) };
        let mut error = CommandError::from(error);
        if run.may_have_effects() {
            error.exit = if error.exit == Exit::Refused { Exit::Stopped } else { error.exit };
            error.state = outcome::database_state(&run);
            error.next.push("migengine apply --resume".to_owned());
        }
        Ok(Ending { exit: error.exit, run: Some(run), error: Some(error), remarks })
    }
}

/// How a command that drives runs ended.
pub struct Ending {
    /// How the process exits.
    pub exit: Exit,
    /// The run, unless there was nothing to do.
    pub run: Option<RunSnapshot>,
    /// What stood in the way, beside the run's own failures.
    pub error: Option<CommandError>,
    /// What came of hooks, notifications and the export.
    pub remarks: Vec<Remark>,
}

impl Ending {
    /// There was nothing to do.
    #[must_use]
    pub fn nothing_to_do() -> Self {
        Self { exit: Exit::Done, run: None, error: None, remarks: Vec::new() }
    }

    /// Something stood in the way before there was a run.
    #[must_use]
    pub fn stopped(error: CommandError) -> Self {
        Self { exit: error.exit, run: None, error: Some(error), remarks: Vec::new() }
    }
}

/// Tells people what happens.
struct Teller<'a> {
    context: &'a Context,
    outside: &'a Outside,
    show: Show<'a>,
}

impl Observer for Teller<'_> {
    fn event(&self, run: &RunSnapshot, record: &Recorded) {
        self.outside.event(run, record);
        self.show.event(run, record);
        let kind = record.event.kind().name();
        let step = record.event.step().map(|step| run.step_name(step));
        tracing::info!(run = %record.run, seq = record.seq, step, "{kind}");
    }

    fn progress(&self, step: Option<&str>, progress: &Progress) {
        self.outside.progress(step, progress);
        self.show.progress(step, progress);
        tracing::debug!(step, kind = progress.kind(), "{}", progress.words());
    }

    fn say(&self, text: &str) {
        self.context.tell(text);
    }

    fn point(&self, point: Point) {
        crate::crash::point(point.name());
    }
}
