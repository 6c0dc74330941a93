//! A private PostgreSQL server for tests.

use super::process::{children, is_alive, signal, wait_until};
use super::{Database, template};
use migengine_cli::embedded::{Install, ServerUser, find, place};
use nix::sys::signal::Signal;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// How a server differs from the plain one.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// More lines for `postgresql.conf`; they win over everything else here.
    pub conf: Vec<String>,
    /// Lines for `pg_hba.conf`, before the one that trusts everybody on the socket.
    pub hba: Vec<String>,
    /// Wait for the disk. Needed where a test cares for what survives more than a `kill -9`.
    pub fsync: bool,
    /// Listen on 127.0.0.1 too, on a free port.
    pub tcp: bool,
    /// The folder with the server's programs; those that are found on the machine where none is named.
    pub bin: Option<PathBuf>,
    /// Files to put into the data folder, such as certificates: name and content. Their mode is 0600.
    pub files: Vec<(String, String)>,
    /// Where its folder is made; `/tmp` where nothing is named. Short, because the path of a socket has to be.
    pub parent: Option<PathBuf>,
}

/// A running server. Dropping it ends the server and removes its folder.
#[derive(Debug)]
pub struct Cluster {
    dir: PathBuf,
    data: PathBuf,
    port: u16,
    install: Install,
    user: ServerUser,
    server: Mutex<Option<Child>>,
    /// The watchdog cleans up when this pipe closes, for whatever reason.
    watchdog: Option<(Child, ChildStdin)>,
    next_database: AtomicU32,
}

/// Waits for the end of its input, then ends the server of `$1` and removes its folder.
/// The server removes `postmaster.pid` at its end; its process may stay a zombie where nobody waits for it.
/// Line 7 of `postmaster.pid` names a System V segment, which a killed server leaves behind.
const WATCHDOG: &str = r#"
cat >/dev/null
file="$1/data/postmaster.pid"
pid=$(head -n 1 "$file" 2>/dev/null)
shm=$(sed -n 7p "$file" 2>/dev/null | tr -s ' ' | sed 's/^ *[0-9]* //; s/ *$//')
if [ -n "$pid" ] && kill -QUIT "$pid" 2>/dev/null; then
  n=0
  while [ -e "$file" ] && kill -0 "$pid" 2>/dev/null && [ $n -lt 50 ]; do sleep 0.1; n=$((n + 1)); done
  kill -KILL "$pid" 2>/dev/null
fi
[ -n "$shm" ] && ipcrm -m "$shm" 2>/dev/null
rm -rf "$1"
"#;

impl Cluster {
    /// The server of this test process, started by the first who asks.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A server of one's own.
    pub fn start() -> Self {
        Self::start_with(Options::default())
    }

    /// A server of one's own, with options.
    pub fn start_with(options: Options) -> Self {
        let install = match &options.bin {
            Some(bin) => Install::probe(bin).unwrap_or_else(|why| panic!("{}: {why}", bin.display())),
            None => find::find().unwrap_or_else(|e| panic!("{e}")),
        };
        let user = ServerUser::current().unwrap();
        let parent = options.parent.as_deref().unwrap_or(Path::new("/tmp"));
        let dir = template::own_dir(&user, parent, "me-test-");
        let watchdog = Some(watchdog(&dir, &user));
        let data = template::copy_to(&dir, &install, &user);
        let port = if options.tcp { free_port() } else { place::PORT };
        let cluster = Self {
            dir,
            data,
            port,
            install,
            user,
            server: Mutex::new(None),
            watchdog,
            next_database: AtomicU32::new(0),
        };
        cluster.configure(&options);
        cluster.restart();
        cluster
    }

    /// A fresh, empty database with a name of its own.
    pub fn database(&self) -> Database<'_> {
        let name = format!("test_{}", self.next_database.fetch_add(1, Ordering::Relaxed));
        Database::named("postgres", self).psql(&format!("CREATE DATABASE {name} TEMPLATE template0"));
        Database::named(&name, self)
    }

    /// The connection URL of a database over the socket.
    pub fn url(&self, database: &str) -> String {
        format!("postgresql:///{database}?host={}&port={}&user=postgres", self.dir.display(), self.port)
    }

    /// The connection URL over TCP, for clusters with [`Options::tcp`].
    pub fn tcp_url(&self, database: &str) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// The TCP port, also in the name of the socket.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The major version of the server.
    pub fn major(&self) -> u32 {
        self.install.version.major
    }

    /// The folder of the socket, the log (`log`) and the data (`data`).
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the server logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// A client program of the same installation, such as `pg_dump`.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(client(&self.install, name));
        let diverting = std::env::vars_os().map(|(key, _)| key).filter(|key| key.as_encoded_bytes().starts_with(b"PG"));
        for key in diverting {
            command.env_remove(key);
        }
        command.env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
        command
    }

    /// The pid of the postmaster, while it runs.
    pub fn pid(&self) -> Option<i32> {
        self.server.lock().unwrap().as_ref().map(|child| i32::try_from(child.id()).unwrap())
    }

    /// SIGKILL for the postmaster and every process of the server: as in a crash of the machine, except that what was
    /// written reaches the disk.
    pub fn kill_nine(&self) {
        let Some(mut server) = self.server.lock().unwrap().take() else { return };
        let pid = i32::try_from(server.id()).unwrap();
        // Stopped first, so that it cannot start more processes while the list is made.
        signal(pid, Signal::SIGSTOP);
        let family = children(pid);
        family.iter().chain([&pid]).for_each(|&pid| signal(pid, Signal::SIGKILL));
        server.wait().unwrap();
        wait_until("the server's processes end", PATIENCE, || !family.iter().any(|&pid| is_alive(pid)));
    }

    /// Stops the server in order (the fast shutdown).
    pub fn stop(&self) {
        let Some(mut server) = self.server.lock().unwrap().take() else { return };
        signal(i32::try_from(server.id()).unwrap(), Signal::SIGINT);
        server.wait().unwrap();
    }

    /// Starts the server, stopping it first where it runs, and waits until it accepts connections.
    pub fn restart(&self) {
        self.stop();
        let log = File::options().append(true).create(true).open(self.dir.join("log")).unwrap();
        let mut postgres = self.user.command(self.install.bin.join("postgres"));
        postgres.arg("-D").arg(&self.data).stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
        let mut child = postgres.spawn().unwrap();
        let own = child.id().to_string();
        wait_until("the server answers", PATIENCE, || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the server ended with {status}:\n{}", self.log());
            }
            let text = fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            lines.first() == Some(&own.as_str()) && lines.get(7) == Some(&"ready")
        });
        *self.server.lock().unwrap() = Some(child);
    }

    fn configure(&self, options: &Options) {
        let mut conf = fs::read_to_string(self.data.join("postgresql.conf")).unwrap();
        conf += &format!("\nunix_socket_directories = '{}'\nport = {}\n", self.dir.display(), self.port);
        conf += if options.tcp { "listen_addresses = '127.0.0.1'\n" } else { "listen_addresses = ''\n" };
        // `mmap` keeps shared memory in the data folder, where a killed server's remains go away with it.
        conf += "dynamic_shared_memory_type = mmap\nshared_buffers = 16MB\nmax_connections = 60\n";
        conf += "log_line_prefix = '%m [%p] %a '\n";
        if !options.fsync {
            conf += "fsync = off\nfull_page_writes = off\nsynchronous_commit = off\n";
        }
        for line in &options.conf {
            conf += line;
            conf += "\n";
        }
        fs::write(self.data.join("postgresql.conf"), conf).unwrap();
        if !options.hba.is_empty() {
            let rest = fs::read_to_string(self.data.join("pg_hba.conf")).unwrap();
            fs::write(self.data.join("pg_hba.conf"), format!("{}\n{rest}", options.hba.join("\n"))).unwrap();
        }
        for (name, content) in &options.files {
            let path = self.data.join(name);
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            template::run(Command::new("chown").arg(self.user.uid().to_string()).arg(&path));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Waited for here, because only the parent can; otherwise the watchdog would wait for a zombie.
        if let Some(mut server) = self.server.lock().ok().and_then(|mut guard| guard.take()) {
            signal(i32::try_from(server.id()).unwrap_or(i32::MAX), Signal::SIGQUIT);
            server.wait().ok();
        }
        if let Some((mut watchdog, pipe)) = self.watchdog.take() {
            drop(pipe);
            watchdog.wait().ok();
        }
    }
}

/// Its own process group, so that neither Ctrl-C nor a test runner's time limit ends it before its work is done.
fn watchdog(dir: &Path, user: &ServerUser) -> (Child, ChildStdin) {
    let mut sh = user.command("sh");
    sh.args(["-c", WATCHDOG, "sh"]).arg(dir).process_group(0);
    let mut child = sh.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let pipe = child.stdin.take().unwrap();
    (child, pipe)
}

/// A client program beside the server's binaries, or the one in `PATH`.
pub fn client(install: &Install, name: &str) -> PathBuf {
    Some(install.bin.join(name)).filter(|path| path.exists()).unwrap_or_else(|| PathBuf::from(name))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
