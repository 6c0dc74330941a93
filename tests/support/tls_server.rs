//! A private PostgreSQL server with TLS, on 127.0.0.1 and a free port, gone when dropped. Certificates are made by
//! the `openssl` command (certificates.rs).

#[path = "certificates.rs"]
mod certificates;

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A running server. Its certificate names `localhost` only and is signed by `ca.crt`.
pub struct TlsServer {
    dir: tempfile::TempDir,
    bin: PathBuf,
    pub port: u16,
}

impl TlsServer {
    /// Starts one with these pg_hba.conf lines; `None`, said on stderr, where no server is installed.
    pub fn start(hba: &str, ssl: bool) -> Option<Self> {
        let Some(bin) = bin_dir() else {
            eprintln!("skipped: no PostgreSQL server is installed (set MIGENGINE_PG_BIN)");
            return None;
        };
        let dir = tempfile::Builder::new().prefix("migengine-tls-").tempdir_in("/tmp").expect("temporary folder");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("free port").port();
        let server = Self { dir, bin, port };
        certificates::make(server.dir.path());
        let (data, root) = (server.path("data"), server.path(""));
        if nix::unistd::geteuid().is_root() {
            run(Command::new("chown").arg("-R").arg("nobody").arg(&root));
        }
        server.pg("initdb", &["-A", "trust", "-U", "admin", "-E", "UTF8", "--no-sync", "-D", &data]);
        let mut conf = std::fs::OpenOptions::new().append(true).open(Path::new(&data).join("postgresql.conf")).unwrap();
        writeln!(
            conf,
            "listen_addresses='127.0.0.1'\nport={port}\nunix_socket_directories='{root}'\nfsync=off\n\
             password_encryption='scram-sha-256'\nssl={}\nssl_cert_file='{root}server.crt'\n\
             ssl_key_file='{root}server.key'\nssl_ca_file='{root}ca.crt'",
            if ssl { "on" } else { "off" }
        )
        .unwrap();
        std::fs::write(Path::new(&data).join("pg_hba.conf"), format!("local all admin trust\n{hba}\n")).unwrap();
        server.pg("pg_ctl", &["-w", "-t", "60", "-D", &data, "-l", &server.path("log"), "start"]);
        Some(server)
    }

    /// A file in the server's folder.
    pub fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.dir.path().display())
    }

    /// Runs SQL as the superuser, over the socket.
    pub fn sql(&self, sql: &str) {
        let port = self.port.to_string();
        let socket = self.path("");
        self.pg(
            "psql",
            &[
                "-X",
                "-q",
                "-v",
                "ON_ERROR_STOP=1",
                "-h",
                &socket,
                "-p",
                &port,
                "-U",
                "admin",
                "-d",
                "postgres",
                "-c",
                sql,
            ],
        );
    }

    /// Runs one of PostgreSQL's programs, as an unprivileged user where this test runs as root.
    fn pg(&self, program: &str, arguments: &[&str]) {
        run(unprivileged(&self.bin.join(program)).args(arguments).current_dir("/"));
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        let stop = ["-m", "immediate", "-D", &self.path("data"), "stop"];
        let _status = unprivileged(&self.bin.join("pg_ctl")).args(stop).current_dir("/").stdout(Stdio::null()).status();
    }
}

fn unprivileged(program: &Path) -> Command {
    if !nix::unistd::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(program);
    command
}

fn run(command: &mut Command) {
    // Output goes to a file's fate, not to a pipe: a started server would keep the pipe open.
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(status.as_ref().is_ok_and(|status| status.success()), "{command:?}: {status:?}");
}

/// `MIGENGINE_PG_BIN`, Debian's places (newest first), or `PATH`.
fn bin_dir() -> Option<PathBuf> {
    let debian = (14..=30).rev().map(|major| PathBuf::from(format!("/usr/lib/postgresql/{major}/bin")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::var_os("MIGENGINE_PG_BIN")
        .map(PathBuf::from)
        .into_iter()
        .chain(debian)
        .chain(std::env::split_paths(&path))
        .find(|dir| dir.join("initdb").exists())
}
