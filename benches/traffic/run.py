#!/usr/bin/env python3
"""What does the application notice of a migration?

pgbench asks for 200 transactions a second in an open loop (a request that is late counts from when it was due, so a
stall is seen by every request in it), four reads to one write, on a table of a million rows. Meanwhile the same change
is made by psql as it is, by psql with the usual advice (lock_timeout = 5s, tried again), and by migengine.

Writes benches/RESULTS-traffic.md and benches/traffic.svg. Needs PostgreSQL's server programs and pgbench, Python 3.9,
and a release build; `make bench-traffic` sees to it. SCALE is the part of the million rows that the table gets (SCALE=0.02
for a look whether everything works), RATE the requests a second, ONLY the scenarios by name, and LIMIT the longest that any
one migration may take, in seconds. All of it takes some ten minutes at full size.
"""
import datetime, glob, os, pathlib, platform, pwd, random, re, shutil, signal, subprocess, sys, tempfile, time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MIGENGINE = pathlib.Path(os.environ.get("MIGENGINE", ROOT / "target/release/migengine")).resolve()
ROWS = max(1000, int(1_000_000 * float(os.environ.get("SCALE") or 1)))
RATE = int(os.environ.get("RATE") or 200)
ONLY = os.environ.get("ONLY", "").replace(",", " ").split()
LIMIT = float(os.environ.get("LIMIT") or 120)
# Nobody lets go of the table in these, so that waiting longer shows nothing more.
FOREVER = {"idle": 12.0, "prepared": 12.0}
WARM_UP, TAIL = 4.0, 2.0
TOOLS = ["psql", "psql 5s", "migengine"]
COLORS = {"psql": "#c0392b", "psql 5s": "#e08e0b", "migengine": "#1f77b4"}

TRAFFIC = f"""\\set id random(1, {ROWS})
\\set dice random(1, 5)
\\if :dice = 1
UPDATE users SET visits = visits + 1 WHERE id = :id;
\\else
SELECT name FROM users WHERE id = :id;
\\endif
"""

READER = "BEGIN; SELECT count(*) FROM users WHERE id < 10; SELECT pg_sleep({seconds}); COMMIT;"

# Name, what it shows, the scripts (the last statement of each is the change), options of migengine, who is in the way.
SCENARIOS = [
    ("reader", "ALTER TABLE behind a reader of 6 s", ["ALTER TABLE users ADD COLUMN a int;"], [], "reader"),
    ("overlap", "ALTER TABLE behind readers that overlap for ever", ["ALTER TABLE users ADD COLUMN a int;"],
     ["--lock-wait", "8s"], "overlap"),
    ("autovacuum", "ALTER TABLE behind autovacuum", ["ALTER TABLE users ADD COLUMN a int;"], [], "autovacuum"),
    ("idle", "ALTER TABLE behind a session idle in its transaction", ["ALTER TABLE users ADD COLUMN a int;"],
     ["--lock-wait", "4s"], "idle"),
    ("prepared", "ALTER TABLE behind a prepared transaction", ["ALTER TABLE users ADD COLUMN a int;"], [], "prepared"),
    ("refused", "int to bigint in a protected environment, without permission",
     ["ALTER TABLE users ALTER COLUMN visits TYPE bigint;"], ["--env", "prod"], None),
    ("rewrite", "int to bigint with permission and a budget of 250 ms",
     ["-- Allow: rewrite(users) -- \"measured\"\n\nALTER TABLE users ALTER COLUMN visits TYPE bigint;"],
     ["--env", "prod", "--no-backup", "a benchmark", "--lock-budget", "250ms"], None),
    ("not-null", "SET NOT NULL the safe way", [
        "ALTER TABLE users ADD CONSTRAINT n CHECK (name IS NOT NULL) NOT VALID;",
        "ALTER TABLE users VALIDATE CONSTRAINT n;",
        "ALTER TABLE users ALTER COLUMN name SET NOT NULL;\nALTER TABLE users DROP CONSTRAINT n;",
    ], [], None),
    ("foreign-key", "a foreign key the safe way", [
        "ALTER TABLE users ADD CONSTRAINT f FOREIGN KEY (team) REFERENCES teams NOT VALID;",
        "ALTER TABLE users VALIDATE CONSTRAINT f;",
    ], [], None),
    ("index", "CREATE INDEX CONCURRENTLY", ["CREATE INDEX CONCURRENTLY users_name ON users (name);"], [], None),
    ("index-killed", "CREATE INDEX CONCURRENTLY, killed half-way and gone on with",
     ["CREATE INDEX CONCURRENTLY users_name ON users (name);"], [], "kill index"),
    ("backfill", "a backfill of every row",
     ["-- chunk: users by id\nUPDATE users SET touched = touched + 1;"], [], None),
    ("backfill-killed", "a backfill of every row, killed ten times",
     ["-- chunk: users by id\nUPDATE users SET touched = touched + 1;"], [], "kill backfill"),
]

KILLS = 10


def stall(limit):
    return lambda own, cells: own["during"]["max"] <= limit


def says(*words):
    return lambda own, cells: all(word in own["outcome"] for word in words)


def at_baseline(own, cells):
    """Within what a busy machine does to the same requests without any migration."""
    return own["during"]["p99"] <= max(2 * own["base"]["p99"], own["base"]["p99"] + 5)


# What migengine must show, in words and as checks; psql beside it is for comparison.
GOALS = {
    "reader": ("stall ≤ 60 ms, p99 at the baseline", [stall(60), at_baseline, says("done")]),
    "overlap": ("gives up after lock-wait, stall ≤ 60 ms, blockers named", [stall(60), says("ME430", "named")]),
    "autovacuum": ("through in under 2 s", [says("done"), lambda own, cells: own["seconds"] < 2]),
    "idle": ("named at once", [says("named"), stall(60)]),
    "prepared": ("named at once", [says("named"), lambda own, cells: own["seconds"] < 2]),
    "refused": ("refused before it starts", [says("exit 5", "unchanged"), stall(60)]),
    "rewrite": ("cancelled by 300 ms, nothing changed, recipe printed", [stall(300), says("ME431", "unchanged", "recipe")]),
    "not-null": ("stall ≤ 30 ms", [stall(30), says("done")]),
    "foreign-key": ("stall ≤ 30 ms", [stall(30), says("done")]),
    "index": ("stall ≤ 30 ms", [stall(30), says("done")]),
    "index-killed": ("stall ≤ 30 ms, valid index", [stall(30), says("done", "killed 1 times", ", valid")]),
    "backfill": ("stall ≤ 50 ms, every row once", [stall(50), says("every row once")]),
    "backfill-killed": ("stall ≤ 50 ms, every row once, ≤ 2 times the single UPDATE", [
        stall(50), says(f"killed {KILLS} times", "every row once"),
        lambda own, cells: own["seconds"] <= 2 * cells["psql"]["seconds"]]),
}


def bin_dir():
    given = os.environ.get("MIGENGINE_PG_BIN")
    places = [given] if given else sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)
    for place in places + os.environ.get("PATH", "").split(":"):
        if place and os.path.exists(os.path.join(place, "postgres")) and os.path.exists(os.path.join(place, "pgbench")):
            return place
    sys.exit("postgres and pgbench were not found; MIGENGINE_PG_BIN names their folder")


BIN = bin_dir()


class Server:
    """A private server on a Unix socket, waiting for the disk as a real one does."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="me-traffic-")
        self.user = None
        if os.geteuid() == 0:  # postgres refuses to run as root.
            self.user = "postgres" if any(p.pw_name == "postgres" for p in pwd.getpwall()) else "nobody"
            shutil.chown(self.dir, self.user)
        data = self.dir + "/data"
        self.run(["initdb", "-D", data, "-A", "trust", "-U", "bench", "--no-sync"])
        settings = {
            "listen_addresses": "''", "unix_socket_directories": f"'{self.dir}'", "shared_buffers": "256MB",
            "max_wal_size": "4GB", "max_prepared_transactions": "4", "autovacuum_naptime": "1s", "max_connections": "50",
        }
        with open(data + "/postgresql.conf", "a") as conf:
            conf.writelines(f"{key} = {value}\n" for key, value in settings.items())
        self.run(["pg_ctl", "-D", data, "-w", "-l", self.dir + "/log", "start"])

    def run(self, command):
        command = [f"{BIN}/{command[0]}"] + command[1:]
        if self.user:
            command = ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups"] + command
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")

    def url(self):
        return f"postgresql:///bench?host={self.dir}&user=bench"

    def psql(self, sql, database="bench"):
        done = subprocess.run(
            [f"{BIN}/psql", "-qXAt", "-h", self.dir, "-U", "bench", "-d", database, "-v", "ON_ERROR_STOP=1"],
            input=sql, text=True, capture_output=True)
        if done.returncode:
            sys.exit(done.stderr)
        return done.stdout.strip()

    def stop(self):
        self.run(["pg_ctl", "-D", self.dir + "/data", "-m", "immediate", "stop"])
        shutil.rmtree(self.dir)


class Asker:
    """A psql that stays, so that looking often costs little."""

    def __init__(self, server):
        self.psql = subprocess.Popen(
            [f"{BIN}/psql", "-qXAt", "-h", server.dir, "-U", "bench", "-d", "bench"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1)

    def ask(self, sql):
        """One cell; nothing where the table is not there yet."""
        self.psql.stdin.write(f"{sql};\n\\echo +\n")
        self.psql.stdin.flush()
        cell = ""
        while (line := self.psql.stdout.readline().rstrip("\n")) != "+":
            cell = line
        return cell

    def close(self):
        self.psql.stdin.close()
        self.psql.wait()


def fresh(server, scenario):
    """A database of its own for each cell, as it would be after a quiet night."""
    server.psql("DROP DATABASE IF EXISTS bench WITH (FORCE)", "postgres")
    server.psql("CREATE DATABASE bench", "postgres")
    server.psql(f"""
        CREATE TABLE teams (id int PRIMARY KEY); INSERT INTO teams SELECT generate_series(1, 100);
        CREATE TABLE users (id int PRIMARY KEY, name text, team int, visits int NOT NULL DEFAULT 0,
            touched int NOT NULL DEFAULT 0) WITH (autovacuum_enabled = false);
        INSERT INTO users SELECT i, 'user ' || i, 1 + i % 100 FROM generate_series(1, {ROWS}) i;
    """)
    server.psql("VACUUM ANALYZE users")
    server.psql("CHECKPOINT")
    if scenario == "autovacuum":
        server.psql("""ALTER TABLE users SET (autovacuum_enabled = true, autovacuum_vacuum_threshold = 1,
            autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1)""")
        server.psql("UPDATE users SET visits = 1 WHERE id % 100 = 0")
        at_work = """SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE mode = 'ShareUpdateExclusiveLock'
            AND backend_type = 'autovacuum worker' AND relation = 'users'::regclass"""
        while server.psql(at_work) == "0":
            time.sleep(0.2)


def in_the_way(server, kind):
    """Those who hold the table when the migration begins."""
    if kind == "prepared":
        server.psql("BEGIN; LOCK TABLE users IN ACCESS SHARE MODE; PREPARE TRANSACTION 'forgotten'")
        time.sleep(5.5)  # Long enough not to be taken for one that is about to end.
    sql = {"reader": READER.format(seconds=6), "overlap": READER.format(seconds=1.5) * 40,
           "idle": "BEGIN; SELECT count(*) FROM users WHERE id < 10;\n"}.get(kind)
    sessions = []
    for _ in range({"reader": 1, "overlap": 2, "idle": 1}.get(kind, 0)):
        command = [f"{BIN}/psql", "-qX", "-h", server.dir, "-U", "bench", "-d", "bench"]
        session = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
                                   env={**os.environ, "PGAPPNAME": "report"})
        session.stdin.write(sql)
        session.stdin.flush()
        if kind != "idle":
            session.stdin.close()
        sessions.append(session)
        time.sleep(0.7)
    return sessions


def run_limited(command, limit, **more):
    """Nothing runs longer than the limit, so that the benchmark ends."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)
    try:
        out, err = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return None
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def migrate_psql(server, scripts, setup, tries, limit):
    for script in scripts:
        for left in reversed(range(tries)):
            transaction = [] if "CONCURRENTLY" in script else ["-1"]
            done = run_limited(
                [f"{BIN}/psql", "-qX", "-v", "ON_ERROR_STOP=1", "-h", server.dir, "-U", "bench", "-d", "bench", *transaction,
                 "-c", setup or "SELECT 1", "-c", script], limit)
            if done is None:
                return f"stopped after {limit:.0f} s"
            if done.returncode == 0:
                break
            if not left:
                return "failed: " + done.stderr.strip().splitlines()[0].replace("ERROR:  ", "")
            time.sleep(1)
    return "done"


def migrate(tool, server, scripts, options, folder, blocker):
    limit = min(LIMIT, FOREVER.get(blocker, LIMIT))
    if tool == "psql":
        return migrate_psql(server, scripts, None, 1, limit)
    if tool == "psql 5s":
        return migrate_psql(server, scripts, "SET lock_timeout = '5s'", 3, limit)
    migrations = pathlib.Path(folder) / "migrations"
    migrations.mkdir()
    for number, script in enumerate(scripts, 1):
        (migrations / f"{number:03}_change.sql").write_text(script + "\n")
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PG", "MIGENGINE", "DATABASE"))}
    (pathlib.Path(folder) / "migengine.toml").write_text("[env.prod]\nprotected = true\n")
    command = [MIGENGINE, "--database-url", server.url(), "--format", "json", "apply", "--yes"]
    around = {"cwd": folder, "env": {**env, "HOME": folder}}
    if blocker and blocker.startswith("kill"):
        kills = killed(server, command + options, around, KILLS if "backfill" in blocker else 1)
        options, words = ["--resume"], f", killed {kills} times"
    else:
        words = ""
    confirm = ["--confirm", "bench"] if "prod" in options else []
    done = run_limited(command + options + confirm, limit, **around)
    if done is None:
        return f"stopped after {limit:.0f} s"
    if done.returncode == 0:
        return "done" + words
    code = re.search(r"error\[(ME\d+)\]|\[(ME\d+)\]", done.stderr)
    words = f"gave up, exit {done.returncode}" + (f", {code.group(1) or code.group(2)}" if code else "")
    if re.search(r"report|forgotten", done.stderr):  # Who is in the way here goes by these names.
        words += ", blocker named"
    return words + (", recipe printed" if "ADD COLUMN" in done.stderr and blocker is None else "")


def killed(server, command, around, times):
    """Kills the runner again and again while it is at work: a build half-way, a backfill after every eleventh of it."""
    # The engine's own tables have indexes too, which are made in passing.
    index = ("SELECT count(*) FROM pg_stat_progress_create_index "
             "WHERE relid = 'users'::regclass AND phase LIKE 'building%'")
    rows = "SELECT coalesce(sum(rows), 0) FROM migengine.progress"
    done, asker = 0, Asker(server)
    try:
        while done < times:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **around)
            until = time.time() + LIMIT / times
            while process.poll() is None and time.time() < until:
                if times == 1 and asker.ask(index) not in ("", "0"):
                    break
                if times > 1 and int(asker.ask(rows) or 0) >= (done + 1) * ROWS // (times + 1):
                    break
                time.sleep(0.005)
            if process.poll() is not None:
                return done  # It was through before the next blow fell.
            process.kill()
            process.wait()
            done += 1
            command = [word for word in command if word != "--resume"] + ["--resume"]
    finally:
        asker.close()
    return done


def verdict(server, name, tool):
    """What must be true afterwards, whoever did it."""
    if name.startswith("index"):
        valid = server.psql("SELECT count(*) FILTER (WHERE indisvalid), count(*) FILTER (WHERE NOT indisvalid) "
                            "FROM pg_index WHERE indrelid = 'users'::regclass AND NOT indisprimary")
        return ", valid" if valid == "1|0" else f" (indexes that serve, and that do not: {valid.replace('|', ', ')})"
    if name in ("refused", "rewrite") and tool == "migengine":
        kind = server.psql("SELECT format_type(atttypid, -1) FROM pg_attribute "
                           "WHERE attrelid = 'users'::regclass AND attname = 'visits'")
        return ", unchanged" if kind == "integer" else f" (visits is {kind})"
    if name.startswith("backfill"):
        wrong = server.psql("SELECT count(*) FROM users WHERE touched <> 1")
        return ", every row once" if wrong == "0" else f" ({wrong} rows not exactly once)"
    return ""


def cell(server, scenario, tool):
    name, _, scripts, options, blocker = scenario
    fresh(server, name)
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "traffic.sql").write_text(TRAFFIC)
        command = [f"{BIN}/pgbench", "-n", "-R", str(RATE), "-c", "8", "-j", "1", "-T", "600", "-l", "-f", "traffic.sql",
                   "--random-seed", "7", "-h", server.dir, "-U", "bench", "bench"]
        pgbench = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(WARM_UP)
        sessions = in_the_way(server, blocker)
        began = time.time()
        outcome = migrate(tool, server, scripts, options, folder, blocker)
        ended = time.time()
        outcome += verdict(server, name, tool)
        time.sleep(TAIL)
        if blocker == "prepared":
            server.psql("ROLLBACK PREPARED 'forgotten'")
        for session in sessions:
            session.kill()
        # The signal of its own time limit: it answers what is under way, and writes its log to the end.
        pgbench.send_signal(signal.SIGALRM)
        pgbench.wait()
        requests = []
        for log in glob.glob(folder + "/pgbench_log.*"):
            for line in open(log):
                words = line.split()
                if len(words) >= 6:
                    end, took = int(words[4]) + int(words[5]) / 1e6, int(words[2]) / 1e3
                    requests.append((end - took / 1e3, took))
    requests.sort()
    before = [took for at, took in requests if began - WARM_UP + 1 < at < began - (2 if blocker else 0.2)]
    during = [took for at, took in requests if began <= at <= ended + 0.3]
    spread = [(at - began, took) for at, took in requests]
    return {"outcome": outcome, "seconds": ended - began, "base": stats(before), "during": stats(during),
            "late": sum(took > 100 for took in during), "points": spread, "end": ended - began}


def stats(values):
    ordered = sorted(values) or [0.0]
    return {"p99": ordered[int(len(ordered) * 0.99) - 1 if len(ordered) > 99 else -1], "max": ordered[-1]}


def figure(results):
    """Longest latency in each tenth of a second, on a logarithmic scale; the migration runs from 0 to the small mark."""
    import math
    width, height, left, top = 620, 150, 60, 34
    y = lambda ms: height - height * (math.log10(max(ms, 1)) / 4)  # 1 ms to 10 s
    out = []
    for row, (scenario, cells) in enumerate(results):
        base = top + row * (height + 56)
        span = max(cell["end"] for cell in cells.values()) + TAIL
        x = lambda at: left + width * (at + 2) / (span + 2)
        out.append(f'<text x="{left}" y="{base - 8}" font-weight="bold">{scenario[1]}</text>')
        for ms, label in [(1, "1 ms"), (10, "10"), (100, "100"), (1000, "1 s"), (10000, "10 s")]:
            out.append(f'<line x1="{left}" x2="{left + width}" y1="{base + y(ms):.1f}" y2="{base + y(ms):.1f}" stroke="#ddd"/>')
            out.append(f'<text x="{left - 6}" y="{base + y(ms) + 4:.1f}" text-anchor="end">{label}</text>')
        for second in range(0, int(span) + 1, 1 if span < 16 else 5):
            out.append(f'<text x="{x(second):.1f}" y="{base + height + 14}" text-anchor="middle">{second} s</text>')
        for tool, cell in cells.items():
            buckets = {}
            for at, took in cell["points"]:
                if -2 <= at <= span:
                    key = int((at + 2) * 10)
                    buckets[key] = max(buckets.get(key, 0), took)
            line = " ".join(f"{x(key / 10 - 2):.1f},{base + y(took):.1f}" for key, took in sorted(buckets.items()))
            out.append(f'<polyline points="{line}" fill="none" stroke="{COLORS[tool]}" stroke-width="1.4"/>')
            end = x(cell["end"])
            out.append(f'<line x1="{end:.1f}" x2="{end:.1f}" y1="{base + height - 6}" y2="{base + height}" stroke="{COLORS[tool]}" stroke-width="3"/>')
    for index, tool in enumerate(results[0][1]):
        out.append(f'<rect x="{left + 340 + index * 100}" y="6" width="12" height="4" fill="{COLORS[tool]}"/>')
        out.append(f'<text x="{left + 356 + index * 100}" y="12">{tool}</text>')
    full = top + len(results) * (height + 56)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 20} {full}" font-family="sans-serif" '
            f'font-size="11"><rect width="100%" height="100%" fill="white"/>' + "\n".join(out) + "</svg>\n")


def report(results, loads):
    version = subprocess.run([f"{BIN}/postgres", "--version"], capture_output=True, text=True).stdout.strip()
    own = subprocess.run([MIGENGINE, "--version"], capture_output=True, text=True).stdout.strip()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    profile = ", debug build" if "/debug/" in str(MIGENGINE) else ""
    lines = [
        "# What the application notices of a migration", "",
        f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC · {own} ({commit}{profile}) · {version} · "
        f"{os.cpu_count()} cores, {platform.machine()} · load average {min(loads):.1f} to {max(loads):.1f} · "
        f"{ROWS:,} rows, {RATE} transactions a second in an open loop · one sample for each line", "",
        "`make bench-traffic` writes this page. *psql 5s* is psql with `lock_timeout = '5s'`, tried three times. The "
        "latencies are those of the requests that were due while the migration ran; *before* are those of the seconds "
        "before it, on the same machine with the same load. A load average above the number of cores means that the "
        "machine did other things too, which the column *before* shows.", "",
        "![Latency over time](traffic.svg)", "",
        "| scenario | by | outcome | took | longest stall | p99 | over 100 ms | before: longest | before: p99 |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    met = ["", "| scenario | migengine must show | met |", "|---|---|---|"]
    for scenario, cells in results:
        for tool, cell in cells.items():
            during, base = cell["during"], cell["base"]
            lines.append(
                f"| {scenario[1]} | {tool} | {cell['outcome']} | {cell['seconds']:.2f} s | **{during['max']:.0f} ms** | "
                f"{during['p99']:.0f} ms | {cell['late']} | {base['max']:.0f} ms | {base['p99']:.0f} ms |")
        goal, checks = GOALS[scenario[0]]
        own = cells["migengine"]
        met.append(f"| {scenario[1]} | {goal} | {'yes' if all(check(own, cells) for check in checks) else '**no**'} |")
    (ROOT / "benches/RESULTS-traffic.md").write_text("\n".join(lines + met) + "\n")
    (ROOT / "benches/traffic.svg").write_text(figure(results))


def main():
    if not MIGENGINE.exists():
        sys.exit(f"{MIGENGINE} is not there: cargo build --release")
    random.seed(7)
    server, results, loads = Server(), [], []
    try:
        for scenario in SCENARIOS:
            if ONLY and scenario[0] not in ONLY:
                continue
            cells = {}
            for tool in TOOLS:
                cells[tool] = cell(server, scenario, tool)
                loads.append(os.getloadavg()[0])
                shown = cells[tool]
                print(f"{scenario[0]:12} {tool:10} {shown['outcome']:40} {shown['seconds']:6.2f} s   longest "
                      f"{shown['during']['max']:7.0f} ms  p99 {shown['during']['p99']:6.0f} ms   before "
                      f"{shown['base']['max']:5.0f} ms  p99 {shown['base']['p99']:5.0f} ms", flush=True)
            results.append((scenario, cells))
            goal, checks = GOALS[scenario[0]]
            missed = [number for number, check in enumerate(checks, 1) if not check(cells["migengine"], cells)]
            print(f"{scenario[0]:12} must show: {goal}: {'met' if not missed else f'missed, check {missed}'}", flush=True)
            report(results, loads)  # After each, so that an interrupted benchmark leaves what it has.
    finally:
        server.stop()


if __name__ == "__main__":
    main()
