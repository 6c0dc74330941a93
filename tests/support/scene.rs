//! A project on a fresh database of the shared server: migrations whose effects can be counted, and the program killed
//! at a point of its protocol.

use super::project::collect;
use super::{Cluster, Database, Output, Project};

/// A project and its database. The database holds a table `effects` that is no migration's.
#[derive(Debug)]
pub struct Scene {
    /// The database.
    pub db: Database<'static>,
    /// The project.
    pub project: Project,
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}

impl Scene {
    /// An empty project on a fresh database.
    pub fn new() -> Self {
        let db = Cluster::shared().database();
        db.psql("CREATE TABLE effects (at serial, what text)");
        let project = Project::new(&db);
        Self { db, project }
    }

    /// A project with transactional migrations `001_m`, `002_m`, ...; see [`Scene::step`].
    pub fn with_steps(count: usize) -> Self {
        let scene = Self::new();
        (1..=count).for_each(|number| scene.step(number));
        scene
    }

    /// Writes migration `NNN_m`: makes the table `tNNN`, and leaves `+NNN` among the effects, `-NNN` on its way back.
    pub fn step(&self, number: usize) {
        let id = format!("{number:03}");
        let forward = format!("CREATE TABLE t{id} (n int);\nINSERT INTO effects (what) VALUES ('+{id}');\n");
        let reverse = format!("DROP TABLE t{id};\nINSERT INTO effects (what) VALUES ('-{id}');\n");
        self.project.pair(&format!("{id}_m"), &forward, &reverse);
    }

    /// What took effect, in order.
    pub fn effects(&self) -> String {
        self.db.psql("SELECT coalesce(string_agg(what, ' ' ORDER BY at), '') FROM effects")
    }

    /// The tables `tNNN` that are there.
    pub fn tables(&self) -> String {
        self.db
            .psql("SELECT coalesce(string_agg(relname, ' ' ORDER BY 1), '') FROM pg_class WHERE relname ~ '^t[0-9]+$'")
    }

    /// The history: ids with their states.
    pub fn history(&self) -> String {
        self.db.psql("SELECT coalesce(string_agg(id || ':' || state, ' ' ORDER BY id), '') FROM migengine.history")
    }

    /// Everything that must stay as it is when a command is refused: the schema, the effects, and the engine's tables.
    pub fn everything(&self) -> String {
        let mut text = format!("{}\n{}\n", self.db.dump(), self.effects());
        if self.db.psql("SELECT to_regclass('migengine.history') IS NOT NULL") == "t" {
            for table in ["identity", "lease", "history", "reversed", "run", "record"] {
                text += &self.db.psql(&format!("SELECT x FROM migengine.{table} x ORDER BY x::text"));
                text += "\n";
            }
        }
        text
    }

    /// Runs the program to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.project.run(args)
    }

    /// Runs the program with `--format json` and its log, and expects the exit code.
    #[track_caller]
    pub fn run_logged(&self, args: &[&str], code: i32) -> Output {
        self.project.run(&[&["-vv", "--format", "json"], args].concat()).expect(code)
    }

    /// Runs the program until `at` (`point:n`), where it is killed with SIGKILL.
    #[track_caller]
    pub fn crash(&self, at: &str, args: &[&str]) -> Output {
        let child = self.project.command(args).env("MIGENGINE_CRASH_AT", at).spawn().unwrap();
        let output = collect(child);
        assert_eq!(output.code, None, "it must be killed at {at}: {output}");
        output
    }
}

/// The letter of the recovery table that the log of `-vv` shows for a migration, the first time it was looked up.
#[track_caller]
pub fn row_of(output: &Output, id: &str) -> char {
    let step = format!("step=\"{id}\"");
    let line = output.stderr.lines().find(|line| line.contains(&step) && line.contains(" row="));
    let line = line.unwrap_or_else(|| panic!("no recovery row for {id}: {output}"));
    line.split_once(" row=").and_then(|(_, rest)| rest.chars().next()).unwrap()
}

/// One field of a step in the JSON of `apply` or `rollback`.
#[track_caller]
pub fn step_field(output: &Output, id: &str, field: &str) -> serde_json::Value {
    let json = output.json();
    let steps = json["steps"].as_array().unwrap();
    steps.iter().find(|step| step["id"] == id).unwrap_or_else(|| panic!("no step {id}: {output}"))[field].clone()
}
