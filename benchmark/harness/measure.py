"""One run: a fresh database, a fresh server, load, and the verification of what was written."""

import json
import re
import subprocess
from dataclasses import asdict, dataclass

from . import machine
from .contenders import CONTENDERS, RUST, Pgbench, pgbench_script
from .postgres import PLAIN, READS, RELATIONS_READ, RUN, SQL
from .process import Failed, free_port, running, tail, wait_for_port

# Share of the machine's CPU that others may take, and how much slower than at its best the calibration may be, before the
# figures of a run are not to be trusted.
NOISE = 0.05
SLOWER = 1.25
# What else there is, see sql/requests.sql, is read. In the mix one of ten requests is a match.
MATCH = "match"
MIX = "mix"
# Matches too, but of one organisation: by single calls, by one stream; or of all others by single calls, without and with that stream.
ONE = "one organisation"
STREAM = "one stream"
OTHERS = "the others"
BESIDE = "the others beside the stream"
LOAD = {
    ONE: ["--last-organisation=1"],
    STREAM: ["--stream-of=1"],
    OTHERS: ["--first-organisation=2"],
    BESIDE: ["--first-organisation=2", "--stream-of=1"],
}


@dataclass(frozen=True)
class Run:
    """What is measured."""

    contender: str
    connections: int
    relations: int
    warm_up: float
    seconds: float
    # On a Postgres with buffers for its tables, not on what initdb makes.
    sized: bool = False
    workload: str = MATCH
    # Of the nodes of the database, see distributed.py.
    layout: str = PLAIN

    @property
    def cluster(self):
        """What kind of Postgres it needs."""
        return (self.sized, self.layout)

    @property
    def template(self):
        return self.relations if self.workload in (MATCH, *LOAD) else READS


def table_before(result):
    """What a run finds, for the reader."""
    name = workload(result) if workload(result) != MATCH else f"{result['relations']:,} rows"
    return name + (", sized" if result["sized"] else "") + (f", {layout(result)}" if layout(result) != PLAIN else "")


def workload(result):
    """Reports of earlier versions do not name it."""
    return result.get("workload", MATCH)


def layout(result):
    """See workload."""
    return result.get("layout", PLAIN)


def measure(run, cluster, seed, best_cpu_ms):
    """The figures of a run with all that is known about it. `failed` says why there are none, `noisy` why they are doubtful."""
    contender = CONTENDERS[run.contender]
    result = asdict(run) | {"failed": [], "noisy": []}
    cluster.reset(run.template)
    machine.settle()
    calibration = machine.calibrate(cluster.folder)
    result |= calibration
    try:
        measured = (pgbench if isinstance(contender, Pgbench) else serve)(run, contender, cluster, seed)
    except Failed as error:
        result["failed"].append(str(error))
        return result
    result["failed"] += measured.pop("failed")
    result |= measured
    if result["others"] > NOISE:
        result["noisy"].append(f"other processes took {result['others']:.0%} of the machine")
    if calibration["cpu_ms"] > SLOWER * best_cpu_ms:
        result["noisy"].append(f"the CPU was {calibration['cpu_ms'] / best_cpu_ms:.2f} times slower than at its best")
    return result


def serve(run, contender, cluster, seed):
    port = free_port()
    log, answers = cluster.folder / "server.log", cluster.folder / "answers"
    log.unlink(missing_ok=True)
    command = [str(part).replace("{port}", str(port)) for part in contender.command]
    environment = cluster.environment() | contender.environment | {"PORT": str(port)}
    with running(command, log, env=environment) as server:
        wait_for_port(port, server, log)
        load = [RUST / "load", f"--address=127.0.0.1:{port}", f"--connections={run.connections}", f"--seed={seed}"]
        load += [f"--warm-up={run.warm_up}", f"--seconds={run.seconds}", f"--answers={answers}"]
        load += ["--rejected"] if contender.rejected else []
        load += [f"--reads={cluster.requests(run.workload)}"] if run.template == READS else []
        load += ["--matches-of-ten=1"] if run.workload == MIX else []
        load += LOAD.get(run.workload, [])
        load_log = cluster.folder / "load.log"
        load_log.unlink(missing_ok=True)
        with running(load, load_log, stdout=subprocess.PIPE) as generator:
            roots = {"server": server.pid, "load": generator.pid} | cluster.roots()
            expect(generator, "measuring", load_log)
            before = machine.Snapshot.take()
            expect(generator, "measured", load_log)
            after = machine.Snapshot.take()
            line = generator.stdout.readline()
            if generator.wait() != 0:
                raise Failed(f"the load generator failed: {tail(load_log)}")
        memory = machine.peak_memory_mb(server.pid)
        if server.poll() is not None:
            raise Failed(f"the server ended by itself:\n{tail(log)}")
    figures = json.loads(line)
    # Of a stream alone the lines are what is measured, beside single calls only what they are beside.
    figures["requests"] = figures["requests"] or figures["streamed"]
    figures |= machine.usage(before, after, roots) | {
        "per_second": round(figures["requests"] / figures["seconds"], 1),
        "streamed_per_second": round(figures["streamed"] / figures["seconds"], 1),
        "memory_mb": memory,
    }
    verified = verify(cluster, answers)
    wanted = "422" if contender.rejected else "200"
    failed = objections(verified, RELATIONS_READ if run.template == READS else run.relations)
    failed += [
        f"{count} requests were answered {status}" if status != "0" else f"{count} requests had no proper answer: {tail(load_log, 1).strip()}"
        for status, count in figures["statuses"].items()
        if status != wanted
    ]
    return figures | {"verified": verified, "failed": failed}


def expect(generator, word, log):
    if generator.stdout.readline().strip() != word.encode():
        raise Failed(f"the load generator failed: {tail(log)}")


def verify(cluster, answers):
    """What SQL says of the answers."""
    with open(answers) as file:
        return json.loads(cluster.psql("-f", SQL / "verify.sql", database=RUN, stdin=file))


def objections(verified, relations):
    """Why a run is not what it claims; empty if it is."""
    words = {
        "missing": "acknowledged pairs are not in the table",
        "unasked": "rows were never acknowledged",
        "doubled": "rows are doubles",
        "wrong": "rows are not what was acknowledged",
    }
    found = [f"{verified[name]} {text}" for name, text in words.items() if verified[name]]
    if verified["acknowledged"] != verified["rows"]:
        found.append(f"{verified['acknowledged']} pairs acknowledged, {verified['rows']} rows written")
    if verified["untouched"] != relations:
        found.append(f"{relations - verified['untouched']} rows of the seed were changed")
    return found


def pgbench(run, contender, cluster, seed):
    script, log = cluster.folder / "pgbench.sql", cluster.folder / "pgbench.log"
    script.write_text(pgbench_script(contender))
    log.unlink(missing_ok=True)

    def command(seconds):
        threads = min(run.connections, machine.CORES)
        options = ["-n", "-M", "prepared", "-c", run.connections, "-j", threads, "-T", seconds, "-f", script]
        return [str(part) for part in [cluster.bin_dir / "pgbench", *options, f"--random-seed={seed}", RUN]]

    transactions = 0
    # pgbench knows no warm-up: it is a run before the run, with its own pairs.
    for part in (run.warm_up, run.seconds):
        seed += 1
        before = machine.Snapshot.take()
        with running(command(max(1, round(part))), log, env=cluster.environment(), stdout=subprocess.PIPE) as process:
            roots = {"server": process.pid, "Postgres": cluster.pid}
            # Read before the process is waited for: what it used must still be there to be read.
            output = process.stdout.read().decode()
            after = machine.Snapshot.take()
            if process.wait() != 0:
                raise Failed(f"pgbench failed: {tail(log)}")
        done = int(re.search(r"actually processed: (\d+)", output)[1])
        transactions += done
    figures = machine.usage(before, after, roots)
    versions = int(cluster.psql("-c", "select coalesce(sum(version), 0) from customer_match", database=RUN))
    failed = []
    if versions != transactions * contender.rows:
        failed.append(f"{transactions * contender.rows} rows acknowledged, {versions} writes in the table")
    return figures | {
        "requests": done * contender.rows,
        "per_second": round(float(re.search(r"^tps = ([\d.]+)", output, re.M)[1]) * contender.rows, 1),
        "failed": failed,
    }
