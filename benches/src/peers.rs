//! What is measured: whole processes, each as its documentation says it is run best.

use std::path::Path;
use std::process::{Command, Stdio};

/// One way to apply a folder of migrations to an empty database.
pub struct Peer {
    /// Its name in the table.
    pub name: &'static str,
    /// The command for a folder and a URL.
    pub command: fn(&Path, &str) -> Command,
}

/// Those that are installed.
#[must_use]
pub fn all() -> Vec<Peer> {
    let mut peers = vec![
        Peer { name: "psql, one transaction each", command: psql_each },
        Peer { name: "psql, one transaction", command: psql_one },
        Peer { name: "migengine", command: migengine },
    ];
    if on_path("sqlx") {
        peers.push(Peer { name: "sqlx-cli", command: sqlx });
    }
    peers
}

fn on_path(program: &str) -> bool {
    let tried = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

fn forward_files(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let forward = |path: &std::path::PathBuf| !path.to_string_lossy().ends_with("_rollback.sql");
    let mut files: Vec<_> = entries.map(|entry| entry.path()).filter(forward).collect();
    files.sort();
    files
}

fn psql(dir: &Path, url: &str) -> Command {
    let mut command = Command::new("psql");
    command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url]);
    command.current_dir(dir);
    command
}

/// One psql process; each file between BEGIN and COMMIT.
fn psql_each(dir: &Path, url: &str) -> Command {
    let mut command = psql(dir, url);
    for file in forward_files(dir) {
        command.args(["-c", "BEGIN", "-f"]).arg(file).args(["-c", "COMMIT"]);
    }
    command
}

fn psql_one(dir: &Path, url: &str) -> Command {
    let mut command = psql(dir, url);
    command.arg("-1");
    for file in forward_files(dir) {
        command.arg("-f").arg(file);
    }
    command
}

fn migengine(dir: &Path, url: &str) -> Command {
    let binary = std::env::var_os("MIGENGINE_BIN").unwrap_or_else(|| "target/release/migengine".into());
    let binary = std::fs::canonicalize(&binary).unwrap_or_else(|_| binary.into());
    let mut command = Command::new(binary);
    command.args(["apply", "--quiet", "--database-url", url, "--dir"]).arg(dir);
    command.arg("--journal").arg(dir.join("../journal"));
    command
}

fn sqlx(dir: &Path, url: &str) -> Command {
    let mut command = Command::new("sqlx");
    command.args(["migrate", "run", "--source"]).arg(dir.join("../sqlx")).args(["--database-url", url]);
    command
}
