"""A Postgres of our own: what initdb makes, durable, on a disk, reached through a Unix socket only. Each run gets a database
that is a copy of a template, file by file: every contender meets the same bytes."""

import glob
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from .process import Failed, running, tail

SQL = Path(__file__).resolve().parent.parent / "sql"
# The server's defaults, said aloud: nothing here makes it faster or less durable.
SETTINGS = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "listen_addresses": ""}
# What docs/operations.md tells to set for a database of some size: initdb's 128 MB of buffers hold a tenth of five million
# relations with their indexes. Just as durable.
SIZED = {"shared_buffers": "2GB", "max_wal_size": "8GB"}
RUN = "run"
# The layout of one Postgres; the others are in distributed.py.
PLAIN = "plain"
PORT = 5432
# The template that is read (sql/reads.sql) has a name instead of a number of relations, and this number of them.
READS = "reads"
RELATIONS_READ = 110_000


def programs():
    """The folder with the programs of Postgres, or None."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    version = lambda path: int(re.search(r"/(\d+)/bin/", path)[1])
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), key=version)
    return Path(found[-1]).parent if found else None


class Cluster:
    def __init__(self, bin_dir, folder, pid, file_system, port=PORT):
        self.bin_dir = bin_dir
        self.folder = folder
        self.pid = pid
        self.file_system = file_system
        self.port = port

    def roots(self):
        """The processes whose CPU is the database's, by name."""
        return {"Postgres": self.pid}

    def environment(self, database=RUN):
        """What libpq, sqlx, node-postgres and asyncpg read, and the URL for customer-match."""
        base = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "CUSTOMER_MATCH_"))}
        return base | {
            "PGHOST": str(self.folder),
            "PGPORT": str(self.port),
            "PGUSER": "postgres",
            "PGDATABASE": database,
            "DATABASE_URL": f"postgres:///{database}?host={self.folder}&port={self.port}&user=postgres",
        }

    def psql(self, *arguments, database="postgres", stdin=None):
        result = subprocess.run(
            [self.bin_dir / "psql", "-qXAt", "-v", "ON_ERROR_STOP=1", *arguments],
            env=self.environment(database),
            stdin=stdin or subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if result.returncode != 0:
            raise Failed(f"psql {' '.join(map(str, arguments))}: {result.stderr}")
        return result.stdout.strip()

    def make_templates(self, migrate, sizes):
        """One database for each number of relations, and the one that is read; `migrate` applies the schema as shipped."""
        for size in sizes:
            name = template(size)
            if size == READS:
                self.psql("-c", f"create database {name} template {template(0)}")
                self.psql("-f", SQL / "reads.sql", database=name)
                self.psql("-c", "analyze", database=name)
                self.write_requests(name)
            elif size == 0:
                self.psql("-c", f"create database {name}")
                subprocess.run(migrate, env=self.environment(name), check=True, capture_output=True)
                self.psql("-f", SQL / "seed.sql", database=name)
            else:
                self.psql("-c", f"create database {name} template {template(0)}")
                self.psql("-v", f"relations={size}", "-f", SQL / "relations.sql", database=name)
            self.psql("-c", "vacuum (analyze)", database=name)

    def write_requests(self, database):
        """A file for each workload, see sql/requests.sql."""
        lines = {}
        for line in self.psql("-f", SQL / "requests.sql", database=database).splitlines():
            workload, _, request = line.partition("\t")
            lines.setdefault(workload, []).append(request + "\n")
        for workload, requests in lines.items():
            self.requests(workload).write_text("".join(requests))

    def requests(self, workload):
        return self.folder / f"{workload}.requests"

    def reset(self, size):
        """The database of the next run."""
        self.drop()
        self.psql("-c", f"create database {RUN} template {template(size)} strategy file_copy")
        self.psql("-c", "checkpoint")

    def drop(self):
        self.psql("-c", f"drop database if exists {RUN} with (force)")


def template(size):
    return f"seed_{size}"


@contextmanager
def cluster(sized=False):
    bin_dir = programs()
    with directory() as (folder, file_system), node(bin_dir, folder, SETTINGS | (SIZED if sized else {})) as pid:
        yield Cluster(bin_dir, folder, pid, file_system)


@contextmanager
def directory():
    """A directory on a disk, and the kind of its file system; removed in the end."""
    # /var/tmp and not /tmp, which may be memory: nothing would be durable there. Everybody may pass through it, so an
    # unprivileged user reaches the folder in it.
    folder = Path(tempfile.mkdtemp(prefix="customer-match-benchmark-", dir="/var/tmp"))
    try:
        kind = subprocess.run(["stat", "-f", "-c", "%T", folder], capture_output=True, text=True).stdout.strip()
        if kind in ("tmpfs", "ramfs"):
            raise Failed(f"/var/tmp is {kind}: figures of a database in memory would mean nothing")
        yield folder, kind
    finally:
        shutil.rmtree(folder)


@contextmanager
def node(bin_dir, folder, settings, port=PORT):
    """A Postgres with its data, log and socket in the folder. Yields the id of its process."""
    user = None
    if os.geteuid() == 0:  # Postgres refuses to run as root.
        user = pwd.getpwnam("nobody")
        os.chown(folder, user.pw_uid, user.pw_gid)
    data, log = folder / "data", folder / "postgres.log"
    initdb = [bin_dir / "initdb", "-D", data, "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--auth=trust"]
    with running(initdb, log, env=clean(), user=user) as process:
        if process.wait() != 0:
            raise Failed(f"initdb failed:\n{tail(log)}")
    settings = settings | {"unix_socket_directories": folder, "port": port}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    postgres = [bin_dir / "postgres", "-D", data, *options]
    with running(postgres, log, env=clean(), user=user, stop=signal.SIGINT) as process:
        deadline = time.monotonic() + 30
        while subprocess.run([bin_dir / "pg_isready", "-q", "-h", folder, "-p", str(port)]).returncode != 0:
            if process.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"Postgres did not start:\n{tail(log)}")
            time.sleep(0.05)
        yield process.pid


def clean():
    """Nothing of the caller's environment changes what Postgres does."""
    return {"PATH": os.environ["PATH"], "LC_ALL": "C"}
