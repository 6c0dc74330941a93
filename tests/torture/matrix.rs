//! Rows 1, 4, 9 and 10: every kind of step, stopped at every point in every way, and then brought to its end or back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use migengine_engine::drive::points::Point;

use super::disk;
use super::kinds::{KINDS, Kind};
use super::lab::{Lab, Scratch, command, run};
use super::oracle;
use super::table::Table;
use crate::support::project::collect;
use crate::support::{Output, Project, wait_until};

/// What happens at the point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// SIGKILL for the program.
    Kill,
    /// SIGTERM for the program.
    Term,
    /// `pg_terminate_backend` for its session.
    Backend,
    /// `kill -9` for the whole server, which then comes back.
    Server,
    /// The journal's disk is full from here on.
    Disk,
    /// The journal's file system is read-only from here on.
    ReadOnly,
}

/// Where the run was heading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Forward,
    Back,
}

/// What is done afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Go on in the same direction.
    Resume,
    /// Take the run back.
    Unwind,
    /// Go on on another machine, which has no journal.
    Elsewhere,
}

#[derive(Debug, Clone)]
pub struct Case {
    pub kind: usize,
    pub way: Way,
    pub point: String,
    pub nth: u32,
    pub blow: Blow,
    pub then: Then,
}

impl Case {
    /// Whether everything is taken back in the end.
    fn is_back(&self) -> bool {
        self.way == Way::Back || self.then == Then::Unwind
    }

    pub fn describe(&self) -> String {
        let Self { kind, way, point, nth, blow, then } = self;
        format!("{} {way:?}, {blow:?} at {point}:{nth}, then {then:?}", KINDS[*kind].name)
    }
}

const RUN: &[&str] = &["--reconnect", "10s"];

/// The command that brings everything forward or back.
fn start(way: Way) -> Vec<&'static str> {
    match way {
        Way::Forward => [&["apply", "--yes"], RUN].concat(),
        Way::Back => [&["rollback", "--last", "3", "--yes"], RUN].concat(),
    }
}

/// How a kind looks before and after, in one lab, and what a later case copies.
pub struct Stage {
    before: String,
    after: String,
    /// The journal as it was after all was applied; the database is the template `done_KIND`.
    journal: PathBuf,
    _project: Project,
    /// Points passed on each way.
    points: BTreeMap<&'static str, Vec<Passed>>,
}

/// The stages of one lab, made when first needed.
#[derive(Default)]
pub struct Stages(Mutex<BTreeMap<(usize, PathBuf), Arc<Stage>>>);

impl Stages {
    pub fn get(&self, lab: &Lab, kind: usize) -> Arc<Stage> {
        let key = (kind, lab.cluster.dir().to_path_buf());
        if let Some(stage) = self.0.lock().unwrap().get(&key) {
            return Arc::clone(stage);
        }
        let stage = Arc::new(undisturbed(lab, &KINDS[kind]));
        self.0.lock().unwrap().insert(key, Arc::clone(&stage));
        stage
    }
}

/// What a case that goes forward begins with. The points at which the engine's tables are made are passed by the first kind
/// only, so that others may have a database that has them, and that was used before.
fn ground<'l>(lab: &'l Lab, kind: &Kind) -> Scratch<'l> {
    if is_first(kind) { lab.copy("base") } else { lab.known() }
}

/// Whether all points are tried with it, those that all kinds have in common as well.
fn is_first(kind: &Kind) -> bool {
    kind.name == KINDS[0].name || std::env::var_os("KIND").is_some()
}

fn undisturbed(lab: &Lab, kind: &Kind) -> Stage {
    let db = ground(lab, kind);
    let project = db.project();
    kind.write(&project);
    let before = oracle::shape(&db);
    let trace = project.path().join("trace");
    let mut points = BTreeMap::new();
    let traced = |way: Way| {
        let env = [("MIGENGINE_CRASH_TRACE", trace.to_str().unwrap())];
        run(&project, &start(way), &env).expect(0);
        passed(&trace)
    };
    points.insert("Forward", traced(Way::Forward));
    let after = oracle::shape(&db);
    oracle::all_once(&db, &tags(kind)).unwrap();
    oracle::books(&db, &project, &ids(kind)).unwrap();
    let journal = project.path().join("journal.kept");
    copy_dir(&project.journal(), &journal);
    let done = lab.copy(&db.name);
    points.insert("Back", traced(Way::Back));
    assert_eq!(oracle::shape(&db), before, "{}: the reverse scripts must be right", kind.name);
    done.keep(&format!("done_{}", kind.name));
    Stage { before, after, journal, _project: project, points }
}

pub fn tags(kind: &Kind) -> Vec<String> {
    kind.all_tags().iter().map(ToString::to_string).collect()
}

pub fn ids(kind: &Kind) -> Vec<String> {
    vec!["1_first".to_owned(), format!("2_{}", kind.name), "3_last".to_owned()]
}

/// How often a run passes a point: until it has read the witness, until all its steps are recorded, and in all.
struct Passed {
    point: String,
    witnessed: u32,
    recorded: u32,
    times: u32,
}

/// Counts the lines of a trace, and removes it.
fn passed(trace: &Path) -> Vec<Passed> {
    let text = std::fs::read_to_string(trace).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let place = |point: Point| lines.iter().position(|line| *line == point.name()).unwrap();
    let (witnessed, recorded) = (place(Point::ReconcileAfter) + 1, place(Point::VerifyBefore));
    std::fs::remove_file(trace).unwrap();
    let mut counts: BTreeMap<&str, [u32; 3]> = BTreeMap::new();
    for (at, line) in lines.iter().enumerate() {
        let [before, within, times] = counts.entry(line).or_default();
        *before += u32::from(at < witnessed);
        *within += u32::from(at < recorded);
        *times += 1;
    }
    let passed = |(point, [witnessed, recorded, times]): (&str, [u32; 3])| Passed {
        point: point.to_owned(),
        witnessed,
        recorded,
        times,
    };
    counts.into_iter().map(passed).collect()
}

pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Every case. Points inside the journal's store mean something to the process and to its disk only. Until a run holds the
/// lock and has read the witness, and again when each of its steps is over and recorded in the journal, nothing depends on
/// the kind of its steps: these points are tried with the first kind only.
pub fn cases(lab: &Lab, stages: &Stages) -> Vec<Case> {
    let mut cases = Vec::new();
    let only = std::env::var("KIND").ok();
    for kind in (0..KINDS.len()).filter(|kind| only.as_ref().is_none_or(|only| KINDS[*kind].name == only)) {
        let stage = stages.get(lab, kind);
        for way in [Way::Forward, Way::Back] {
            for Passed { point, witnessed, recorded, times } in &stage.points[format!("{way:?}").as_str()] {
                let in_store = point.starts_with("journal.") && !Point::ALL.iter().any(|known| known.name() == point);
                let blows: &[Blow] = if in_store {
                    &[Blow::Kill, Blow::Disk, Blow::ReadOnly]
                } else {
                    &[Blow::Kill, Blow::Term, Blow::Backend, Blow::Server]
                };
                let own = if is_first(&KINDS[kind]) { 1..=*times } else { witnessed + 1..=*recorded };
                for nth in own {
                    for &blow in blows {
                        cases.extend(thens(way, blow).iter().map(|&then| Case {
                            kind,
                            way,
                            point: point.clone(),
                            nth,
                            blow,
                            then,
                        }));
                    }
                }
            }
        }
    }
    cases
}

fn thens(way: Way, blow: Blow) -> &'static [Then] {
    match (way, blow) {
        (Way::Forward, Blow::Kill) => &[Then::Resume, Then::Unwind, Then::Elsewhere],
        (Way::Forward, _) => &[Then::Resume, Then::Unwind],
        (Way::Back, Blow::Kill) => &[Then::Resume, Then::Elsewhere],
        (Way::Back, _) => &[Then::Resume],
    }
}

/// Tries one case.
fn test(lab: &Lab, stages: &Stages, case: &Case) -> Result<(), String> {
    let (db, project) = staged(lab, stages, case);
    with_journal(lab, stages, case, &project);
    let first = struck(lab, &db, &project, case);
    // Whoever never came to the point was not harmed, and the case says nothing.
    if case.blow == Blow::Kill && first.code.is_some() {
        return Err(format!("the point was not passed: {first}"));
    }
    judged(lab, stages, case, (&db, &project), &first)?;
    if case.is_back() {
        db.hand_on();
    }
    Ok(())
}

/// The database and the files that a case begins with.
pub fn staged<'l>(lab: &'l Lab, stages: &Stages, case: &Case) -> (Scratch<'l>, Project) {
    let kind = &KINDS[case.kind];
    // The lab's own template of what was applied comes with it.
    stages.get(lab, case.kind);
    let db = match case.way {
        Way::Forward => ground(lab, kind),
        Way::Back => lab.copy(&format!("done_{}", kind.name)),
    };
    let project = db.project();
    kind.write(&project);
    (db, project)
}

/// The journal that belongs to it.
pub fn with_journal(lab: &Lab, stages: &Stages, case: &Case, project: &Project) {
    if case.way == Way::Back {
        copy_dir(&stages.get(lab, case.kind).journal, &project.journal());
    }
}

/// What follows the run that was struck, and what must hold then.
pub fn judged(
    lab: &Lab,
    stages: &Stages,
    case: &Case,
    (db, project): (&Scratch<'_>, &Project),
    first: &Output,
) -> Result<(), String> {
    let stage = stages.get(lab, case.kind);
    if matches!(first.code, Some(code) if !(0..=7).contains(&code)) {
        return Err(format!("a bug shows: {first}"));
    }
    if case.then == Then::Elsewhere && project.journal().exists() {
        std::fs::remove_dir_all(project.journal()).unwrap();
    }
    let mut log = format!("first {first}");
    let end = finish(db, project, case, &mut log);
    let (back, kind) = (case.is_back(), &KINDS[case.kind]);
    let check = || {
        end?;
        oracle::same("schema and data", &oracle::shape(db), if back { &stage.before } else { &stage.after })?;
        if back {
            oracle::all_undone(db)?
        } else {
            oracle::all_once(db, &tags(kind))?
        }
        oracle::books(db, project, if back { Vec::new() } else { ids(kind) }.as_slice())
    };
    check().map_err(|error| format!("{error}\n{log}"))
}

/// The run that is struck.
fn struck(lab: &Lab, db: &Scratch<'_>, project: &Project, case: &Case) -> Output {
    match case.blow {
        Blow::Kill => collect(started(project, case, "kill")),
        Blow::Term => collect(started(project, case, "term")),
        Blow::Disk => collect(started(project, case, "full")),
        Blow::ReadOnly => collect(started(project, case, "readonly")),
        Blow::Backend => paused(project, case, || {
            db.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE datname = current_database() AND application_name LIKE 'migengine%'",
            );
        }),
        Blow::Server => paused(project, case, || {
            lab.cluster.kill_nine();
            lab.cluster.restart();
        }),
    }
}

/// Where the program that is paused says so.
fn pause(project: &Project) -> PathBuf {
    project.path().join("pause")
}

fn started(project: &Project, case: &Case, action: &str) -> Child {
    let (at, pause) = (format!("{}:{}", case.point, case.nth), pause(project));
    let env = [
        ("MIGENGINE_CRASH_AT", at.as_str()),
        ("MIGENGINE_CRASH_ACTION", action),
        ("MIGENGINE_CRASH_PAUSE", pause.to_str().unwrap()),
    ];
    command(project, &start(case.way), &env).spawn().unwrap()
}

/// Does something while the program stands still at the point.
pub fn paused(project: &Project, case: &Case, strike: impl FnOnce()) -> Output {
    let mut child = started(project, case, "pause");
    let pause = pause(project);
    wait_until("the point is reached", Duration::from_secs(60), || {
        pause.exists() || child.try_wait().unwrap().is_some()
    });
    strike();
    std::fs::remove_file(&pause).ok();
    collect(child)
}

/// Brings the run to its end, or back.
fn finish(db: &Scratch<'_>, project: &Project, case: &Case, log: &mut String) -> Result<(), String> {
    let mut step = |args: &[&str]| {
        let output = run(project, args, &[]);
        *log += &format!("\n{args:?} {output}");
        output.code
    };
    let applied = |db: &Scratch<'_>| {
        db.sql("SELECT to_regclass('migengine.history') IS NOT NULL") == "t"
            && db.sql("SELECT count(*) FROM migengine.history") != "0"
    };
    for _ in 0..4 {
        let code = match (case.way, case.then) {
            (Way::Forward, Then::Unwind) => match step(&["rollback", "--run", "last", "--yes"]) {
                // The run never began, or never got as far as the database.
                Some(2 | 5) if !applied(db) => return Ok(()),
                code => code,
            },
            (Way::Forward, _) => match step(&["apply", "--resume", "--yes"]) {
                // Where nothing had begun there is nothing to resume, and what was not told is told by the next command.
                Some(0) if !oracle::all_applied(db, &ids(&KINDS[case.kind])) => step(&["apply", "--yes"]),
                code => code,
            },
            (Way::Back, _) => match step(&["rollback", "--resume", "--yes"]) {
                Some(0) if applied(db) => step(&["rollback", "--last", "3", "--yes"]),
                code => code,
            },
        };
        match code {
            Some(0) => return Ok(()),
            Some(4 | 7) => {}
            _ => return Err(format!("ended with {code:?}")),
        }
    }
    Err("it did not come to an end".to_owned())
}

/// The rows of the matrix, by what happens.
const ROWS: &[(&str, Blow)] = &[
    ("1 kill matrix: SIGKILL the runner", Blow::Kill),
    ("1 kill matrix: SIGTERM", Blow::Term),
    ("1 kill matrix: terminate the backend", Blow::Backend),
    ("1 kill matrix: kill -9 the server", Blow::Server),
    ("10 disk full at every act of the journal, reported", Blow::Disk),
    ("10 read-only at every act of the journal, reported", Blow::ReadOnly),
];

/// The matrix, or every `stride`-th case of each of its rows that are wanted.
pub fn matrix(table: &Table, stride: usize, wanted: &dyn Fn(&str) -> bool) {
    let stages = Stages::default();
    let all = {
        let lab = Lab::start();
        cases(&lab, &stages)
    };
    let mut chosen: Vec<(&str, Case)> = Vec::new();
    for (name, blow) in ROWS.iter().filter(|(name, _)| name.split_once(' ').is_some_and(|(row, _)| wanted(row))) {
        // A stride that shares no factor with the number of points goes through all of them in turn.
        let cases = all.iter().filter(|case| case.blow == *blow).step_by(stride);
        chosen.extend(cases.map(|case| (*name, case.clone())));
        table.strided(name, stride, "STRIDE");
    }
    let tried = |lab: &Lab, case: &(&str, Case)| test(lab, &stages, &case.1);
    table.each(&chosen, |case| case.0, Lab::start, tried, |case| case.1.describe());
    if wanted("10") {
        disk::real(table, &stages, &all, stride);
    }
}
