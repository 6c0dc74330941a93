//! `drive URL FOLDER sled|memory|none JOURNAL`: applies a folder of migrations to an empty database inside this process, and
//! prints the seconds from the first connection to the end. `memory` is a journal that forgets, whose records still go to
//! the database; `none` is one that does nothing at all.

use std::path::Path;
use std::time::{Duration, Instant};

use migengine_cli::context::now;
use migengine_cli::project::load;
use migengine_cli::sources::{self, Kept};
use migengine_engine::drive::{Job, Observer, Options, World, drive, open_ledger};
use migengine_engine::guard::Limits;
use migengine_engine::id::{RunId, Timestamp};
use migengine_engine::pg::layout::SchemaName;
use migengine_engine::pg::session::{Session, default_settings};
use migengine_engine::pg::target::{SystemFiles, Target};
use migengine_engine::plan::{ApplyTarget, Graph, Policy, plan_apply};
use migengine_engine::protect::window::Windows;
use migengine_engine::run::event::{DatabaseIdentity, Event, Recorded, RunStarted};
use migengine_engine::run::journal::{Holding, Journal, JournalError, Sealed};
use migengine_engine::run::state::{RunSnapshot, RunState};
use migengine_journal::{MemoryJournal, SledJournal};

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

const PATIENCE: Duration = Duration::from_secs(20);

struct Mute;

impl Observer for Mute {
    fn event(&self, _: &RunSnapshot, _: &Recorded) {}
    fn say(&self, text: &str) {
        eprintln!("{text}");
    }
}

/// A journal that keeps nothing and says that everything is on disk.
struct Nothing;

impl Journal for Nothing {
    async fn append(&self, _: RunId, _: Vec<(Timestamp, Event)>) -> Result<Vec<Sealed>, JournalError> {
        Ok(Vec::new())
    }

    async fn adopt(&self, _: RunId, _: Vec<Vec<u8>>) -> Result<(), JournalError> {
        Ok(())
    }

    async fn records(&self, _: RunId) -> Result<Vec<(Recorded, Sealed)>, JournalError> {
        Ok(Vec::new())
    }

    async fn runs(&self) -> Result<Vec<RunId>, JournalError> {
        Ok(Vec::new())
    }

    async fn hold(&self, _: Vec<Holding>) -> Result<(), JournalError> {
        Ok(())
    }

    async fn held(&self) -> Result<Vec<Holding>, JournalError> {
        Ok(Vec::new())
    }

    fn decode(&self, _: &[u8]) -> Result<(Recorded, Sealed), JournalError> {
        Err(JournalError::Poisoned)
    }
}

fn main() -> Fallible<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, folder, kind, place] = arguments.as_slice() else {
        return Err("drive URL FOLDER sled|memory|none JOURNAL".into());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let began = Instant::now();
    runtime.block_on(async {
        match kind.as_str() {
            "sled" => apply(url, Path::new(folder), &SledJournal::open(place)?.journal).await,
            "memory" => apply(url, Path::new(folder), &MemoryJournal::new()).await,
            "none" => apply(url, Path::new(folder), &Nothing).await,
            other => Err(format!("no journal is called `{other}`").into()),
        }
    })?;
    println!("{:.4}", began.elapsed().as_secs_f64());
    Ok(())
}

async fn apply<J: Journal>(url: &str, folder: &Path, journal: &J) -> Fallible<()> {
    let files = load(folder).map_err(|error| error.what)?;
    let target = Target::resolve(Some(url), &|_| None, &SystemFiles)?;
    let schema = SchemaName::new("migengine")?;
    let settings = default_settings(Duration::from_secs(5));
    let session =
        Session::open(&target, &schema, "migengine", &settings).await.map_err(|error| format!("{error:?}"))?;
    let state = open_ledger(&session, PATIENCE, "bench").await?;
    let uuid = state.ledger.as_ref().map(|ledger| ledger.uuid.clone()).unwrap_or_default();
    let history = sources::history(state.ledger.as_ref(), &Kept::default());
    let graph = Graph::build(files.nodes(), &history);
    let plan = plan_apply(&graph, &history, &ApplyTarget::All, Policy::default())
        .map_err(|refused| format!("{refused:?}"))?
        .plan;
    let scripts = sources::scripts(&files, &Kept::default(), &plan.run_steps(), &graph);
    let started = RunStarted {
        kind: plan.direction,
        steps: plan.run_steps(),
        plan_hash: plan.hash,
        database: DatabaseIdentity { uuid, system: 0, name: String::new(), host: String::new() },
        engine: "bench".to_owned(),
        actor: "bench".to_owned(),
        unwind_on_failure: false,
    };
    let at = now();
    let run = RunId::from_parts(u64::try_from(at.0 / 1000)?, [7; 10]);
    let first = Recorded { run, seq: 1, at, event: Event::RunStarted(Box::new(started)) };
    let folded = RunSnapshot::begin(run, &first)?;
    let sealed = journal.append(run, vec![(at, first.event.clone())]).await?;
    let options = Options {
        lock_patience: PATIENCE,
        orphan_patience: PATIENCE,
        reconnect_patience: PATIENCE,
        settings,
        limits: Limits::default(),
        jobs: 1,
        origin: String::new(),
        windows: Windows::default(),
    };
    let (_stop, stopped) = tokio::sync::watch::channel(false);
    let world = World {
        journal,
        target: &target,
        schema: &schema,
        options: &options,
        observer: &Mute,
        clock: &now,
        stop: stopped,
        journal_epoch: None,
    };
    let unmirrored = std::iter::once(first).zip(sealed).collect();
    let (run, result) =
        drive(&world, Job { run: folded, unmirrored, scripts, planned_at: None, session: Some(session) }).await;
    result?;
    if run.state == RunState::Committed { Ok(()) } else { Err(format!("the run rests: {:?}", run.rest).into()) }
}
