//! `--embedded`: a private PostgreSQL for those who have no server at hand.
//!
//! The server binaries are found on the machine ([`find`]), a cluster is initialised once in a state folder
//! ([`place`], `cluster`), and the server runs on a Unix socket only while a command needs it (`server`). The data stays
//! between commands. As root the server runs as an unprivileged user ([`ServerUser`]), as PostgreSQL demands.
//!
//! All of this is blocking code: it runs before the first connection and after the last.

mod cluster;
mod error;
pub mod find;
mod hint;
mod owner;
pub mod place;
mod postmaster;
mod server;

pub use error::EmbeddedError;
pub use find::{Install, Version};
pub use owner::ServerUser;
pub use server::Embedded;

use std::path::Path;

/// The database that a new cluster starts with.
pub const DATABASE: &str = "app";

/// The superuser role of the cluster. Only the owner of the socket folder can reach it, so it has no password.
pub const ROLE: &str = "postgres";

/// Whether the server waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// A commit survives a power cut.
    #[default]
    On,
    /// For servers that are thrown away: `fsync`, `full_page_writes` and `synchronous_commit` are off.
    Off,
}

/// Starts the private server of `dir` (default: the state folder of this user), or joins one that already runs there.
///
/// Blocks until the server accepts connections: under two seconds for an initialised cluster, a few seconds the first
/// time. Commands that run at the same time share the server; the last one to stop takes it down.
pub fn start(dir: Option<&Path>) -> Result<Embedded, EmbeddedError> {
    start_with(dir, Durability::On)
}

/// [`start`] with a chosen durability. A server that already runs keeps the one it was started with.
pub fn start_with(dir: Option<&Path>, durability: Durability) -> Result<Embedded, EmbeddedError> {
    let user = ServerUser::current()?;
    let root = match dir {
        Some(dir) => std::path::absolute(dir).map_err(|e| EmbeddedError::io("resolve", dir, e))?,
        None => place::default_root(&place::PlaceEnv::of_process(&user))?,
    };
    let found = find::find_all()?;
    let install = find::choose(&found, &place::clusters_in(&root), &root)?;
    user.check_reach(&install.bin)?;
    server::run(&root, install, user, durability)
}
