"""All runs of a mode: in rounds, each in another order, so that no contender has the good or the bad hour for itself."""

import random
import sys
from dataclasses import dataclass

from . import machine
from .contenders import CONTENDERS
from .distributed import NODE_SETTINGS, ONE_NODE, THREE_NODES
from .measure import BESIDE, MATCH, MIX, ONE, OTHERS, STREAM, Run, measure, table_before
from .postgres import PLAIN, READS, SIZED

# Repeats of noisy runs in all, as a share of the runs: a machine that is never quiet must come to an end too.
REPEATS = 0.15
ATTEMPTS = 3
# Seconds that a run takes besides warm-up and figures: database, server, settling, verification. Measured on two cores.
OVERHEAD = {0: 5, READS: 6, 1_000_000: 8, 5_000_000: 18}
# Seconds to make a template.
SEEDING = {0: 5, READS: 40, 1_000_000: 20, 5_000_000: 200}
# After a checkpoint, which comes with a fresh database, the first change of each page is written to the log whole. In a small
# table that is over within the warm-up. In these it takes longer, and in life it is the exception.
LONG_WARM_UP = 10.0
# By sql/requests.sql: what is asked for and how many relations the customer has.
SHORT_READS = ("page-10", "page-100000", "name-10", "email-10", "letters-10", "detail")
# Those that take a contender long: without this there might be no answer at all within the time that is measured.
LONG_READS = ("name-100000", "email-100000", "letters-100000")
# The first pages that an owner sees most, and the one that needs no list.
DISTRIBUTED_READS = ("page-10", "name-10", "detail")
READERS = ("customer-match", "one-statement", "fastify-2", "fastapi")


@dataclass(frozen=True)
class Plan:
    name: str
    rounds: int
    runs: list

    def sizes(self):
        """The templates for each kind of Postgres; the empty one first."""
        kinds = {run.cluster for run in self.runs}
        return {kind: sorted({0} | {run.template for run in self.runs if run.cluster == kind}, key=str) for kind in kinds}

    def settings(self):
        """What the kinds of Postgres have besides, by a name that says which."""
        kinds = {run.cluster for run in self.runs}
        found = {}
        if any(sized for sized, _ in kinds):
            found |= {f"{name}, sized": value for name, value in SIZED.items()}
        if any(layout != PLAIN for _, layout in kinds):
            found |= {f"{name}, of a node": value for name, value in NODE_SETTINGS.items()}
        return found

    def minutes(self):
        a_round = sum(run.warm_up + run.seconds + OVERHEAD[run.template] for run in self.runs)
        return (self.rounds * a_round + sum(SEEDING[size] for sizes in self.sizes().values() for size in sizes)) / 60


def quick(rounds, seconds):
    names = ("customer-match", "one-statement", "naive")
    return Plan("quick", rounds or 5, [Run(name, 64, 0, 1.5, seconds or 4.0) for name in names])


def full(rounds, seconds):
    seconds = seconds or 5.0
    servers = [name for name in CONTENDERS if not name.startswith("pgbench")]
    runs = [Run(name, connections, 0, 1.5, seconds) for name in servers for connections in (1, 8, 64, 256)]
    runs += [Run("pgbench", clients, 0, 2.0, seconds) for clients in (1, 8, 32)]
    runs += [Run("pgbench-100", clients, 0, 2.0, seconds) for clients in (1, 2)]
    runs += [
        Run(name, 64, relations, LONG_WARM_UP, seconds)
        for name in ("customer-match", "one-statement", "naive")
        for relations in (1_000_000, 5_000_000)
    ]
    runs += [
        Run(name, 64, relations, LONG_WARM_UP, seconds, sized=True)
        for name in ("customer-match", "one-statement")
        for relations in (0, 5_000_000)
    ]
    return Plan("full", rounds or 4, runs)


def reads(rounds, seconds):
    runs = [
        Run(name, connections, 0, warm_up, seconds or length, workload=workload)
        for workloads, warm_up, length in ((SHORT_READS, 1.0, 3.0), ((MIX,), 1.0, 4.0), (LONG_READS, 4.0, 8.0))
        for workload in workloads
        for name in READERS
        for connections in (8, 64)
    ]
    return Plan("reads", rounds or 3, runs)


def stream(rounds, seconds):
    # The stream's bytes wait in sockets before the server reads them: that many must have come to rest.
    runs = [
        Run(name, connections, 0, 4.0, seconds or 6.0, workload=workload)
        for name, connections, workload in (
            # Its calls count for the limits of keys, so they are of many.
            ("ceiling", 256, OTHERS),
            ("customer-match", 256, ONE),
            ("customer-match", 0, STREAM),
            ("customer-match", 64, OTHERS),
            ("customer-match", 64, BESIDE),
        )
    ]
    return Plan("stream", rounds or 5, runs)


def distributed(rounds, seconds):
    runs = [
        Run("customer-match", connections, 0, 1.5, seconds or 4.0, workload=workload, layout=layout)
        for workload, connections in ((MATCH, 64), (MATCH, 256), *((read, 16) for read in DISTRIBUTED_READS))
        for layout in (PLAIN, ONE_NODE, THREE_NODES)
    ]
    return Plan("distributed", rounds or 3, runs)


def carry_out(plan, clusters, save):
    """Returns the results, in the order of the runs; `save` gets them after each round. A run that was repeated because of
    noise stays in them, marked."""
    results = []
    folder = next(iter(clusters.values())).folder
    best = min(machine.calibrate(folder)["cpu_ms"] for _ in range(5))
    repeats = round(REPEATS * plan.rounds * len(plan.runs))
    for number in range(1, plan.rounds + 1):
        order = list(plan.runs)
        random.Random(number).shuffle(order)
        for run in order:
            for attempt in range(1, ATTEMPTS + 1):
                # The pairs depend on the round only: every contender of a round is asked for the same.
                result = measure(run, clusters[run.cluster], number, best) | {"round": number, "attempt": attempt, "repeated": False}
                results.append(result)
                best = min(best, result["cpu_ms"])
                say(result, plan.rounds)
                if not result["noisy"] or attempt == ATTEMPTS or repeats == 0:
                    break
                repeats -= 1
                result["repeated"] = True
        save(results)
    return results


def say(result, rounds):
    where = f"{result['round']}/{rounds} {result['contender']} at {result['connections']}, {table_before(result)}"
    if result["failed"]:
        text = "FAILED: " + "; ".join(result["failed"])
    else:
        text = f"{result['per_second']:,.0f} a second" + "".join(f" ({reason})" for reason in result["noisy"])
    print(f"{where}: {text}", file=sys.stderr, flush=True)
