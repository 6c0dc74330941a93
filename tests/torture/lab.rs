//! The laboratory: servers to torture, and their databases.
//!
//! What is not tortured is made cheap, without asking for less: servers and journals live in memory where the machine has
//! room for that (`/dev/shm`), one connection a database answers all of the oracle's questions, and databases are dropped
//! when nobody has used them for a while, because `DROP DATABASE` waits for sessions that are just about to end.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, Once};
use std::time::Duration;

use tokio_postgres::{Client, Error, NoTls, SimpleQueryMessage};

use super::kinds::{BASE, KINDS, Kind};
use super::oracle;
use crate::support::project::collect;
use crate::support::{Cluster, Options, Output, Project, wait_until};

/// A server of one thread's.
pub struct Lab {
    pub cluster: Cluster,
    runtime: tokio::runtime::Runtime,
    next: AtomicU32,
    expected: Mutex<BTreeMap<&'static str, String>>,
    /// The connection that asks the oracle's questions, for each database.
    clients: RefCell<BTreeMap<String, Client>>,
    /// Databases nobody needs, the oldest first.
    litter: RefCell<VecDeque<String>>,
    /// Databases that are as `base` is, but for the engine's own tables.
    used: RefCell<Vec<String>>,
    /// Set once there is a template of that kind, `known`.
    known: OnceCell<()>,
    /// How databases are copied.
    strategy: &'static str,
}

/// Databases kept until their sessions are long gone.
const LITTER: usize = 6;

/// Databases that wait to be used again.
const USED: usize = 24;

/// Where nothing ever waits for a disk.
const MEMORY: &str = "/dev/shm";

fn memory() -> Option<PathBuf> {
    Some(PathBuf::from(MEMORY)).filter(|path| path.is_dir())
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
            if memory().is_some() {
                tempfile::env::override_temp_dir(Path::new(MEMORY)).ok();
            }
        });
        options.parent = memory();
        options.conf.push("synchronous_commit = on\nautovacuum = off\nmax_wal_size = 1GB".to_owned());
        let cluster = Cluster::start_with(options);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut lab = Self {
            cluster,
            runtime,
            next: AtomicU32::new(0),
            expected: Mutex::default(),
            clients: RefCell::default(),
            litter: RefCell::default(),
            used: RefCell::default(),
            known: OnceCell::new(),
            strategy: "",
        };
        // Copied by file, a database writes no log: half the work here, and nothing to replay after `kill -9`. It is the only
        // way before version 15, which has no word for it.
        if lab.sql("postgres", "SELECT current_setting('server_version_num')::int >= 150000") == "t" {
            lab.strategy = "STRATEGY file_copy";
        }
        lab.sql("postgres", "CREATE DATABASE base TEMPLATE template0");
        lab.sql("base", BASE);
        lab
    }

    /// Rows as text, fields by `|`, rows by line.
    pub fn try_sql(&self, database: &str, sql: &str) -> Result<String, Error> {
        let known = self.clients.borrow_mut().remove(database);
        let (mut client, fresh) = match known {
            Some(client) => (client, false),
            None => (self.connect(self.cluster.port(), database)?, true),
        };
        let mut answer = self.ask(&client, sql);
        // The server was killed since: the question never reached it.
        if !fresh && answer.as_ref().is_err_and(|error| error.as_db_error().is_none()) {
            client = self.connect(self.cluster.port(), database)?;
            answer = self.ask(&client, sql);
        }
        self.clients.borrow_mut().insert(database.to_owned(), client);
        answer
    }

    fn connect(&self, port: u16, database: &str) -> Result<Client, Error> {
        self.runtime.block_on(async {
            let mut config = tokio_postgres::Config::new();
            config.host_path(self.cluster.dir()).port(port).user("postgres").dbname(database);
            let (client, connection) = config.connect(NoTls).await?;
            tokio::spawn(connection);
            Ok(client)
        })
    }

    fn ask(&self, client: &Client, sql: &str) -> Result<String, Error> {
        let mut lines = Vec::new();
        for message in self.runtime.block_on(client.simple_query(sql))? {
            if let SimpleQueryMessage::Row(row) = message {
                let cells: Vec<&str> = (0..row.len()).map(|at| row.get(at).unwrap_or("")).collect();
                lines.push(cells.join("|"));
            }
        }
        Ok(lines.join("\n"))
    }

    /// Nobody of ours is connected to the database any more.
    fn leave(&self, database: &str) {
        if self.clients.borrow_mut().remove(database).is_some() {
            let left = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}'");
            wait_until("the session ends", Duration::from_secs(10), || self.sql("postgres", &left) == "0");
        }
    }

    /// On another server beside the lab's own, under the same socket folder.
    pub fn sql_at(&self, port: u16, sql: &str) -> Result<String, Error> {
        self.ask(&self.connect(port, "postgres")?, sql)
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

    /// A copy of a database nobody else is connected to.
    pub fn copy(&self, template: &str) -> Scratch<'_> {
        self.leave(template);
        let name = format!("s{}", self.next.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name} TEMPLATE {template} {}", self.strategy));
        Scratch { lab: self, name }
    }

    /// A database as `base` is, which may have the engine's tables from runs that are forgotten.
    pub fn used(&self) -> Scratch<'_> {
        self.handed_on().unwrap_or_else(|| self.copy("base"))
    }

    /// A database as `base` is, which has the engine's tables from runs that are forgotten.
    pub fn known(&self) -> Scratch<'_> {
        self.handed_on().unwrap_or_else(|| {
            self.known.get_or_init(|| {
                let (db, kind) = (self.copy("base"), &KINDS[0]);
                let project = db.project();
                kind.write_alone(&project);
                run(&project, &["apply", "--yes"], &[]).expect(0);
                run(&project, &["rollback", "--last", "1", "--yes"], &[]).expect(0);
                db.forget();
                db.keep("known");
            });
            self.copy("known")
        })
    }

    fn handed_on(&self) -> Option<Scratch<'_>> {
        let used = self.used.borrow_mut().pop();
        used.map(|name| Scratch { lab: self, name })
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
        self.lab.leave(&self.name);
        self.lab.sql("postgres", &format!("ALTER DATABASE {} RENAME TO {name}", self.name));
        std::mem::forget(self);
    }

    /// Forgets the runs and the effects.
    fn forget(&self) {
        self.sql("TRUNCATE counter, migengine.record, migengine.run, migengine.reversed");
    }

    /// Hands it on to [`Lab::used`] and [`Lab::known`], once everything was taken back and looked at. One in which no run
    /// came as far as the engine's tables is dropped, and so is one more than are of use: each has a session.
    pub fn hand_on(self) {
        if self.lab.used.borrow().len() < USED && self.sql("SELECT to_regclass('migengine.history') IS NOT NULL") == "t"
        {
            self.forget();
            self.lab.used.borrow_mut().push(self.name.clone());
            std::mem::forget(self);
        }
    }

    /// Drops it now, so that its name is free.
    pub fn remove(self) {
        self.lab.leave(&self.name);
        self.lab.sql("postgres", &drop_sql(&self.name));
        std::mem::forget(self);
    }
}

fn drop_sql(name: &str) -> String {
    format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        self.lab.clients.borrow_mut().remove(&self.name);
        let mut litter = self.lab.litter.borrow_mut();
        litter.push_back(self.name.clone());
        let oldest = if litter.len() > LITTER { litter.pop_front() } else { None };
        if let Some(oldest) = oldest {
            self.lab.try_sql("postgres", &drop_sql(&oldest)).ok();
        }
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
