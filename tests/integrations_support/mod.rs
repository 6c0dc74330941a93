//! What the files below `integrations/` are run with: a fresh machine for each job, with a checkout of the project, the
//! program under test in its `PATH`, and nothing else of this machine's environment.
#![allow(unreachable_pub, clippy::unwrap_used)]

pub mod github;
pub mod gitlab;
pub mod image;
pub mod kubernetes;
pub mod systemd;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_norway::Value;
use tempfile::TempDir;

use super::support::{Database, Output, Project, project::collect};

/// Variables of a process.
pub type Env = BTreeMap<String, String>;

/// A file below `integrations/`.
pub fn shipped(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../integrations").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A file below `integrations/`, as YAML.
pub fn yaml(name: &str) -> Value {
    serde_norway::from_str(&shipped(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The text of a field.
#[track_caller]
pub fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no text `{key}` in {value:?}"))
}

/// The list in a field.
#[track_caller]
pub fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_sequence().unwrap_or_else(|| panic!("no list `{key}` in {value:?}"))
}

/// A field's mapping, as variables. No such field: none.
#[track_caller]
pub fn variables(value: &Value, key: &str) -> Env {
    let fields = value[key].as_mapping().into_iter().flatten();
    fields.map(|(key, value)| (key.as_str().unwrap().to_owned(), value.as_str().unwrap().to_owned())).collect()
}

/// An application in version control: two migrations, their proofs, and a deployment that writes `deployed`.
pub struct Shop {
    /// Where it is deployed to.
    pub db: Database<'static>,
    /// What is in version control.
    pub project: Project,
}

impl Shop {
    /// On a fresh database, with nothing applied.
    pub fn new(db: Database<'static>) -> Self {
        let project = Project::new(&db);
        let shop = Self { db, project };
        shop.migration("001_users", "users");
        shop.migration("002_orders", "orders");
        shop.deployment("touch deployed");
        shop
    }

    /// Adds a migration that makes a table, and rehearses the folder.
    pub fn migration(&self, id: &str, table: &str) {
        let forward = format!("CREATE TABLE {table} (id bigint PRIMARY KEY);\n");
        let reverse = format!("-- Allow: drop-table({table}) -- \"it was new\"\n\nDROP TABLE {table};\n");
        self.project.pair(id, &forward, &reverse);
        let empty = self.db.cluster().database().url();
        self.project.run(&["rehearse", "--against", &empty]).expect(0);
    }

    /// What `./scripts/deploy` does.
    pub fn deployment(&self, script: &str) {
        program(&self.project.path().join("scripts"), "deploy", script);
    }

    /// The tables in the database.
    pub fn tables(&self) -> String {
        self.db.psql("SELECT coalesce(string_agg(relname, ' ' ORDER BY relname), '') FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace")
    }
}

/// A machine of a build server: made for one job, with a fresh checkout.
pub struct Machine {
    dir: TempDir,
    path: String,
}

impl Machine {
    /// With everything in version control, and the programs that build servers have.
    pub fn new(shop: &Shop) -> Self {
        let dir = tempfile::Builder::new().prefix("me-machine-").tempdir().unwrap();
        let bin = dir.path().join("bin");
        fs::create_dir_all(&bin).unwrap();
        let engine = shop.project.command(&["--version"]).get_program().to_owned();
        std::os::unix::fs::symlink(engine, bin.join("migengine")).unwrap();
        copy(shop.project.path(), &dir.path().join("work"));
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
        Self { dir, path }
    }

    /// A file or folder of the machine.
    pub fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Replaces a program in the `PATH`.
    pub fn pretend(&self, name: &str, script: &str) {
        program(&self.at("bin"), name, script);
    }

    /// Takes migengine from the `PATH`, as on a machine where it is not installed yet.
    pub fn without_engine(&self) -> PathBuf {
        let hidden = self.at("engine");
        fs::rename(self.at("bin/migengine"), &hidden).unwrap();
        hidden
    }

    /// A program with its arguments, in the checkout.
    pub fn command(&self, program: &str, args: &[&str], env: &Env) -> Command {
        let path = env.get("PATH").map_or_else(|| self.path.clone(), |more| format!("{more}:{}", self.path));
        let mut command = Command::new(program);
        command.args(args).current_dir(self.at("work")).env_clear().envs(env).env("PATH", path);
        command.env("HOME", self.at("home")).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a script with a shell.
    pub fn run(&self, shell: &[&str], script: &str, env: &Env) -> Output {
        let args = [&shell[1..], &["-c", script]].concat();
        collect(self.command(shell[0], &args, env).spawn().unwrap())
    }
}

/// Writes a shell script that can be run.
pub fn program(folder: &Path, name: &str, script: &str) {
    fs::create_dir_all(folder).unwrap();
    let file = folder.join(name);
    fs::remove_file(&file).ok();
    fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Whether a program is on this machine; says what is left out where it is not.
pub fn at_hand(name: &str) -> bool {
    let found =
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).any(|dir| dir.join(name).is_file());
    if !found {
        println!("skipped: {name} is not on this machine");
    }
    found
}

/// What is in version control: everything but the journal.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if name == "journal" || name.to_string_lossy().starts_with('.') {
            continue;
        }
        if path.is_dir() {
            copy(&path, &to.join(&name));
        } else {
            fs::copy(&path, to.join(&name)).unwrap();
        }
    }
}
