//! The harness of the integration tests: real servers, real projects, real kills.
//!
//! - [`Cluster`]: a private PostgreSQL on a Unix socket. `Cluster::shared()` is one for the whole test process.
//! - [`Database`]: a fresh database in it.
//! - [`Project`]: a temporary folder with migrations, in which the program is run with nothing inherited.
//!
//! Works as root (the server then runs as an unprivileged user) and as an ordinary user. Servers and their folders go
//! away with the value, and also when the test process is killed.
#![allow(dead_code, unused_imports, unreachable_pub, clippy::unwrap_used)]

pub mod certificates;
pub mod cluster;
pub mod database;
pub mod http;
pub mod process;
pub mod project;
pub mod scene;
pub mod secret;
pub mod smtp;
pub mod standby;
mod template;

pub use cluster::{Cluster, Options};
pub use database::Database;
pub use process::{kill_nine, wait_until};
pub use project::{Output, Project};
pub use scene::Scene;

use std::path::PathBuf;

/// Programs of servers of other versions: the folders that `MIGENGINE_PG_MATRIX` lists, separated by colons, or what
/// `scripts/pg-matrix.sh` fetched. Says so where there are none.
pub fn other_servers() -> Vec<PathBuf> {
    let named = std::env::var("MIGENGINE_PG_MATRIX").unwrap_or_default();
    let mut found: Vec<PathBuf> = named.split(':').filter(|name| !name.is_empty()).map(PathBuf::from).collect();
    if found.is_empty() {
        let fetched = std::fs::read_dir(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/pg"));
        let bins = fetched.into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
        found = bins.filter(|bin| bin.join("postgres").exists()).collect();
        found.sort();
    }
    if found.is_empty() {
        println!("skipped: no servers of other versions; scripts/pg-matrix.sh fetches some");
    }
    found
}

/// The folder with other projects' real migrations, from `MIGENGINE_CORPORA`. Says so where a test is skipped.
pub fn corpora() -> Option<PathBuf> {
    let folder = std::env::var_os("MIGENGINE_CORPORA").map(PathBuf::from).filter(|path| path.is_dir());
    if folder.is_none() {
        println!("skipped: MIGENGINE_CORPORA does not name a folder with real migrations");
    }
    folder
}
