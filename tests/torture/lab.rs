//! The laboratory: servers to torture, work shared by several threads, and the table at the end.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

use tokio_postgres::{NoTls, SimpleQueryMessage};

use super::kinds::{BASE, Kind};
use super::oracle;
use crate::support::project::collect;
use crate::support::{Cluster, Options, Output, Project};

/// How many threads torture at once; each has a server of its own. One more than there are cores: they wait a lot.
pub fn workers() -> usize {
    std::env::var("WORKERS").ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

/// A server of one thread's.
pub struct Lab {
    pub cluster: Cluster,
    runtime: tokio::runtime::Runtime,
    next: AtomicU32,
    expected: Mutex<BTreeMap<&'static str, String>>,
}

/// A database of a lab's, dropped with the value.
pub struct Scratch<'a> {
    pub lab: &'a Lab,
    pub name: String,
}

impl Lab {
    pub fn start() -> Self {
        Self::start_with(Options::default())
    }

    /// `kill -9` must not lose what was acknowledged, so commits wait for the write; the disk itself is not tested.
    pub fn start_with(mut options: Options) -> Self {
        static FAST: Once = Once::new();
        FAST.call_once(|| {
            // Journals sync with every append. What a power cut does to them is another test's business.
            if Path::new("/dev/shm").is_dir() {
                tempfile::env::override_temp_dir(Path::new("/dev/shm")).ok();
            }
        });
        options.conf.push("synchronous_commit = on\nautovacuum = off\nmax_wal_size = 1GB".to_owned());
        let cluster = Cluster::start_with(options);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let lab = Self { cluster, runtime, next: AtomicU32::new(0), expected: Mutex::default() };
        lab.sql("postgres", "CREATE DATABASE base TEMPLATE template0");
        lab.sql("base", BASE);
        lab
    }

    /// Rows as text, fields by `|`, rows by line.
    pub fn try_sql(&self, database: &str, sql: &str) -> Result<String, tokio_postgres::Error> {
        self.ask(self.cluster.port(), database, sql)
    }

    fn ask(&self, port: u16, database: &str, sql: &str) -> Result<String, tokio_postgres::Error> {
        self.runtime.block_on(async {
            let mut config = tokio_postgres::Config::new();
            config.host_path(self.cluster.dir()).port(port).user("postgres").dbname(database);
            let (client, connection) = config.connect(NoTls).await?;
            let connection = tokio::spawn(connection);
            let answer = client.simple_query(sql).await;
            drop(client);
            connection.await.ok();
            let mut lines = Vec::new();
            for message in answer? {
                if let SimpleQueryMessage::Row(row) = message {
                    let cells: Vec<&str> = (0..row.len()).map(|at| row.get(at).unwrap_or("")).collect();
                    lines.push(cells.join("|"));
                }
            }
            Ok(lines.join("\n"))
        })
    }

    /// On another server beside the lab's own, under the same socket folder.
    pub fn sql_at(&self, port: u16, sql: &str) -> Result<String, tokio_postgres::Error> {
        self.ask(port, "postgres", sql)
    }

    pub fn sql(&self, database: &str, sql: &str) -> String {
        self.try_sql(database, sql).unwrap_or_else(|error| panic!("{error:?}\nin {database}: {sql}"))
    }

    /// The schema and the data after an undisturbed run of a kind.
    pub fn expected(&self, kind: &Kind) -> String {
        let mut known = self.expected.lock().unwrap();
        let make = || {
            let db = self.copy("base");
            let project = db.project();
            kind.write(&project);
            run(&project, &["apply", "--yes"], &[]).expect(0);
            oracle::shape(&db)
        };
        known.entry(kind.name).or_insert_with(make).clone()
    }

    /// A copy of a database nobody is connected to.
    pub fn copy(&self, template: &str) -> Scratch<'_> {
        let name = format!("s{}", self.next.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name} TEMPLATE {template}"));
        Scratch { lab: self, name }
    }
}

impl Scratch<'_> {
    pub fn sql(&self, sql: &str) -> String {
        self.lab.sql(&self.name, sql)
    }

    pub fn url(&self) -> String {
        self.lab.cluster.url(&self.name)
    }

    pub fn project(&self) -> Project {
        Project::with_url(&self.url())
    }

    /// Makes it a template under a name that stays.
    pub fn keep(self, name: &str) {
        self.lab.sql("postgres", &format!("ALTER DATABASE {} RENAME TO {name}", self.name));
        std::mem::forget(self);
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        self.lab.try_sql("postgres", &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name)).ok();
    }
}

/// Runs to the end, with variables.
pub fn run(project: &Project, args: &[&str], env: &[(&str, &str)]) -> Output {
    collect(command(project, args, env).spawn().unwrap())
}

/// The program with variables. It gives up soon when the server is away: the tests bring it back.
pub fn command(project: &Project, args: &[&str], env: &[(&str, &str)]) -> Command {
    let mut command = project.command(args);
    command.envs(env.iter().copied());
    command
}

/// A small generator of numbers that are the same on every machine (splitmix64).
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
}

/// What was tried, and what was found wrong.
#[derive(Default)]
pub struct Table(Mutex<BTreeMap<String, Row>>);

#[derive(Default)]
struct Row {
    tried: usize,
    violations: Vec<String>,
    took: Duration,
    note: String,
}

impl Table {
    /// Tries every case, in [`workers`] threads with a lab each. A panic is a violation of its case.
    pub fn all<C: Sync>(
        &self,
        name: &str,
        cases: &[C],
        lab: impl Fn() -> Lab + Sync,
        test: impl Fn(&Lab, &C) -> Result<(), String> + Sync,
        describe: impl Fn(&C) -> String + Sync,
    ) {
        self.many(name, cases, lab, |lab, case, report| {
            let outcome = catch_unwind(AssertUnwindSafe(|| test(lab, case)));
            let outcome = outcome.unwrap_or_else(|panic| Err(words(panic.as_ref())));
            report(outcome.map_err(|error| format!("{}: {error}", describe(case))));
        });
    }

    /// Does every piece of work, in [`workers`] threads with a lab each. Each reports as many cases as it tries.
    pub fn many<C: Sync>(
        &self,
        name: &str,
        cases: &[C],
        lab: impl Fn() -> Lab + Sync,
        work: impl Fn(&Lab, &C, &dyn Fn(Result<(), String>)) + Sync,
    ) {
        let (next, began) = (AtomicUsize::new(0), Instant::now());
        let workers = workers().min(cases.len());
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    let lab = lab();
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(case) = cases.get(index) else { break };
                        let tried =
                            catch_unwind(AssertUnwindSafe(|| work(&lab, case, &|outcome| self.count(name, outcome))));
                        if let Err(panic) = tried {
                            self.count(name, Err(words(panic.as_ref())));
                        }
                        if (index + 1) % (cases.len() / 10).max(1) == 0 {
                            println!("{name}: {} of {}, {:?}", index + 1, cases.len(), began.elapsed());
                        }
                    }
                });
            }
        });
        self.0.lock().unwrap().entry(name.to_owned()).or_default().took += began.elapsed();
    }

    /// One case.
    pub fn count(&self, name: &str, outcome: Result<(), String>) {
        let mut rows = self.0.lock().unwrap();
        let row = rows.entry(name.to_owned()).or_default();
        row.tried += 1;
        if let Err(violation) = outcome {
            println!("VIOLATION {name}: {violation}\n");
            row.violations.push(violation);
        }
    }

    /// Why something was not tried.
    pub fn note(&self, name: &str, note: &str) {
        println!("{name}: {note}");
        self.0.lock().unwrap().entry(name.to_owned()).or_default().note = note.to_owned();
    }

    /// The table, as text.
    pub fn text(&self) -> String {
        let mut text = format!("{:<48} {:>8} {:>11} {:>9}\n", "case", "tried", "violations", "seconds");
        for (name, row) in self.0.lock().unwrap().iter() {
            let (tried, bad, took) = (row.tried, row.violations.len(), row.took.as_secs_f32());
            writeln!(text, "{name:<48} {tried:>8} {bad:>11} {took:>9.1}  {}", row.note).unwrap();
        }
        text
    }

    /// Prints the table, and fails where a promise was broken.
    pub fn conclude(&self) {
        println!("\n{}", self.text());
        let rows = self.0.lock().unwrap();
        let bad: usize = rows.values().map(|row| row.violations.len()).sum();
        let first = rows.values().flat_map(|row| &row.violations).next().cloned().unwrap_or_default();
        assert_eq!(bad, 0, "{bad} violations; the first:\n{first}");
        assert!(rows.values().any(|row| row.tried > 0 || !row.note.is_empty()), "nothing was tried");
    }
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
        .unwrap_or_else(|| "a panic without words".to_owned())
}
