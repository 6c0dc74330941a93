"""The tools that are compared, each as its documentation says it is run best, and the same set of migrations in the form of
each: a table and an index in every migration, with a way back where the tool knows one."""
import os, pathlib, shutil

from stand import BIN, MIGENGINE, TARGET

PEERS = TARGET / "peers"


def up(n):
    return (f"CREATE TABLE t{n} (id bigint PRIMARY KEY, name text NOT NULL, at timestamptz DEFAULT now());\n"
            f"CREATE INDEX t{n}_name ON t{n} (name);\n")


def down(n):
    return f"DROP TABLE t{n};\n"


def plain(folder, count):
    for n in range(1, count + 1):
        head = f"-- Migration: {n:05}_table\n-- Description: a table and an index\n\n"
        (folder / f"{n:05}_table.sql").write_text(head + up(n))
        (folder / f"{n:05}_table_rollback.sql").write_text(down(n))


def branches(folder, count):
    """Two chains that know nothing of each other."""
    for n in range(1, count + 1):
        requires = "none" if n <= 2 else f"{n - 2:05}_table"
        (folder / f"{n:05}_table.sql").write_text(f"-- Requires: {requires}\n\n" + up(n))
        (folder / f"{n:05}_table_rollback.sql").write_text(down(n))


def marked(name, first, second):
    def write(folder, count):
        for n in range(1, count + 1):
            (folder / name.format(n=n)).write_text(f"{first}\n{up(n)}\n{second}\n{down(n)}")
    return write


def forward(name):
    def write(folder, count):
        for n in range(1, count + 1):
            (folder / name.format(n=n)).write_text(up(n))
    return write


def sql_migrate(folder, count):
    files = folder / "files"
    files.mkdir()
    marked("{n:05}_table.sql", "-- +migrate Up", "-- +migrate Down")(files, count)
    (folder / "dbconfig.yml").write_text(
        f"bench:\n  dialect: postgres\n  datasource: ${{BENCH_URL}}\n  dir: {files}\n  table: migrations\n")


def yoyo(folder, count):
    for n in range(1, count + 1):
        depends = "" if n == 1 else f"-- depends: {n - 1:05}_table\n"
        (folder / f"{n:05}_table.sql").write_text(depends + up(n))
        (folder / f"{n:05}_table.rollback.sql").write_text(down(n))


ALEMBIC_ENV = """import os
from alembic import context
from sqlalchemy import create_engine
engine = create_engine(os.environ['BENCH_URL'].replace('postgresql://', 'postgresql+psycopg2://'))
with engine.connect() as connection:
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
"""


def alembic(folder, count):
    (folder / "versions").mkdir()
    (folder / "alembic.ini").write_text(f"[alembic]\nscript_location = {folder}\n")
    (folder / "env.py").write_text(ALEMBIC_ENV)
    for n in range(1, count + 1):
        before = None if n == 1 else f"{n - 1:05}"
        (folder / f"versions/{n:05}_table.py").write_text(
            f"from alembic import op\nrevision = '{n:05}'\ndown_revision = {before!r}\n\n"
            f"def upgrade():\n    op.execute('''{up(n)}''')\n\ndef downgrade():\n    op.execute('''{down(n)}''')\n")


def sqitch(folder, count):
    for part in ("deploy", "revert"):
        (folder / part).mkdir()
    plan = "%syntax-version=1.0.0\n%project=bench\n\n"
    for n in range(1, count + 1):
        plan += f"t{n} 2024-01-01T00:00:00Z Bench <bench@example.org> # a table\n"
        (folder / f"deploy/t{n}.sql").write_text(f"BEGIN;\n{up(n)}COMMIT;\n")
        (folder / f"revert/t{n}.sql").write_text(f"BEGIN;\n{down(n)}COMMIT;\n")
    (folder / "sqitch.conf").write_text(f"[core]\n\tengine = pg\n[engine \"pg\"]\n\tclient = {BIN}/psql\n")
    (folder / "sqitch.plan").write_text(plan)


def files_of(folder):
    return sorted(path for path in folder.iterdir() if not path.name.endswith("_rollback.sql"))


def psql_each(folder, url):
    command = [f"{BIN}/psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url]
    for path in files_of(folder):
        command += ["-c", "BEGIN", "-f", path, "-c", "COMMIT"]
    return command


def psql_one(folder, url):
    command = [f"{BIN}/psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url, "-1"]
    for path in files_of(folder):
        command += ["-f", path]
    return command


def ours(*options):
    def command(folder, url):
        return [MIGENGINE, "apply", "--quiet", "--yes", "--database-url", url, "--dir", folder,
                "--journal", f"{folder}.journal", *options]
    return command


class Peer:
    """`most` is the number of migrations it is given at most: more would take minutes and show nothing else."""

    def __init__(self, name, program, write, command, installer=None, most=100_000, repeats=True):
        self.name, self.program, self.write, self.make = name, pathlib.Path(program), write, command
        self.installer, self.most, self.repeats = installer, most, repeats

    def is_here(self):
        return self.program.exists() if self.program.is_absolute() else shutil.which(str(self.program)) is not None

    def version(self):
        file = PEERS / str(self.installer) / "version"
        return file.read_text().strip() if self.installer and file.exists() else ""

    def prepare(self, scratch, count):
        folder = pathlib.Path(scratch) / f"{self.name.replace(' ', '_').replace(',', '')}_{count}"
        if not folder.exists():
            folder.mkdir()
            self.write(folder, count)
        return folder

    def command(self, folder, url):
        """The command, and how it is run. No tool reads anybody's configuration."""
        home = {"HOME": str(folder), "BENCH_URL": url, "SQITCH_FULLNAME": "Bench", "SQITCH_EMAIL": "bench@example.org",
                "PATH": f"{BIN}:{os.environ.get('PATH', '')}"}
        return self.make(folder, url), {"cwd": folder, "env": home}


PSQL = Peer("psql, one transaction each", f"{BIN}/psql", plain, psql_each, repeats=False)
PSQL_ONE = Peer("psql, one transaction", f"{BIN}/psql", plain, psql_one, repeats=False)
OURS = Peer("migengine", MIGENGINE, plain, ours())
ATOMIC = Peer("migengine --atomic", MIGENGINE, plain, ours("--atomic"))
OTHERS = [
    Peer("sqlx-cli", PEERS / "sqlx/bin/sqlx", forward("{n}_table.sql"),
         lambda folder, url: [PEERS / "sqlx/bin/sqlx", "migrate", "run", "--source", folder, "--database-url", url], "sqlx"),
    Peer("refinery", PEERS / "refinery/bin/refinery", forward("V{n}__table.sql"),
         lambda folder, url: [PEERS / "refinery/bin/refinery", "migrate", "-e", "BENCH_URL", "-p", folder], "refinery"),
    Peer("dbmate", PEERS / "dbmate/node_modules/.bin/dbmate",
         marked("2024{n:010}_table.sql", "-- migrate:up", "-- migrate:down"),
         lambda folder, url: [PEERS / "dbmate/node_modules/.bin/dbmate", "--url", url, "--no-dump-schema",
                              "--migrations-dir", folder, "migrate"], "dbmate"),
    Peer("node-pg-migrate", PEERS / "node-pg-migrate/node_modules/.bin/node-pg-migrate",
         marked("17000000{n:05}_table.sql", "-- Up Migration", "-- Down Migration"),
         lambda folder, url: [PEERS / "node-pg-migrate/node_modules/.bin/node-pg-migrate", "up",
                              "--database-url-var", "BENCH_URL", "--migrations-dir", folder], "node-pg-migrate"),
    Peer("sql-migrate", PEERS / "sql-migrate/usr/bin/sql-migrate", sql_migrate,
         lambda folder, url: [PEERS / "sql-migrate/usr/bin/sql-migrate", "up", "-env=bench",
                              f"-config={folder}/dbconfig.yml"], "sql-migrate"),
    Peer("alembic", PEERS / "alembic/bin/alembic", alembic,
         lambda folder, url: [PEERS / "alembic/bin/alembic", "-c", folder / "alembic.ini", "upgrade", "head"], "alembic"),
    # It does not know the parameter.
    Peer("yoyo", PEERS / "yoyo/bin/yoyo", yoyo,
         lambda folder, url: [PEERS / "yoyo/bin/yoyo", "apply", "--batch", "--no-config-file", "--database",
                              url.replace("?sslmode=disable", ""), folder], "yoyo", most=200),
    Peer("sqitch", "sqitch", sqitch,
         lambda folder, url: ["sqitch", "deploy", "--no-verify", url.replace("postgresql://", "db:pg://")], "sqitch", most=200),
]
ALL = [PSQL, PSQL_ONE, OURS, ATOMIC, *OTHERS]
