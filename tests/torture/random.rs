//! Row 2: random graphs of migrations, run on one to three sessions, killed at random times, several times over, brought to their end or back.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::lab::{Lab, Rng, Scratch, command, run};
use super::oracle;
use super::table::Table;
use crate::support::Project;
use crate::support::process::signal;
use crate::support::project::collect;

/// The migrations of a graph. Twenty seeds share one, so that its undisturbed run is looked at once.
struct Graph {
    /// Id, forward, reverse.
    migrations: Vec<(String, String, String)>,
    tags: Vec<String>,
}

const SHARE: u64 = 20;

/// An undisturbed run of a graph.
#[derive(Clone)]
struct Calm {
    shape: String,
    /// How long it took: kills come within that time, and a little later.
    took: Duration,
}

/// What was found out once.
#[derive(Default)]
struct Known {
    /// The schema and the data before any migration.
    before: OnceLock<String>,
    /// Undisturbed runs, by the number of the graph.
    calm: Mutex<BTreeMap<u64, Calm>>,
}

/// Two threads may find the same out at the same time; the first one's word counts.
fn calm(lab: &Lab, known: &Known, seed: u64) -> Result<Calm, String> {
    let found = known.calm.lock().unwrap().get(&(seed / SHARE)).cloned();
    if let Some(calm) = found {
        return Ok(calm);
    }
    let graph = Graph::of(seed);
    let db = lab.copy("base");
    let project = db.project();
    graph.write(&project);
    known.before.get_or_init(|| oracle::shape(&db));
    let began = Instant::now();
    run(&project, &["apply", "--yes"], &[]).expect(0);
    let took = began.elapsed();
    oracle::all_once(&db, &graph.tags)?;
    let calm = Calm { shape: oracle::shape(&db), took };
    Ok(known.calm.lock().unwrap().entry(seed / SHARE).or_insert(calm).clone())
}

impl Graph {
    fn of(seed: u64) -> Self {
        let mut rng = Rng(seed / SHARE);
        let count = 3 + rng.below(5);
        let (mut migrations, mut tags) = (Vec::new(), Vec::new());
        for n in 1..=count {
            let id = format!("{n}_m");
            let requires: Vec<String> = (1..n).filter(|_| rng.below(3) == 0).map(|m| format!("{m}_m")).collect();
            let requires = if requires.is_empty() { "none".to_owned() } else { requires.join(", ") };
            let (up, down, counted) = script(n, rng.below(7));
            migrations.push((id, format!("-- Requires: {requires}\n{up}"), down));
            tags.extend(counted);
        }
        Self { migrations, tags }
    }

    fn write(&self, project: &Project) {
        for (id, up, down) in &self.migrations {
            project.pair(id, up, down);
        }
    }

    fn ids(&self) -> Vec<String> {
        self.migrations.iter().map(|(id, ..)| id.clone()).collect()
    }
}

/// One migration of a kind. Each makes its own objects, so that any order that the graph allows is right.
fn script(n: u64, kind: u64) -> (String, String, Vec<String>) {
    let tag = n.to_string();
    let count = |tag: &str, way: &str| format!("INSERT INTO counter VALUES ('{tag}', '{way}');\n");
    let (up, down, also) = match kind {
        0 | 1 => (format!("CREATE TABLE t{n} (n int);\n"), format!("DROP TABLE t{n};\n"), None),
        2 => (
            format!(
                "BEGIN;\nCREATE TABLE t{n} (n int);\n{}COMMIT;\nBEGIN;\nSELECT 1;\n",
                count(&format!("{n}b"), "up")
            ),
            format!("BEGIN;\nDROP TABLE IF EXISTS t{n};\n{}COMMIT;\nBEGIN;\n", count(&format!("{n}b"), "down")),
            Some(format!("{n}b")),
        ),
        3 => (
            format!("CREATE INDEX CONCURRENTLY i{n} ON big (n, id);\n"),
            format!("DROP INDEX CONCURRENTLY IF EXISTS i{n};\n"),
            None,
        ),
        4 => (format!("REINDEX TABLE CONCURRENTLY p{};\n", 1 + n % 2), "VACUUM big;\n".to_owned(), None),
        5 => ("VACUUM big;\nSELECT pg_sleep(0.02);\n".to_owned(), "VACUUM p1;\n".to_owned(), None),
        _ => (
            format!("CREATE TYPE e{n} AS ENUM ('a', 'b');\nCREATE TABLE t{n} (e e{n});\nSELECT pg_sleep(0.02);\n"),
            format!("DROP TABLE t{n};\nDROP TYPE e{n};\n"),
            None,
        ),
    };
    let end = if kind == 2 { "COMMIT;\n" } else { "" };
    let ups = format!("{up}{}{end}", count(&tag, "up"));
    let downs = format!("{down}{}{end}", count(&tag, "down"));
    (ups, downs, [Some(tag), also].into_iter().flatten().collect())
}

/// Runs the program and sends it a signal after a random time; `None` lets it end. Returns the exit code.
fn disturbed(project: &Project, args: &[&str], rng: &mut Rng, span: Duration, log: &mut String) -> Option<i32> {
    let began = Instant::now();
    let mut child = command(project, args, &[]).spawn().unwrap();
    let after = span.mul_f64(rng.below(1000) as f64 / 1000.0);
    let with = if rng.below(4) == 0 { Signal::SIGTERM } else { Signal::SIGKILL };
    while began.elapsed() < after && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    if child.try_wait().unwrap().is_none() {
        signal(i32::try_from(child.id()).unwrap(), with);
    }
    let output = collect(child);
    writeln!(log, "{args:?}, {with} after {after:?}: {output}").unwrap();
    output.code
}

/// Tries one seed.
fn test(lab: &Lab, known: &Known, seed: u64) -> Result<(), String> {
    let calm = calm(lab, known, seed)?;
    let graph = Graph::of(seed);
    let mut rng = Rng(seed);
    // The first run of a database and later ones are both tried.
    let db = lab.used();
    let project = db.project();
    graph.write(&project);
    let back = rng.below(2) == 0;
    let span = calm.took.mul_f64(0.5 + rng.below(1000) as f64 / 1000.0);
    let mut log = format!("{:#?}\n", graph.migrations);
    let jobs = (1 + rng.below(3)).to_string();
    disturbed(&project, &["apply", "--yes", "--jobs", &jobs], &mut rng, span, &mut log);
    for _ in 0..rng.below(3) {
        disturbed(&project, &["apply", "--resume", "--yes", "--jobs", &jobs], &mut rng, span, &mut log);
    }
    let end = if back {
        unwind(&db, &project, &mut rng, span, &mut log)
    } else {
        resume(&db, &project, &graph.ids(), &mut log)
    };
    let end = end.and_then(|()| told(&db, &project, &mut log));
    let check = || {
        end?;
        if back {
            let before = known.before.get().map_or("", String::as_str);
            oracle::same("schema and data", &oracle::shape(&db), before)?;
            oracle::all_undone(&db)?;
            return oracle::books(&db, &project, &[]);
        }
        oracle::all_once(&db, &graph.tags)?;
        oracle::same("schema and data", &oracle::shape(&db), &calm.shape)?;
        oracle::books(&db, &project, &graph.ids())
    };
    check().map_err(|error| format!("{error}\n{log}"))?;
    if back {
        db.hand_on();
    }
    Ok(())
}

/// The server may take up the last message of a killed runner after all later commands have looked: a run that never held the
/// lock, by the journal, is then in the run table. Nothing of it is begun, and the next command says so there.
fn told(db: &Scratch<'_>, project: &Project, log: &mut String) -> Result<(), String> {
    oracle::quiet(db)?;
    let known = db.sql("SELECT to_regclass('migengine.run') IS NOT NULL") == "t";
    let late = if known { oracle::unfinished(db) } else { String::new() };
    if late.is_empty() {
        return Ok(());
    }
    let next = run(project, &["apply", "--resume", "--yes"], &[]);
    *log += &format!("behind {late}: {next}\n");
    println!("2: the server took up a message late: {late}");
    if next.code == Some(0) && next.stderr.contains("nothing to resume") {
        return Ok(());
    }
    Err(format!("not over: {late}"))
}

fn resume(db: &Scratch<'_>, project: &Project, ids: &[String], log: &mut String) -> Result<(), String> {
    for _ in 0..4 {
        let resumed = run(project, &["apply", "--resume", "--yes"], &[]);
        *log += &format!("resume: {resumed}\n");
        match resumed.code {
            Some(0) if oracle::all_applied(db, ids) => return Ok(()),
            Some(0) => {
                let rest = run(project, &["apply", "--yes"], &[]);
                *log += &format!("apply: {rest}\n");
                if rest.code == Some(0) {
                    return Ok(());
                }
            }
            Some(4 | 7) => {}
            _ => return Err(format!("ended with {:?}", resumed.code)),
        }
    }
    Err("it did not come to an end".to_owned())
}

/// Takes everything back, disturbed on the way too.
fn unwind(db: &Scratch<'_>, project: &Project, rng: &mut Rng, span: Duration, log: &mut String) -> Result<(), String> {
    let left = || {
        db.sql("SELECT to_regclass('migengine.history') IS NOT NULL") == "t"
            && db.sql("SELECT count(*) FROM migengine.history") != "0"
    };
    let all = ["rollback", "--run", "last", "--yes"];
    disturbed(project, &all, rng, span, log);
    for _ in 0..5 {
        let again = run(project, &["rollback", "--resume", "--yes"], &[]);
        *log += &format!("rollback --resume: {again}\n");
        let code = match again.code {
            Some(0) if !left() => return Ok(()),
            // A run that goes forward is turned around by name; one that is over, too.
            Some(0 | 7) => {
                let named = run(project, &all, &[]);
                *log += &format!("{all:?}: {named}\n");
                named.code
            }
            code => code,
        };
        match code {
            Some(0) if !left() => return Ok(()),
            Some(2 | 5) if !left() => return Ok(()),
            Some(0 | 4 | 7) => {}
            _ => return Err(format!("ended with {code:?}")),
        }
    }
    Err("it did not come to an end".to_owned())
}

/// So many seeds from `seed` on.
pub fn random(table: &Table, rounds: u64, seed: u64) {
    println!("2 random kills: SEED={seed} ROUNDS={rounds}");
    let seeds: Vec<u64> = (seed..seed.saturating_add(rounds)).collect();
    let describe = |seed: &u64| format!("replay with SEED={seed} ROUNDS=1 ONLY=2");
    let known = Known::default();
    let tried = |lab: &Lab, seed: &u64| test(lab, &known, *seed);
    table.all("2 random kills of random graphs", &seeds, Lab::start, tried, describe);
}
