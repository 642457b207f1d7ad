"""Gets what the benchmark needs from the package managers, and says what could not be had."""

import json
import os
import re
import shutil
import subprocess
import sys

from . import postgres
from .contenders import FASTAPI, FASTIFY, HERE, ROOT, VENV
from .process import Failed

NODE_MAJOR = 20  # Of Fastify 5.


def prepare(needs):
    """Installs and builds; returns by need why it is absent, where it is. Without cargo or Postgres there is no benchmark."""
    build(ROOT)
    build(HERE)
    if postgres.programs() is None:
        apt("postgresql")
        if postgres.programs() is None:
            raise Failed("Postgres 15 or later is needed: initdb is neither in PATH nor in /usr/lib/postgresql/*/bin")
    optional = {"fastify": fastify, "fastapi": fastapi}
    absent = {}
    for need in needs & optional.keys():
        try:
            optional[need]()
        except (Failed, OSError) as error:
            absent[need] = str(error)
            print(f"absent: {need}: {error}", file=sys.stderr)
    return absent


def build(folder):
    """With its own target folder, whatever the environment says: the paths are known."""
    print(f"building {folder} (release)", file=sys.stderr)
    command = ["cargo", "build", "--release", "--locked", "--quiet", "--target-dir", folder / "target"]
    if subprocess.run(command, cwd=folder).returncode != 0:
        raise Failed(f"cargo could not build {folder}")


def fastify():
    if not (shutil.which("node") and shutil.which("npm")):
        apt("nodejs", "npm")
    version = output("node", "--version")
    if int(version.removeprefix("v").split(".")[0]) < NODE_MAJOR:
        raise Failed(f"Fastify 5 needs Node {NODE_MAJOR}, this is {version}")
    output("npm", "ci", "--no-audit", "--no-fund", cwd=FASTIFY)


def fastapi():
    python = VENV / "bin/python"
    if not python.exists():
        try:
            output(sys.executable, "-m", "venv", VENV)
        except Failed:  # Debian packs ensurepip apart.
            apt("python3-venv")
            output(sys.executable, "-m", "venv", "--clear", VENV)
    output(python, "-m", "pip", "install", "--quiet", "--only-binary=:all:", "-r", FASTAPI / "requirements.txt")


def apt(*packages):
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Failed(f"not installed, and only root can: apt-get install {' '.join(packages)}")
    output("apt-get", "update", "-q")
    output("apt-get", "install", "-qy", "--no-install-recommends", *packages)


def output(*command, cwd=None):
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if result.returncode != 0:
        raise Failed(f"{' '.join(map(str, command))}: {(result.stderr or result.stdout).strip()[-400:]}")
    return result.stdout.strip()


def versions(absent):
    """What was measured with."""
    found = {
        "commit": output("git", "describe", "--always", "--dirty", "--abbrev=12", cwd=ROOT),
        "rustc": output("rustc", "--version", cwd=ROOT),
        "Postgres": output(postgres.programs() / "postgres", "--version"),
        "axum, sqlx, tokio": ", ".join(map(crate, ("axum", "sqlx", "tokio"))),
    }
    if "fastify" not in absent and (FASTIFY / "node_modules").exists():
        packages = json.loads((FASTIFY / "package-lock.json").read_text())["packages"]
        names = ", ".join(f"{name} {packages[f'node_modules/{name}']['version']}" for name in ("fastify", "pg"))
        found["Node"] = f"{output('node', '--version')}, {names}"
    if "fastapi" not in absent and VENV.exists():
        pins = dict(line.split("==") for line in (FASTAPI / "requirements.txt").read_text().split() if "==" in line)
        names = ", ".join(f"{name} {pins[name]}" for name in ("fastapi", "uvicorn", "uvloop", "asyncpg"))
        found["Python"] = f"{output(VENV / 'bin/python', '--version').split()[1]}, {names}"
    return found


def crate(name):
    """Its version in the server's Cargo.lock."""
    text = (ROOT / "Cargo.lock").read_text()
    return f"{name} " + re.search(rf'^name = "{name}"\nversion = "(.+)"$', text, re.M)[1]
