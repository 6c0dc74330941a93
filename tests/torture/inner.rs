//! The engine inside this process, for row 3: the same protocol with a journal in memory, whose second handle is what a
//! second process would find. The database is used again: each case ends where it began.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use migengine_cli::project::load;
use migengine_cli::sources::{self, Kept};
use migengine_engine::drive::points::Point;
use migengine_engine::drive::{DriveError, Job, Observer, Options, StepScripts, World, drive, open_ledger};
use migengine_engine::guard::Limits;
use migengine_engine::id::{RunId, Timestamp};
use migengine_engine::pg::layout::SchemaName;
use migengine_engine::pg::read::{Ledger, read, read_ledger};
use migengine_engine::pg::session::{Session, default_settings};
use migengine_engine::pg::settle::settle;
use migengine_engine::pg::target::{SystemFiles, Target};
use migengine_engine::pg::witness::{Mirror, RunLine};
use migengine_engine::plan::{ApplyTarget, Graph, Plan, Policy, RollbackTarget, plan_apply, plan_rollback};
use migengine_engine::protect::window::Windows;
use migengine_engine::run::event::{DatabaseIdentity, Event, Recorded, RunStarted};
use migengine_engine::run::journal::{Journal as _, Sealed};
use migengine_engine::run::state::{RunSnapshot, RunState};
use migengine_engine::run::transition::fold;
use migengine_journal::MemoryJournal;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::kinds::Kind;
use super::lab::Scratch;
use super::matrix::Way;
use super::oracle::{SHAPE, same};
use super::proxy::{Place, Plan as Cut, Proxy, Side};
use super::wire::socket;
use crate::support::Project;

/// How long anything may take that nothing stands in the way of.
const PATIENCE: Duration = Duration::from_secs(20);

/// What follows a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The same process connects again.
    Reconnect,
    /// The process is gone, another one resumes.
    Resume,
    /// Another one takes the run back.
    Unwind,
}

/// All of it.
pub const THEN: [Then; 3] = [Then::Reconnect, Then::Resume, Then::Unwind];

/// The engine as a process would have it: what the planner made of the files, and the database.
pub struct Stage<'l> {
    db: &'l Scratch<'l>,
    direct: Target,
    schema: SchemaName,
    scripts: Vec<StepScripts>,
    plans: BTreeMap<&'static str, Plan>,
    /// Asks the oracle's questions.
    watch: Client,
    /// Tells the database what a later command would tell it.
    teller: Session,
    before: String,
    after: String,
    ids: String,
    tags: Vec<&'static str>,
}

/// Bytes and messages of a run, to the server and from it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extent {
    pub bytes: [u64; 2],
    pub messages: [u64; 2],
}

impl Extent {
    fn of(proxy: &Proxy) -> Self {
        let both = [Side::Up, Side::Down];
        Self { bytes: both.map(|side| proxy.bytes(side)), messages: both.map(|side| proxy.messages(side)) }
    }
}

/// Notes how far the line had come when the lock was taken, and when all steps were recorded, where it is asked to.
struct Watcher<'p> {
    proxy: Option<&'p Proxy>,
    locked: Mutex<Extent>,
    recorded: Mutex<Extent>,
}

impl<'p> Watcher<'p> {
    fn new(proxy: Option<&'p Proxy>) -> Self {
        Self { proxy, locked: Mutex::default(), recorded: Mutex::default() }
    }
}

impl Observer for Watcher<'_> {
    fn event(&self, _: &RunSnapshot, _: &Recorded) {}
    fn say(&self, _: &str) {}
    fn point(&self, point: Point) {
        let place = match point {
            Point::LockAfter => &self.locked,
            Point::VerifyBefore => &self.recorded,
            _ => return,
        };
        if let Some(proxy) = self.proxy {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Extent::of(proxy);
        }
    }
}

fn now() -> Timestamp {
    migengine_cli::context::now()
}

fn words(error: impl std::fmt::Debug) -> String {
    format!("{error:?}")
}

fn target(url: &str) -> Target {
    Target::resolve(Some(url), &|_| None, &SystemFiles).unwrap()
}

async fn rows(client: &Client, sql: &str) -> Result<String, String> {
    answers(client, sql).await.map(|answers| answers.concat())
}

/// The rows of each of several statements, in one round trip.
async fn answers(client: &Client, sql: &str) -> Result<Vec<String>, String> {
    let (mut all, mut lines) = (Vec::new(), Vec::new());
    for message in client.simple_query(sql).await.map_err(words)? {
        match message {
            SimpleQueryMessage::Row(row) => {
                lines.push((0..row.len()).map(|at| row.get(at).unwrap_or("")).collect::<Vec<_>>().join("|"));
            }
            SimpleQueryMessage::CommandComplete(_) => all.push(std::mem::take(&mut lines).join("\n")),
            _ => {}
        }
    }
    Ok(all)
}

impl<'l> Stage<'l> {
    /// A fresh database with the engine's tables, and the plans of a kind in both directions.
    pub async fn new(db: &'l Scratch<'l>, kind: &Kind) -> Result<Self, String> {
        let lab = db.lab;
        let direct = target(&db.url());
        let schema = SchemaName::new("migengine").map_err(words)?;
        let project = Project::without_url();
        kind.write_alone(&project);
        let files = load(&project.migrations()).map_err(|error| error.what)?;
        let (client, connection) = {
            let mut config = tokio_postgres::Config::new();
            config.host_path(lab.cluster.dir()).port(lab.cluster.port()).user("postgres").dbname(&db.name);
            config.connect(NoTls).await.map_err(words)?
        };
        tokio::spawn(connection);
        let session = Session::open(&direct, &schema, "migengine", &settings()).await.map_err(words)?;
        let state = open_ledger(&session, PATIENCE, "lab").await.map_err(words)?;
        drop(session);
        let history = sources::history(state.ledger.as_ref(), &Kept::default());
        let graph = Graph::build(files.nodes(), &history);
        let forward = plan_apply(&graph, &history, &ApplyTarget::All, Policy::default()).map_err(words)?.plan;
        let scripts = sources::scripts(&files, &Kept::default(), &forward.run_steps(), &graph);
        let ids = forward.run_steps().iter().map(|step| step.id.to_string()).collect::<Vec<_>>().join("\n");
        // The same questions thousands of times: planned once.
        rows(&client, &format!("PREPARE shape AS {SHAPE}; {QUIET}; {OPEN}")).await?;
        let before = rows(&client, "EXECUTE shape").await?;
        let teller = Session::open(&direct, &schema, "teller", &settings()).await.map_err(words)?;
        let mut stage = Self {
            db,
            direct,
            schema,
            scripts,
            plans: BTreeMap::from([("Forward", forward)]),
            watch: client,
            teller,
            before,
            after: String::new(),
            ids,
            tags: kind.tags.to_vec(),
        };
        let journal = MemoryJournal::new();
        stage.to_the_end(&journal, Way::Forward, false).await?;
        stage.after = rows(&stage.watch, "EXECUTE shape").await?;
        let session = Session::open(&stage.direct, &stage.schema, "migengine", &settings()).await.map_err(words)?;
        let state = read(&session.client, &stage.schema).await.map_err(words)?;
        drop(session);
        let history = sources::history(state.ledger.as_ref(), &Kept::default());
        let graph = Graph::build(files.nodes(), &history);
        let last = RollbackTarget::Last(std::num::NonZeroUsize::MIN);
        let back = plan_rollback(&graph, &history, &last, false).map_err(words)?.plan;
        stage.plans.insert("Back", back);
        stage.to_the_end(&journal, Way::Back, false).await?;
        same(
            "schema and data after an undisturbed way back",
            &rows(&stage.watch, "EXECUTE shape").await?,
            &stage.before,
        )?;
        rows(&stage.watch, "TRUNCATE counter").await?;
        Ok(stage)
    }

    /// What one process does: takes up what the journal holds, or begins.
    async fn process(
        &self,
        target: &Target,
        journal: &MemoryJournal,
        way: Way,
        unwind: bool,
        (patience, observer): (Duration, &Watcher<'_>),
    ) -> Result<RunSnapshot, String> {
        let session = Session::open(target, &self.schema, "migengine", &settings()).await.map_err(words)?;
        let state = read(&session.client, &self.schema).await.map_err(words)?;
        let ledger = state.ledger.clone().ok_or("the engine's tables are gone")?;
        let mut runs = fold_all(journal).await?;
        for run in runs.iter().filter(|run| run.state == RunState::Preflight && run.epoch.is_none()) {
            journal.append(run.run, vec![(now(), Event::RunRolledBack)]).await.map_err(words)?;
        }
        runs = fold_all(journal).await?;
        self.tell(&session, &ledger, journal, &runs).await?;
        let (run, unmirrored) = match runs.iter().find(|run| !run.state.is_final()) {
            Some(open) => {
                let mut start = (open.clone(), journal.records(open.run).await.map_err(words)?);
                note(journal, &mut start, Event::Resumed { actor: "lab".to_owned() }).await?;
                if unwind && way == Way::Forward {
                    note(journal, &mut start, Event::UnwindStarted { reason: "lab".to_owned() }).await?;
                }
                let mirrored = ledger.unfinished.iter().find(|row| row.run == open.run).map_or(0, |row| row.records);
                start.1.retain(|(record, _)| record.seq > mirrored);
                start
            }
            None if unwind => return Err("nothing is open".to_owned()),
            None => self.begin(journal, &ledger, way).await?,
        };
        let options = Options {
            lock_patience: PATIENCE,
            orphan_patience: PATIENCE,
            reconnect_patience: patience,
            settings: settings(),
            limits: Limits::default(),
            windows: Windows::default(),
            jobs: 1,
            origin: String::new(),
        };
        let (_stop, stopped) = tokio::sync::watch::channel(false);
        let world = World {
            journal,
            target,
            schema: &self.schema,
            options: &options,
            observer,
            clock: &now,
            stop: stopped,
            journal_epoch: runs.iter().filter_map(|run| run.epoch).max(),
        };
        let scripts = self.scripts.clone();
        let job = Job { run, unmirrored, scripts, planned_at: None, session: Some(session) };
        match drive(&world, job).await {
            (run, Ok(())) => Ok(run),
            (run, Err(error @ (DriveError::Standing { .. } | DriveError::Illegal(_)))) => {
                Err(format!("a bug shows: {error}, {run:?}"))
            }
            (_, Err(error)) => Err(error.to_string()),
        }
    }

    async fn begin(
        &self,
        journal: &MemoryJournal,
        ledger: &Ledger,
        way: Way,
    ) -> Result<(RunSnapshot, Vec<(Recorded, Sealed)>), String> {
        let plan = &self.plans[if way == Way::Forward { "Forward" } else { "Back" }];
        let database =
            DatabaseIdentity { uuid: ledger.uuid.clone(), system: 0, name: "lab".to_owned(), host: "lab".to_owned() };
        let started = RunStarted {
            kind: plan.direction,
            steps: plan.run_steps(),
            plan_hash: plan.hash,
            database,
            engine: "lab".to_owned(),
            actor: "lab".to_owned(),
            unwind_on_failure: false,
        };
        let known = u64::try_from(journal.runs().await.map_err(words)?.len()).unwrap_or_default();
        let at = now();
        let nanos = u64::try_from(at.0).unwrap_or_default() + known;
        let mut random = [0; 10];
        random[..8].copy_from_slice(&super::lab::Rng(nanos).next().to_be_bytes());
        let run = RunId::from_parts(u64::try_from(at.0 / 1000).unwrap_or_default() + known, random);
        let first = Recorded { run, seq: 1, at, event: Event::RunStarted(Box::new(started)) };
        let folded = RunSnapshot::begin(run, &first).map_err(words)?;
        let sealed = journal.append(run, vec![(at, first.event.clone())]).await.map_err(words)?;
        Ok((folded, std::iter::once(first).zip(sealed).collect()))
    }

    /// The database learns of runs whose last word was lost.
    async fn tell(
        &self,
        session: &Session,
        ledger: &Ledger,
        journal: &MemoryJournal,
        runs: &[RunSnapshot],
    ) -> Result<(), String> {
        for row in &ledger.unfinished {
            let Some(run) = runs.iter().find(|run| run.run == row.run && run.state.is_final()) else { continue };
            let mut mirror = Mirror::default();
            for (record, sealed) in journal.records(row.run).await.map_err(words)? {
                if record.seq > row.records {
                    mirror.push(&record, record.event.step().map(|step| run.step_name(step)), &sealed);
                }
            }
            let line = RunLine { state: run.state, rest: None, rest_step: None, finished_at: run.finished_at };
            settle(session, row.run, row.records, &line, &mirror).await.map_err(words)?;
        }
        Ok(())
    }

    /// As many processes as it takes, none of them disturbed.
    async fn to_the_end(&self, journal: &MemoryJournal, way: Way, unwind: bool) -> Result<(), String> {
        let mut log = String::new();
        for _ in 0..4 {
            match self.process(&self.direct, journal, way, unwind, (PATIENCE, &Watcher::new(None))).await {
                Ok(run) if run.state.is_final() => return Ok(()),
                Ok(run) => log += &format!("rests: {:?}\n", run.rest),
                Err(error) if unwind && error == "nothing is open" => return Ok(()),
                Err(error) if error.starts_with("a bug") => return Err(error),
                Err(error) => log += &format!("{error}\n"),
            }
        }
        Err(format!("it did not come to an end\n{log}"))
    }

    /// A run whose line breaks, and what follows. Returns whether the line broke, and whether the run was taken back.
    async fn cut(&self, journal: &MemoryJournal, way: Way, cut: Cut, then: Then) -> Result<(bool, bool), String> {
        let proxy = Proxy::start(socket(self.db.lab), cut);
        let broken = target(&proxy.url(&self.db.name));
        let patience = if then == Then::Reconnect { PATIENCE } else { Duration::ZERO };
        let first = self.process(&broken, journal, way, false, (patience, &Watcher::new(None))).await;
        if let Some(bug) = first.as_ref().err().filter(|error| error.starts_with("a bug")) {
            return Err(bug.clone());
        }
        let done = first.as_ref().is_ok_and(|run| run.state.is_final());
        let open = fold_all(journal).await?.iter().any(|run| !run.state.is_final());
        let unwind = then == Then::Unwind && way == Way::Forward && !done && open;
        if !done || unwind {
            let all = self.to_the_end(journal, way, unwind).await;
            all.map_err(|error| format!("{error}\nfirst: {:?}", first.map(|run| (run.state, run.rest))))?;
        }
        // What was not told in time is told by the next command, once the server is through with the broken line: until then
        // it may still commit what had arrived.
        self.quiet().await?;
        if !rows(&self.watch, "EXECUTE open").await?.is_empty() {
            let ledger = read_ledger(&self.teller.client, &self.schema).await.map_err(words)?.unwrap_or_default();
            self.tell(&self.teller, &ledger, journal, &fold_all(journal).await?).await?;
        }
        Ok((proxy.harmed(), unwind))
    }

    /// An undisturbed run: how far it had come when it had the lock, when all steps were recorded, and at its end.
    pub async fn extents(&self, way: Way) -> Result<[Extent; 3], String> {
        let proxy = Proxy::start(socket(self.db.lab), None);
        let through = target(&proxy.url(&self.db.name));
        let watcher = Watcher::new(Some(&proxy));
        self.process(&through, &MemoryJournal::new(), way, false, (PATIENCE, &watcher)).await?;
        let noted = |place: &Mutex<Extent>| *place.lock().unwrap_or_else(PoisonError::into_inner);
        Ok([noted(&watcher.locked), noted(&watcher.recorded), Extent::of(&proxy)])
    }

    /// Waits until no session and no lock of ours is left: the server notices a broken line in its own time.
    async fn quiet(&self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = rows(&self.watch, "EXECUTE quiet").await?;
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return same("left behind", &left, "");
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Everything that must hold between runs.
    async fn check(&self, journal: &MemoryJournal, applied: bool, undone: bool) -> Result<(), String> {
        self.quiet().await?;
        let found = answers(&self.watch, CHECK).await?;
        let [shape, counted, history, open, records] = found.as_slice() else {
            return Err(format!("{} answers", found.len()));
        };
        same("schema and data", shape, if applied { &self.after } else { &self.before })?;
        let once = |down: u32| self.tags.iter().map(|tag| format!("{tag}|1|{down}")).collect::<Vec<_>>().join("\n");
        if applied || undone {
            same("effects: tag, forward, back", counted, &once(u32::from(undone)))?;
        } else if counted.lines().any(|line| !["|1|1", "|0|1"].iter().any(|ends| line.ends_with(ends))) {
            return Err(format!("effects of a run that was taken back: {counted}"));
        }
        same("history", history, if applied { &self.ids } else { "" })?;
        same("runs that are not over, by the database", open, "")?;
        for run in fold_all(journal).await? {
            if !run.state.is_final() {
                return Err(format!("not over, by the journal: {} {:?}", run.state, run.rest));
            }
            let begin = format!("{}|", run.run);
            let theirs: Vec<&str> = records.lines().filter_map(|line| line.strip_prefix(begin.as_str())).collect();
            let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            let mine = journal.records(run.run).await.map_err(words)?;
            let mine: Vec<String> = mine.iter().map(|(_, sealed)| hex(&sealed.bytes)).collect();
            if run.epoch.is_some() || !theirs.is_empty() {
                same("the mirror's records", &theirs.join("\n"), &mine.join("\n"))?;
            }
        }
        Ok(())
    }

    /// One place: a run forward that is cut there, and a run back that is cut there, too. Returns how many of the two lines
    /// broke: the place may lie behind the end of one.
    pub async fn case(&self, cut: Cut, then: Then) -> Result<usize, String> {
        let mut journal = MemoryJournal::new();
        let forward = |error: String| format!("forward: {error}");
        let (broke, taken_back) = self.cut(&journal, Way::Forward, cut, then).await.map_err(forward)?;
        self.check(&journal, !taken_back, false).await.map_err(forward)?;
        if taken_back && matches!(cut, Some((_, Place::Message(..), _))) {
            // Of the way back only two things can follow, and each message is cut there for both by the other cases.
            rows(&self.watch, FORGET).await?;
            return Ok(usize::from(broke));
        }
        if taken_back {
            rows(&self.watch, "TRUNCATE counter").await?;
            self.to_the_end(&journal, Way::Forward, false).await?;
        }
        journal = MemoryJournal::new();
        let (broke_back, _) = self.cut(&journal, Way::Back, cut, then).await.map_err(|e| format!("back: {e}"))?;
        self.check(&journal, false, true).await.map_err(|e| format!("back: {e}"))?;
        rows(&self.watch, FORGET).await?;
        Ok(usize::from(broke) + usize::from(broke_back))
    }
}

/// What a case leaves, of which the next one must know nothing.
const FORGET: &str = "TRUNCATE counter, migengine.record, migengine.run, migengine.reversed";

/// Sessions and locks of ours that are left.
const QUIET: &str = "PREPARE quiet AS SELECT application_name, state FROM pg_stat_activity \
    WHERE datname = current_database() AND application_name LIKE 'migengine%' UNION ALL SELECT 'lock of ' || pid, '' FROM pg_locks \
    WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// Runs of which the database does not know that they are over.
const OPEN: &str = "PREPARE open AS SELECT run_id, state FROM migengine.run WHERE finished_at IS NULL";

/// Shape, effects, history, runs that are not over, records: one round trip.
const CHECK: &str = "EXECUTE shape; \
    SELECT tag, count(*) FILTER (WHERE way = 'up'), count(*) FILTER (WHERE way = 'down') FROM counter GROUP BY 1 ORDER BY 1; \
    SELECT id FROM migengine.history WHERE state = 'applied' ORDER BY 1; \
    EXECUTE open; \
    SELECT run_id, encode(bytes, 'hex') FROM migengine.record ORDER BY run_id, seq";

/// The settings of a session.
fn settings() -> Vec<(String, String)> {
    default_settings(Duration::from_secs(5))
}

async fn note(
    journal: &MemoryJournal,
    start: &mut (RunSnapshot, Vec<(Recorded, Sealed)>),
    event: Event,
) -> Result<(), String> {
    let record = Recorded { run: start.0.run, seq: start.0.events + 1, at: now(), event };
    start.0.apply(&record).map_err(words)?;
    let sealed = journal.append(record.run, vec![(record.at, record.event.clone())]).await.map_err(words)?;
    start.1.extend(std::iter::once(record).zip(sealed));
    Ok(())
}

async fn fold_all(journal: &MemoryJournal) -> Result<Vec<RunSnapshot>, String> {
    let mut runs = Vec::new();
    for run in journal.runs().await.map_err(words)? {
        let records = journal.records(run).await.map_err(words)?;
        runs.extend(fold(run, records.iter().map(|(record, _)| record)).map_err(words)?);
    }
    Ok(runs)
}
