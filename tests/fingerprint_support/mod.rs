//! A private server for one test program: Unix socket only, durability off, removed when dropped.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls};

/// A running server.
pub(crate) struct Server {
    folder: tempfile::TempDir,
    process: Child,
}

/// The folder with `initdb` and `postgres`: `MIGENGINE_TEST_PG_BIN`, else the newest that Debian's packages installed.
fn binaries() -> PathBuf {
    if let Some(folder) = std::env::var_os("MIGENGINE_TEST_PG_BIN") {
        return folder.into();
    }
    let versions =
        std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed, or MIGENGINE_TEST_PG_BIN set");
    let newest = versions.filter_map(Result::ok).max_by_key(|entry| entry.file_name());
    newest.expect("a version of PostgreSQL is installed").path().join("bin")
}

/// The server refuses to run as root; then it runs as `postgres` or `nobody`.
fn as_unprivileged(program: &Path) -> Command {
    let id = |flag: &str| Command::new("id").args(flag.split(' ')).output().expect("id runs");
    if id("-u").stdout.trim_ascii() != b"0" {
        return Command::new(program);
    }
    let user = if id("-u postgres").status.success() { "postgres" } else { "nobody" };
    let group = String::from_utf8(id(&format!("-gn {user}")).stdout).expect("a group has a name");
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", group.trim(), "--clear-groups", "--"]).arg(program);
    command
}

impl Server {
    /// Starts one; takes about two seconds.
    pub(crate) fn start() -> Self {
        Self::start_at(&binaries())
    }

    /// With the programs of a folder.
    pub(crate) fn start_at(binaries: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("migengine-fp-").tempdir().expect("a folder can be made");
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(folder.path(), open).expect("own folder");
        let data = folder.path().join("data");
        let made = as_unprivileged(&binaries.join("initdb"))
            .args(["-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(&data)
            .stdin(Stdio::null())
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let process = as_unprivileged(&binaries.join("postgres"))
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(folder.path())
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "full_page_writes=off"])
            .args(["-c", "synchronous_commit=off", "-c", "autovacuum=off", "-c", "wal_level=logical"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("postgres runs");
        Self { folder, process }
    }

    /// The folder of the socket, as libpq's `host`.
    pub(crate) fn host(&self) -> String {
        self.folder.path().display().to_string()
    }

    /// A session, waiting up to 20 s for the server to come up.
    pub(crate) async fn connect(&self, database: &str) -> Client {
        let config = format!("host={} user=postgres dbname={database}", self.host());
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            match tokio_postgres::connect(&config, NoTls).await {
                Ok((client, connection)) => {
                    tokio::spawn(connection);
                    return client;
                }
                Err(error) if Instant::now() > until => panic!("the server did not come up: {error}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGQUIT: at once; nothing is worth keeping. setpriv has become the server, so the id is the server's.
        let _ignored = Command::new("kill").args(["-QUIT", &self.process.id().to_string()]).status();
        let _ignored = self.process.wait();
    }
}
