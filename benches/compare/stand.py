"""What the measurements stand on: a private server, lines with a delay, and processes that are timed as a whole."""
import glob, os, pathlib, pwd, select, shutil, signal, socket, subprocess, sys, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TARGET = ROOT / "target"
MIGENGINE = pathlib.Path(os.environ.get("MIGENGINE", TARGET / "release/migengine")).resolve()
# Nothing that is measured takes longer; who does is told of and left out.
LIMIT = float(os.environ.get("LIMIT", 300))


def bin_dir():
    given = os.environ.get("MIGENGINE_PG_BIN")
    places = [given] if given else sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)
    for place in places + os.environ.get("PATH", "").split(":"):
        if place and os.path.exists(os.path.join(place, "postgres")) and os.path.exists(os.path.join(place, "psql")):
            return place
    sys.exit("postgres was not found; MIGENGINE_PG_BIN names its folder")


BIN = bin_dir()


class Server:
    """A private server on the loopback address, waiting for the disk as a real one does. Checkpoints and autovacuum are kept
    out of the runs, because they would fall into one and not into another."""

    def __init__(self):
        self.aside = 0
        self.dir = tempfile.mkdtemp(prefix="me-bench-")
        os.chmod(self.dir, 0o755)
        self.user = None
        if os.geteuid() == 0:  # postgres refuses to run as root.
            self.user = "postgres" if any(p.pw_name == "postgres" for p in pwd.getpwall()) else "nobody"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        base = self.dir + "/server"
        os.mkdir(base)
        if self.user:
            shutil.chown(base, self.user)
        data = base + "/data"
        self.data = data
        self.run(["initdb", "-D", data, "-A", "trust", "-U", "bench", "--no-sync"])
        settings = {
            "listen_addresses": "'127.0.0.1'", "port": self.port, "unix_socket_directories": f"'{base}'",
            "shared_buffers": "256MB", "max_wal_size": "4GB", "checkpoint_timeout": "30min", "autovacuum": "off",
        }
        with open(data + "/postgresql.conf", "a") as conf:
            conf.writelines(f"{key} = {value}\n" for key, value in settings.items())
        self.run(["pg_ctl", "-D", data, "-w", "-l", base + "/log", "start"])

    def run(self, command):
        command = [f"{BIN}/{command[0]}"] + command[1:]
        if self.user:
            command = ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups"] + command
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")

    def url(self, database, port=None):
        return f"postgresql://bench@127.0.0.1:{port or self.port}/{database}?sslmode=disable"

    def psql(self, sql, database="postgres"):
        done = subprocess.run([f"{BIN}/psql", "-qXAt", "-d", self.url(database), "-v", "ON_ERROR_STOP=1"],
                              input=sql, text=True, capture_output=True)
        if done.returncode:
            sys.exit(done.stderr)
        return done.stdout.strip()

    def create(self, name, template="template0"):
        self.drop(name)
        self.psql(f"CREATE DATABASE {name} TEMPLATE {template}")

    def drop(self, name):
        """Puts a database aside, until the whole server is thrown away. Whoever makes files soon after thousands were deleted
        pays for it (ext4 passes over inodes that were freed lately): with DROP DATABASE between the runs, every tool took
        1.7 times as long, and none of it was its own."""
        if self.psql(f"SELECT 1 FROM pg_database WHERE datname = '{name}'"):
            self.aside += 1
            self.psql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
            while self.psql(f"SELECT 1 FROM pg_stat_activity WHERE datname = '{name}' LIMIT 1"):
                time.sleep(0.01)
            self.psql(f"ALTER DATABASE {name} RENAME TO aside_{self.aside}")

    def rest(self):
        """What earlier runs left to be written is written before the next one."""
        self.psql("CHECKPOINT")

    def stop(self):
        self.run(["pg_ctl", "-D", self.data, "-m", "immediate", "stop"])
        shutil.rmtree(self.dir)


class Line:
    """A proxy before the server that delays every byte by half a round trip in each direction, and counts round trips."""

    def __init__(self, server, round_trip_ms):
        command = [TARGET / "release/line", f"127.0.0.1:{server.port}", str(round_trip_ms)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def close(self):
        """Round trips since it began."""
        out, _ = self.process.communicate()
        return int(out)


class Run:
    """A process that has ended: seconds, CPU seconds of its own, peak memory in MB, and what it complained of."""

    def __init__(self, command, cwd=None, env=None, limit=None):
        names = ("PG", "MIGENGINE", "DATABASE", "RUST_LOG")
        clean = {key: value for key, value in os.environ.items() if not key.startswith(names)}
        with tempfile.TemporaryFile() as errors:
            began = time.perf_counter()
            process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                       stderr=errors, cwd=cwd, env={**clean, **(env or {})}, start_new_session=True)
            in_time = self.wait(process, limit or LIMIT)
            _, status, usage = os.wait4(process.pid, 0)
            self.seconds = time.perf_counter() - began
            errors.seek(0)
            self.complaint = errors.read().decode(errors="replace").strip()
        process.returncode = os.waitstatus_to_exitcode(status)
        self.ok = process.returncode == 0
        if not in_time:
            self.complaint = f"stopped after {limit or LIMIT:.0f} s"
        self.cpu = usage.ru_utime + usage.ru_stime
        self.peak_mb = usage.ru_maxrss / 1024

    @staticmethod
    def wait(process, limit):
        """Waits in the kernel, so that nothing but the process itself takes time. False where it had to be ended."""
        handle = os.pidfd_open(process.pid)
        try:
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            in_time = bool(poll.poll(limit * 1000))
        finally:
            os.close(handle)
        if not in_time:
            os.killpg(process.pid, signal.SIGKILL)
        return in_time

    def needed(self):
        """This one must not fail."""
        if not self.ok:
            sys.exit(self.complaint)
        return self


def median(values):
    values = sorted(values)
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2


def migengine(url, folder, command, *options, journal=None):
    """A command of ours over a folder of migrations, with the journal beside it."""
    journal = journal or pathlib.Path(f"{folder}.journal")
    return [MIGENGINE, "--database-url", url, "--dir", folder, "--journal", journal, "-q", *command.split(), *options]


def forget(folder):
    """The journal of a folder, and what is kept beside it."""
    for path in glob.glob(f"{folder}.journal*"):
        shutil.rmtree(path, ignore_errors=True) if os.path.isdir(path) else os.remove(path)
