#!/usr/bin/env python3
"""How fast is it, beside psql and the other tools, on this machine?

Runs the sections of sections.py, each in turn, prints what it finds, and writes it into benches/RESULTS.md between the marks
of its section, with date and versions; plots go to benches/plots. ONLY=local,jobs chooses sections; QUICK=1 tries whether
everything runs, at sizes whose figures mean nothing, and writes no file. Needs Python 3.9, Linux, PostgreSQL's programs, a
release build, and the tools that benches/peers can install; `make bench` sees to all of it.
"""
import datetime, os, pathlib, platform, re, shutil, subprocess, sys, tempfile, time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import sections
from stand import BIN, MIGENGINE, ROOT, Server

RESULTS = ROOT / "benches/RESULTS.md"


def put(name, title, text):
    """Between the marks of a section; at the end of the file where there are none yet."""
    begin, end = f"<!-- bench: {name} -->", f"<!-- end: {name} -->"
    block = f"{begin}\n{title}\n\n{text.rstrip()}\n{end}"
    whole = RESULTS.read_text()
    marked = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.S)
    RESULTS.write_text(marked.sub(lambda _: block, whole) if marked.search(whole) else f"{whole.rstrip()}\n\n{block}\n")


def conditions():
    first = lambda *command: subprocess.run(command, capture_output=True, text=True).stdout.split("\n")[0].strip()
    commit = first("git", "-C", str(ROOT), "describe", "--always", "--dirty")
    load = os.getloadavg()[0]
    return (f"{datetime.date.today()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, "
            f"{first(BIN + '/postgres', '--version')}, {first(MIGENGINE, '--version')} at {commit}, load {load:.1f} at the start")


def goals_table():
    text = "| work | goal | measured | |\n|---|---|---|---|\n"
    return text + "".join(f"| {work} | {limit} | {measured} | {'met' if met else '**missed**'} |\n"
                          for work, limit, measured, met in sections.goals)


def main():
    quick = os.environ.get("QUICK") == "1"
    chosen = [name for name in os.environ.get("ONLY", "").replace(",", " ").split()] or list(sections.ALL)
    unknown = [name for name in chosen if name not in sections.ALL]
    if unknown:
        sys.exit(f"no section is called {', '.join(unknown)}; there are: {', '.join(sections.ALL)}")
    sections.sizes(quick)
    under = conditions()
    scratch = tempfile.mkdtemp(prefix="me-bench-sets-")
    server = Server()
    try:
        for name in chosen:
            began = time.time()
            section = sections.ALL[name]
            print(f"{name}: {section.__doc__}", flush=True)
            text = section(server, scratch)
            took = f"{time.time() - began:.0f} s"
            print(f"{text}\n({took})\n", flush=True)
            if not quick:
                put(name, f"### {section.__doc__.rstrip('.')}\n\n{under}. This section took {took}.", text)
        print(goals_table())
        if not quick:
            name = "goals" if set(chosen) == set(sections.ALL) else "goals of a part"
            put(name, f"### The goals{'' if name == 'goals' else ', of the sections run last'}\n\n{under}.", goals_table())
    finally:
        server.stop()
        shutil.rmtree(scratch, ignore_errors=True)


main()
