#!/usr/bin/env python3
"""What one small migration costs the server, in instructions of its backend: psql with a transaction each, migengine step by step,
and migengine in one transaction. Counted by callgrind, so that a busy machine does not change it. The backend's total with 300
migrations less that with 100, divided by 200, so that what a run costs once is not in it. About three minutes."""
import glob, os, pathlib, re, shutil, subprocess, sys, tempfile, time

import peers
from stand import BIN, Run, Server

FEW, MANY = 100, 300


def started(server, out):
    """The server under callgrind, every process of it."""
    command = ["valgrind", "-q", "--tool=callgrind", "--trace-children=yes", f"--callgrind-out-file={out}/%p",
               f"{BIN}/postgres", "-D", server.data]
    if server.user:
        command = ["setpriv", f"--reuid={server.user}", f"--regid={server.user}", "--clear-groups"] + command
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
    while subprocess.run([f"{BIN}/pg_isready", "-q", "-d", server.url("postgres")]).returncode:
        if process.poll() is not None:
            sys.exit("the server did not start under valgrind")
        time.sleep(0.2)
    return process


def total(path):
    """Instructions of a process, if it is the one that built the indexes: the guard has a backend of its own, which looks on for as
    long as a run takes, and that is long here."""
    text = pathlib.Path(path).read_text()
    found = re.findall(r"^(?:summary|totals): (\d+)", text, re.M)
    return max(map(int, found), default=0) if "DefineIndex" in text else 0


def count(tool, migrations, scratch):
    """Instructions of the backend that did the work."""
    folder = tool.prepare(scratch, migrations)
    server = Server()
    out = tempfile.mkdtemp(prefix="me-callgrind-")
    os.chmod(out, 0o777)
    try:
        server.create("race")
        server.run(["pg_ctl", "-D", server.data, "-w", "-m", "fast", "stop"])
        process = started(server, out)
        try:
            command, how = tool.command(folder, server.url("race"))
            run = Run(command, **how)
        finally:
            process.terminate()
            process.wait()
        if not run.ok:
            sys.exit(run.complaint)
        return max(map(total, glob.glob(f"{out}/*")))
    finally:
        shutil.rmtree(out)
        shutil.rmtree(server.dir)


if __name__ == "__main__":
    if not shutil.which("valgrind"):
        sys.exit("valgrind is not installed: instructions are not counted")
    base = pathlib.Path(tempfile.mkdtemp(prefix="me-server-"))
    try:
        print("| | million instructions a migration |\n|---|---|")
        for name, tool in (("psql, one transaction each", peers.PSQL), ("migengine", peers.OURS), ("migengine --atomic", peers.ATOMIC)):
            few, many = (count(tool, migrations, base) for migrations in (FEW, MANY))
            print(f"| {name} | {(many - few) / (MANY - FEW) / 1e6:.2f} |", flush=True)
    finally:
        shutil.rmtree(base)
