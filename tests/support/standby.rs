//! A standby that streams from a test server, in the same folder.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use migengine_cli::embedded::ServerUser;
use nix::sys::signal::Signal;

use super::Cluster;
use super::process::signal;

/// What a server needs for it: lines for `postgresql.conf` and for `pg_hba.conf`.
pub fn options() -> super::Options {
    let conf = vec!["wal_level = replica".to_owned(), "max_wal_senders = 4".to_owned()];
    let hba = vec!["local replication all trust".to_owned()];
    super::Options { conf, hba, ..super::Options::default() }
}

/// Copies the server's data to `to`, and starts a standby there whose socket is beside the primary's, at `port`.
pub fn follow(cluster: &Cluster, to: &Path, port: u16) -> Result<Child, String> {
    let user = ServerUser::current().map_err(|error| error.to_string())?;
    let program = cluster.program("pg_basebackup");
    let mut command: Command = user.command(program.get_program());
    command.args(["-h", cluster.dir().to_str().unwrap_or_default(), "-p", &cluster.port().to_string()]);
    command.args(["-U", "postgres", "-X", "stream", "-c", "fast", "--no-sync", "-R", "-D"]).arg(to);
    if !command.status().is_ok_and(|status| status.success()) {
        return Err("pg_basebackup did not work".to_owned());
    }
    let mut postgres = user.command(cluster.program("postgres").get_program());
    postgres.arg("-D").arg(to).args(["-p", &port.to_string()]).process_group(0);
    postgres.stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(|error| error.to_string())
}

/// A standby that goes away with the value.
#[derive(Debug)]
pub struct Standby(Child);

impl Standby {
    /// See [`follow`].
    pub fn start(cluster: &Cluster, port: u16) -> Self {
        Self(follow(cluster, &cluster.dir().join("standby"), port).unwrap())
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        signal(i32::try_from(self.0.id()).unwrap_or(i32::MAX), Signal::SIGQUIT);
        self.0.wait().ok();
    }
}
