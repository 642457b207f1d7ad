"""From runs to figures: medians over the rounds, ratios of contenders within a round, and the figures to reach."""

import statistics
from dataclasses import dataclass

from .distributed import ONE_NODE, THREE_NODES
from .measure import BESIDE, MATCH, ONE, OTHERS, STREAM, layout as layout_of, workload as workload_of
from .postgres import PLAIN

# What is read from a run.
PER_SECOND = lambda result: result["per_second"]
P50 = lambda result: result["p50_us"]
P99 = lambda result: result["p99_us"]
MEMORY = lambda result: result["memory_mb"]


def cpu(part):
    """Microseconds of a request that this part of the machine's processes used."""
    return lambda result: result["cpu_seconds"][part] / result["requests"] * 1e6


def workers_cpu(result):
    """Of a request, by all workers together."""
    used = [seconds for part, seconds in result["cpu_seconds"].items() if part.startswith("worker")]
    return sum(used) / result["requests"] * 1e6


def database_cpu(result):
    """Of a request, by all nodes of the database together."""
    used = [seconds for part, seconds in result["cpu_seconds"].items() if part not in ("server", "load")]
    return sum(used) / result["requests"] * 1e6


@dataclass(frozen=True)
class Figure:
    """A median and what it is the median of."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values):
        return cls(statistics.median(values), min(values), max(values)) if values else None


class Summary:
    """Of the runs of one workload on one kind of Postgres."""

    def __init__(self, results, sized=False, workload=MATCH, layout=PLAIN):
        self.by_key = {}
        for result in results:
            kind = (result["sized"], workload_of(result), layout_of(result))
            if not result["repeated"] and kind == (sized, workload, layout):
                key = (result["contender"], result["connections"], result["relations"])
                self.by_key.setdefault(key, {})[result["round"]] = result

    def failed(self, key):
        return any(result["failed"] for result in self.by_key.get(key, {}).values())

    def rounds(self, key):
        """The runs by round. A contender that failed once has no figure: what it acknowledges cannot be relied on."""
        return {} if self.failed(key) else self.by_key.get(key, {})

    def figure(self, key, value):
        return Figure.of([value(result) for result in self.rounds(key).values()])

    def best(self, names, connections, relations=0):
        """The key of the contender with the highest throughput, or None."""
        keys = [(name, connections, relations) for name in names]
        keys = [key for key in keys if self.rounds(key)]
        return max(keys, key=lambda key: self.figure(key, PER_SECOND).median, default=None)

    def ratio(self, key, other, value=PER_SECOND):
        """Of runs of the same round, which were near each other in time."""
        return self.over(key, self, other, value)

    def over(self, key, summary, other, value=PER_SECOND):
        """The ratio to a figure of another summary."""
        ours, theirs = self.rounds(key), summary.rounds(other)
        both = [(value(ours[number]), value(theirs[number])) for number in ours.keys() & theirs.keys()]
        # A contender may have had no answer in the time that was measured.
        return Figure.of([of_ours / of_theirs for of_ours, of_theirs in both if of_theirs > 0])


@dataclass(frozen=True)
class Target:
    """A figure to reach, and what became of it."""

    label: str
    floor: float
    stretch: float
    at_most: bool
    figure: Figure | None

    def met(self):
        if self.figure is None:
            return "not measured"
        reaches = lambda limit: self.figure.median <= limit if self.at_most else self.figure.median >= limit
        return "**stretch met**" if reaches(self.stretch) else "met" if reaches(self.floor) else "**not met**"


FASTIFY = ("fastify-1", "fastify-2")


def targets(summary, sized):
    """The figures to reach, at 64 connections unless said otherwise."""
    ours = ("customer-match", 64, 0)

    def over(label, other, floor, stretch):
        return Target(f"over {label}", floor, stretch, False, summary.ratio(ours, other))

    def at(name, connections, relations=0):
        return (name, connections, relations)

    if not summary.by_key:
        return []
    return [
        Target("Postgres' CPU for a match, µs", 42.0, 35.0, True, summary.figure(ours, cpu("Postgres"))),
        Target("server's CPU for a match, µs", 36.0, 30.0, True, summary.figure(ours, cpu("server"))),
        over("one statement a request (sqlx pool)", at("one-statement", 64), 3.7, 5.0),
        over("Fastify + pg", summary.best(FASTIFY, 64), 4.0, 5.0),
        over("FastAPI + asyncpg", at("fastapi", 64), 7.5, 9.0),
        over("pgbench, single statement, 32 clients", at("pgbench", 32), 3.0, 4.0),
        Target("of the HTTP ceiling, 256 connections", 0.36, 0.45, False,
               summary.ratio(at("customer-match", 256), at("ceiling", 256))),
        Target("p50 at 1 connection, against one statement a request", 1.0, 0.95, True,
               summary.ratio(at("customer-match", 1), at("one-statement", 1), P50)),
        Target("throughput at 5 million rows against an empty table, Postgres as initdb makes it", 0.85, 0.95, False,
               summary.ratio(at("customer-match", 64, 5_000_000), ours)),
        Target("the same, Postgres with 2 GB of buffers", 0.85, 0.95, False,
               sized.ratio(at("customer-match", 64, 5_000_000), ours)),
        Target("peak memory of the server, MB", 25.0, 20.0, True, summary.figure(ours, MEMORY)),
    ]


def read_targets(reads):
    """No read is slower than the statement that a team would write. `reads` has a summary for each workload."""
    return [
        Target(f"{workload}, {connections} connections, over {label}", 1.0, 2.0, False,
               summary.ratio(("customer-match", connections, 0), (other, connections, 0)))
        for workload, summary in reads.items()
        for connections in sorted({key[1] for key in summary.by_key})
        for other, label in (("one-statement", "axum + sqlx"), ("fastify-2", "Fastify + pg"), ("fastapi", "FastAPI + asyncpg"))
    ]


def stream_targets(summaries):
    """Of one stream of matches. `summaries` has one for each of its workloads."""
    stream, single, ceiling = ("customer-match", 0, 0), ("customer-match", 256, 0), ("ceiling", 256, 0)
    others = ("customer-match", 64, 0)
    used = lambda result: cpu("server")(result) + cpu("Postgres")(result)
    by_round = lambda workload, key, value: {n: value(run) for n, run in summaries[workload].rounds(key).items()}

    def over(ours, theirs):
        return Figure.of([ours[number] / theirs[number] for number in ours.keys() & theirs.keys()])

    streamed, called = by_round(STREAM, stream, used), by_round(ONE, single, used)
    http = by_round(OTHERS, ceiling, cpu("server"))
    group_commit = {number: called[number] - http[number] for number in called.keys() & http.keys()}
    return [
        Target("matches a second in one stream", 20_000, 30_000, False, summaries[STREAM].figure(stream, PER_SECOND)),
        Target("CPU of server and Postgres for a match of the stream, over a single call of 256 without its HTTP", 1.5, 1.2, True,
               over(streamed, group_commit)),
        Target("the same over a whole single call", 1.0, 0.8, True, over(streamed, called)),
        Target("p99 of single calls of other organisations at 64 connections, with the stream over without", 2.0, 1.5, True,
               over(by_round(BESIDE, others, P99), by_round(OTHERS, others, P99))),
    ]


def distributed_targets(summaries):
    """Of a database on several nodes. `summaries` has one for each workload and layout."""
    plain = {workload: summary for (workload, layout), summary in summaries.items() if layout == PLAIN}

    def over_plain(workload, layout, connections, floor, stretch):
        name = "a match" if workload == MATCH else workload
        key = ("customer-match", connections, 0)
        figure = summaries[workload, layout].over(key, plain[workload], key, database_cpu)
        return Target(f"the database's CPU for {name}, {layout}, over plain", floor, stretch, True, figure)

    coordinator = summaries[MATCH, THREE_NODES].figure(("customer-match", 64, 0), cpu("coordinator"))
    return [
        over_plain(MATCH, ONE_NODE, 64, 4.0, 3.0),
        over_plain(MATCH, THREE_NODES, 64, 4.0, 3.0),
        Target("the coordinator's CPU for a match, three nodes, µs", 20.0, 15.0, True, coordinator),
        *(over_plain(read, layout, 16, 3.0, 2.0) for read in ("page-10", "name-10") for layout in (ONE_NODE, THREE_NODES)),
    ]
