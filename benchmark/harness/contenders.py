"""Who takes part, and how each is started."""

import re
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
ROOT = HERE.parent
SERVER = ROOT / "target/release/customer-match"
RUST = HERE / "target/release"
FASTIFY = HERE / "contenders/fastify"
FASTAPI = HERE / "contenders/fastapi"
VENV = HERE / "target/venv"
PGBENCH = HERE / "contenders/pgbench"


@dataclass(frozen=True)
class Server:
    """Answers HTTP on the port that its command line or PORT names."""

    label: str
    command: list
    environment: dict = field(default_factory=dict)
    # What `install` must provide.
    needs: str = "cargo"
    # Asked for something that it rejects before it comes to the database.
    rejected: bool = False


@dataclass(frozen=True)
class Pgbench:
    """Postgres without HTTP; its clients are the connections."""

    label: str
    script: Path
    # The single statement is the contenders' own.
    append_statement: bool
    rows: int

    needs = "postgres"


CUSTOMER_MATCH = [SERVER, "serve", "--listen", "127.0.0.1:{port}"]
FASTIFY_COMMAND = ["node", FASTIFY / "server.js"]
UVICORN = ["-m", "uvicorn", "main:app", "--app-dir", FASTAPI, "--port", "{port}", "--workers", "2"]

# The order of legends and tables.
CONTENDERS = {
    "ceiling": Server("HTTP ceiling (no database)", CUSTOMER_MATCH, rejected=True),
    "customer-match": Server("customer-match", CUSTOMER_MATCH),
    "one-statement": Server("one statement a request (axum, sqlx)", [RUST / "one-statement"]),
    "naive": Server("naive handler (axum, sqlx)", [RUST / "naive"]),
    "fastify-1": Server("Fastify + pg, 1 process", FASTIFY_COMMAND, {"PROCESSES": "1"}, needs="fastify"),
    "fastify-2": Server("Fastify + pg, 2 processes", FASTIFY_COMMAND, {"PROCESSES": "2"}, needs="fastify"),
    # Its access log is off, as in production.
    "fastapi": Server(
        "FastAPI + asyncpg, 2 workers",
        [VENV / "bin/python", *UVICORN, "--no-access-log", "--log-level", "warning"],
        needs="fastapi",
    ),
    "pgbench": Pgbench("pgbench, single statement", PGBENCH / "single.sql", True, 1),
    "pgbench-100": Pgbench("pgbench, 100 rows a transaction", PGBENCH / "batch.sql", False, 100),
}


def pgbench_script(contender):
    """The text of the script."""
    text = contender.script.read_text()
    if contender.append_statement:
        values = {
            "$1": ":organisation",
            "$2": ":manager",
            "$3": ":customer",
            "$4": ":notice",
        }
        statement = (HERE / "contenders/match.sql").read_text()
        text += re.sub(r"^--.*\n", "", statement, flags=re.M)
        text = re.sub(r"\$\d", lambda parameter: values[parameter[0]], text) + ";\n"
    return text
