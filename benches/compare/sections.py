"""What is measured, a function each. Every one returns the Markdown of its part of benches/RESULTS.md, and puts what the
goals are held against into `goals`."""
import json, pathlib, shutil, subprocess, sys, tempfile, time

import peers, plot, race
from peers import ATOMIC, OURS, PSQL, PSQL_ONE
from stand import BIN, MIGENGINE, ROOT, TARGET, Line, Run, forget, median, migengine

PLOTS = ROOT / "benches/plots"
goals = []


def goal(work, limit, measured, met):
    goals.append((work, limit, measured, met))


def ratio(work, limit, value, base, unit="s"):
    """`value` is to be at most `limit` times `base`."""
    share = value / base
    goal(work, f"at most {limit:g} ×", f"{share:.2f} × ({value:.3g} {unit} and {base:.3g} {unit})", share <= limit)


def draw(name, text):
    PLOTS.mkdir(exist_ok=True)
    (PLOTS / name).write_text(text)
    return f"\n![{name}](plots/{name})\n"


def start(server, scratch):
    """Small and quick to start."""
    size = MIGENGINE.stat().st_size / 1e6
    version = [Run([MIGENGINE, "--version"]).needed().seconds * 1000 for _ in range(40)]
    folder = OURS.prepare(scratch, 1000)
    server.create("start")
    forget(folder)
    applied = Run(*command(OURS, folder, server.url("start"))).needed()
    time.sleep(4)  # Files written less than three seconds ago are read again: they may still be written to (cli/src/outline.rs).
    read, known = [], []
    for _ in range(9):
        for path in folder.parent.glob(f"{folder.name}.journal.folder-*"):
            path.unlink()
        read.append(Run(*command(OURS, folder, server.url("start"))).needed())
        known.append(Run(*command(OURS, folder, server.url("start"))).needed())
    line = Line(server, 0)
    Run(*command(OURS, folder, server.url("start", line.port))).needed()
    trips = line.close()
    server.drop("start")
    cpu = lambda runs: median([run.cpu for run in runs]) * 1000
    goal("release binary", "under 15 MB", f"{size:.1f} MB", size < 15)
    goal("`--version`", "under 5 ms", f"{median(version):.1f} ms", median(version) < 5)
    goal("nothing to do, 1,000 migrations: own time", "under 25 ms", f"{cpu(known):.0f} ms", cpu(known) < 25)
    goal("nothing to do: round trips, connecting included", "at most 5", str(trips), trips <= 5)
    peak = max(run.peak_mb for run in [applied, *read, *known])
    goal("peak memory, 1,000 migrations", "under 25 MB", f"{peak:.1f} MB", peak < 25)
    rows = [("applying them", [applied]), ("nothing to do, files read", read), ("nothing to do, folder unchanged", known)]
    text = f"Binary {size:.1f} MB. `--version`: median of 40 {median(version):.1f} ms, best {min(version):.1f} ms. " \
           f"{trips} round trips in all where there is nothing to do.\n\n| 1,000 migrations | s | CPU, ms | peak, MB |\n|---|---|---|---|\n"
    for name, runs in rows:
        seconds, peak = median([run.seconds for run in runs]), max(run.peak_mb for run in runs)
        text += f"| {name} | {seconds:.3f} | {cpu(runs):.0f} | {peak:.1f} |\n"
    return text


def command(peer, folder, url):
    made, how = peer.command(folder, url)
    return made, how["cwd"], how["env"]


def local(server, scratch):
    """1,000 small migrations, and nothing to do."""
    far = Line(server, 20)
    lanes = race.race(server, scratch, COUNT, RUNS, far=far.port)
    far.close()
    of = lambda peer: median(race.of(lanes, peer).apply)
    ratio(f"{COUNT:,} small migrations, to psql one transaction each", 1.0, of(OURS), of(PSQL))
    ratio(f"{COUNT:,} small migrations `--atomic`, to psql one transaction", 1.1, of(ATOMIC), of(PSQL_ONE))
    name, best = race.fastest(lanes, lambda lane: lane.apply)
    goal(f"{COUNT:,} small migrations, ahead of every peer", f"under {name}", f"{of(OURS):.2f} s and {best:.2f} s", of(OURS) < best)
    name, best = race.fastest(lanes, lambda lane: lane.far)
    ratio(f"nothing to do, {COUNT:,} migrations, 20 ms, to {name}", 0.7, median(race.of(lanes, OURS).far), best)
    text = race.table(lanes, 20)
    shown = [(lane.peer.name, median(lane.apply)) for lane in lanes if not lane.failed and lane.count == COUNT]
    return text + draw("local.svg", plot.bars(f"{COUNT:,} small migrations, loopback", "s", shown))


def far(server, scratch):
    """200 small migrations over a line with a round trip of 20 ms."""
    slow = Line(server, 20)
    chosen = [peer for peer in peers.ALL if peer.name not in ("yoyo", "sqitch")]  # Minutes each.
    lanes = race.race(server, scratch, FAR_COUNT, 3, port=slow.port, peers=chosen)
    slow.close()
    seconds = lambda peer: median(race.of(lanes, peer).apply)
    name, best = race.fastest(lanes, lambda lane: lane.apply)
    for peer, limit, times in ((OURS, 6, 4), (ATOMIC, 2, 12)):
        goal(f"{FAR_COUNT} small migrations, 20 ms, {peer.name}", f"under {limit} s", f"{seconds(peer):.2f} s", seconds(peer) < limit)
        factor = best / seconds(peer)
        goal(f"{FAR_COUNT} small migrations, 20 ms, {peer.name}, to {name}", f"{times} × faster", f"{factor:.1f} × faster", factor >= times)
    shown = [(lane.peer.name, median(lane.apply)) for lane in lanes if not lane.failed]
    return race.table(lanes) + draw("far.svg", plot.bars(f"{FAR_COUNT} small migrations, round trip 20 ms", "s", shown))


def curve(server, scratch):
    """50 small migrations over lines of 0, 5, 20 and 50 ms."""
    chosen = [peer for peer in peers.ALL if peer.name not in ("yoyo", "sqitch", "node-pg-migrate", "alembic")]
    series, text = {}, "| round trip, ms |" + " | ".join(peer.name for peer in chosen) + " |\n|" + "---|" * (len(chosen) + 1) + "\n"
    for ms in (0, 5, 20, 50):
        slow = Line(server, ms)
        lanes = race.race(server, scratch, 50, 1, port=slow.port, peers=chosen)
        slow.close()
        cells = {lane.peer.name: lane.apply[0] for lane in lanes if lane.apply}
        text += f"| {ms} |" + " | ".join(f"{cells[peer.name]:.2f}" if peer.name in cells else "" for peer in chosen) + " |\n"
        for name, value in cells.items():
            series.setdefault(name, []).append((ms, value))
    return text + draw("curve.svg", plot.lines("50 small migrations", "round trip, ms", "s", series))


def by_turns(server, prepare, ways, runs, database="turns"):
    """Runs each way in turn on a fresh database; returns their seconds."""
    seconds = {name: [] for name in ways}
    for _ in range(runs):
        for name, way in ways.items():
            prepare(database)
            server.rest()
            seconds[name].append(way(server.url(database)))
            server.drop(database)
    return seconds


def bare(scratch, sql, sessions):
    """What the server itself gains from a second session: psql, with nothing but the same statements. `sql(first, step)` gives every
    `step`-th of them, from the `first` on."""
    folder, files = pathlib.Path(tempfile.mkdtemp(dir=scratch)), []
    for first in range(1, sessions + 1):
        path = folder / f"{first}.sql"
        path.write_text(sql(first, sessions))
        files.append(path)

    def run(url):
        began = time.perf_counter()
        words = [f"{BIN}/psql", "-qX", "-v", "ON_ERROR_STOP=1", "-d", url, "-f"]
        running = [subprocess.Popen([*words, path]) for path in files]
        if any(process.wait() for process in running):
            sys.exit("psql failed")
        return time.perf_counter() - began
    return run


def jobs(server, scratch):
    """1,000 small migrations on two branches, serial and `--jobs 2`."""
    folder = peers.Peer("branches", MIGENGINE, peers.branches, None).prepare(scratch, COUNT)

    def way(*options):
        def run(url):
            forget(folder)
            return Run(migengine(url, folder, "apply --yes", *options)).needed().seconds
        return run

    def transactions(first, step):
        return "".join(f"BEGIN;\n{peers.up(n)}COMMIT;\n" for n in range(first, COUNT + 1, step))

    found = by_turns(server, server.create, {"serial": way(), "--jobs 2": way("--jobs", "2"), "one psql": bare(scratch, transactions, 1),
                                             "two psql": bare(scratch, transactions, 2)}, RUNS)
    serial, parallel, one, two = (median(found[name]) for name in ("serial", "--jobs 2", "one psql", "two psql"))
    ratio(f"{COUNT:,} small migrations on two branches, `--jobs 2` to serial", 0.65, parallel, serial)
    return (f"| | s |\n|---|---|\n| serial | {serial:.2f} |\n| `--jobs 2` | {parallel:.2f} |\n"
            f"| the bare transactions, one psql | {one:.2f} |\n| half of them each, two psql at once | {two:.2f} |\n")


def indexes(server, scratch):
    """8 independent index builds of a million rows, serial and `--jobs 2`."""
    folder = pathlib.Path(scratch) / "indexes"
    folder.mkdir(exist_ok=True)
    for n in range(1, 9):
        (folder / f"{n:03}_index.sql").write_text(f"-- Requires: none\n\nCREATE INDEX big{n}_name ON big{n} (name);\n")
    server.create("big")
    for n in range(1, 9):
        server.psql(f"CREATE TABLE big{n} AS SELECT i AS id, md5(i::text) AS name FROM generate_series(1, {ROWS}) i", "big")
    server.psql("VACUUM ANALYZE", "big")

    def way(workers, *options):
        def run(url):
            forget(folder)
            # The server's own parallel workers would take the second core also where we do not.
            server.psql(f"ALTER DATABASE turns SET max_parallel_maintenance_workers = {workers}")
            return Run(migengine(url, folder, "apply --yes", *options)).needed().seconds
        return run

    def statements(first, step):
        return "".join(f"CREATE INDEX big{n}_name ON big{n} (name);\n" for n in range(first, 9, step))

    def alone(sessions):
        work = bare(scratch, statements, sessions)

        def run(url):
            server.psql("ALTER DATABASE turns SET max_parallel_maintenance_workers = 0")
            return work(url)
        return run

    ways = {"serial": way(0), "--jobs 2": way(0, "--jobs", "2"), "serial, with the server's parallel workers": way(2),
            "--jobs 2, with the server's parallel workers": way(2, "--jobs", "2"),
            "the bare statements, one psql": alone(1), "half of them each, two psql at once": alone(2)}
    found = by_turns(server, lambda name: server.create(name, "big"), ways, 3)
    server.drop("big")
    serial, parallel = median(found["serial"]), median(found["--jobs 2"])
    ratio(f"8 index builds of {ROWS:,} rows, `--jobs 2` to serial", 0.6, parallel, serial)
    return "| | s |\n|---|---|\n" + "".join(f"| {name} | {median(values):.2f} |\n" for name, values in found.items())


def journal(server, scratch):
    """The journal against one that writes nothing."""
    folder = OURS.prepare(scratch, COUNT)
    place = pathlib.Path(scratch) / "drive.journal"

    def way(kind):
        def run(url):
            shutil.rmtree(place, ignore_errors=True)
            done = subprocess.run([TARGET / "release/drive", url, folder, kind, place], capture_output=True, text=True)
            return float(done.stdout) if done.returncode == 0 else sys.exit(done.stderr)
        return run

    found = by_turns(server, server.create, {"sled": way("sled"), "memory": way("memory"), "none": way("none")}, RUNS)
    on, off = median(found["sled"]), median(found["none"])
    ratio(f"journal on, to a journal that does nothing, {COUNT:,} migrations", 1.08, on, off)
    return ("| journal | s |\n|---|---|\n" f"| sled, synced | {on:.2f} |\n"
            f"| in memory, mirrored in the database | {median(found['memory']):.2f} |\n| none, nothing mirrored | {off:.2f} |\n")


def scale(server, scratch):
    """10,000 and 20,000 files: planning, and nothing to do."""
    text = "| files | read and planned, ms | nothing to do, files read: CPU, ms | folder unchanged: CPU, ms | peak, MB |\n|---|---|---|---|---|\n"
    cost, memory, known_cost = {}, {}, {}
    for files in (10_000, 20_000):
        folder = pathlib.Path(scratch) / f"many_{files}"
        folder.mkdir(exist_ok=True)
        for n in range(1, files // 2 + 1):
            (folder / f"{n:05}_m.sql").write_text(f"-- Description: number {n}\n\nSELECT {n};\n")
            (folder / f"{n:05}_m_rollback.sql").write_text(f"SELECT -{n};\n")
        server.create("many")
        listed = [Run([MIGENGINE, "--dir", folder, "list"]).needed() for _ in range(9)]
        forget(folder)
        Run(migengine(server.url("many"), folder, "apply --yes --atomic")).needed()
        read, known = [], []
        for _ in range(5):
            for path in folder.parent.glob(f"{folder.name}.journal.folder-*"):
                path.unlink()
            read.append(Run(migengine(server.url("many"), folder, "apply --yes")).needed())
            known.append(Run(migengine(server.url("many"), folder, "apply --yes")).needed())
        server.drop("many")
        planned = median([run.seconds for run in listed]) * 1000
        cost[files], known_cost[files] = (median([run.cpu for run in runs]) * 1000 for runs in (read, known))
        memory[files] = max(run.peak_mb for run in read)
        text += f"| {files:,} | {planned:.0f} | {cost[files]:.0f} | {known_cost[files]:.0f} | {memory[files]:.0f} |\n"
        if files == 10_000:
            goal("10,000 files read, lexed, hashed and planned", "under 150 ms", f"{planned:.0f} ms", planned < 150)
    for what, values in (("CPU", cost), ("CPU, folder unchanged", known_cost), ("memory", memory)):
        growth = values[20_000] / values[10_000]
        goal(f"20,000 files against 10,000, nothing to do: {what}", "at most 2.2 ×", f"{growth:.2f} ×", growth <= 2.2)
    return text


def script(server, scratch):
    """A data script of 100 MB."""
    text = "| 100 MB of | s | peak, MB |\n|---|---|---|\n"
    for kind in ("COPY", "INSERT"):
        folder = pathlib.Path(scratch) / f"data_{kind}"
        folder.mkdir(exist_ok=True)
        (folder / "001_table.sql").write_text("CREATE TABLE data (id bigint, name text);\n")
        with open(folder / "002_data.sql", "w") as file:
            file.write("COPY data (id, name) FROM stdin;\n" if kind == "COPY" else "")
            for n in range(100_000_000 // 100):
                row = f"{n:08}" + "x" * 30
                file.write(f"{n:08}\t{row * 2:<90}\n" if kind == "COPY" else f"INSERT INTO data VALUES ({n:08}, '{row:<58}');\n")
            file.write("\\.\n" if kind == "COPY" else "")
        server.create("data")
        forget(folder)
        run = Run(migengine(server.url("data"), folder, "apply --yes")).needed()
        server.drop("data")
        shutil.rmtree(folder)
        goal(f"a data script of 100 MB, {kind}: memory", "under 60 MB", f"{run.peak_mb:.0f} MB", run.peak_mb < 60)
        text += f"| {kind} | {run.seconds:.1f} | {run.peak_mb:.0f} |\n"
    return text


def micro(_server, _scratch):
    """Lexer, planner, journal and fingerprint by themselves (criterion)."""
    shutil.rmtree(TARGET / "criterion", ignore_errors=True)
    done = subprocess.run(["cargo", "bench", "--quiet", "--locked", "-p", "migengine-benches", "--bench", "hot"],
                          cwd=ROOT, stdout=subprocess.DEVNULL)
    if done.returncode:
        sys.exit("the micro benchmarks ended early")
    text = "| | median |\n|---|---|\n"
    for path in sorted((TARGET / "criterion").glob("**/new/estimates.json")):
        nanoseconds = json.loads(path.read_text())["median"]["point_estimate"]
        name = json.loads((path.parent / "benchmark.json").read_text())["full_id"]
        text += f"| {name} | {nanoseconds / 1e6:.2f} ms |\n"
        if name.startswith("graph of 100,000"):
            goal("a graph of 100,000 nodes and 300,000 edges sorted and checked", "under 1 s", f"{nanoseconds / 1e9:.2f} s", nanoseconds < 1e9)
    return text


# Sizes; small ones (QUICK=1) are for trying whether everything runs, their figures mean nothing. Nine runs, because one and the same
# program takes up to a quarter longer from one run to the next, psql too, and the medians of five were not the same twice.
def sizes(quick):
    global COUNT, FAR_COUNT, ROWS, RUNS
    COUNT, FAR_COUNT, ROWS, RUNS = (60, 20, 20_000, 1) if quick else (1000, 200, 1_000_000, 9)


ALL = {section.__name__: section for section in (start, local, far, curve, jobs, indexes, journal, scale, script, micro)}
