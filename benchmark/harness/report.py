"""The pages: README.md with the figures, two pictures, both from rounds.json, which holds every run."""

import statistics

from . import chart
from .contenders import CONTENDERS
from .distributed import ONE_NODE, THREE_NODES
from .measure import LOAD, MATCH, table_before, workload
from .postgres import PLAIN
from .summary import FASTIFY, MEMORY, P50, P99, PER_SECOND, Summary, cpu, database_cpu, distributed_targets, read_targets, stream_targets
from .summary import targets, workers_cpu

# One line of the pictures each. Of Fastify's two the better one counts.
LINES = [
    (CONTENDERS["ceiling"].label, ("ceiling",)),
    ("customer-match", ("customer-match",)),
    (CONTENDERS["one-statement"].label, ("one-statement",)),
    (CONTENDERS["naive"].label, ("naive",)),
    ("Fastify + pg, best of 1 and 2", FASTIFY),
    (CONTENDERS["fastapi"].label, ("fastapi",)),
    (CONTENDERS["pgbench"].label, ("pgbench",)),
]


def write(data, out):
    if data["mode"] == "stream":
        write_stream(data, out)
        return
    if data["mode"] == "distributed":
        write_distributed(data, out)
        return
    summary, sized = Summary(data["results"]), Summary(data["results"], sized=True)
    # In the order of the plan's first round, which is shuffled: by name.
    names = sorted({workload(result) for result in data["results"]} - {MATCH}, key=lambda name: (name.rpartition("-")[2], name))
    reads = {name: Summary(data["results"], workload=name) for name in names}
    pictures = [
        ("throughput", "Durable matches a second", "a second", PER_SECOND, 1),
        ("p99", "The slowest of a hundred answers (p99)", "milliseconds", P99, 1000),
    ]
    sections = [heading(data), target_table(targets(summary, sized) + read_targets(reads))]
    for name, title, unit, value, divisor in pictures:
        lines = [(label, line(summary, names, value, divisor)) for label, names in LINES]
        # One number of connections, as in quick mode, makes no line.
        if any(len(points) > 1 for _, points in lines):
            (out / f"{name}.svg").write_text(chart.draw(title, unit, lines, "customer-match"))
            sections.append(f"![{title}, by connections]({name}.svg)\n")
    sections += [throughput(summary), latency(summary), sizes(summary, "as initdb makes it")]
    sections += [sizes(sized, "with 2 GB of buffers"), resources(summary), *read_tables(reads), trust(data)]
    sections += [circumstances(data), all_rounds(data)]
    (out / "README.md").write_text("\n".join(section for section in sections if section))


def write_stream(data, out):
    summaries = {name: Summary(data["results"], workload=name) for name in LOAD}
    figures = [
        (PER_SECOND, "{:,.0f}", 1),
        (lambda result: result["streamed_per_second"], "{:,.0f}", 1),
        (P50, "{:.2f}", 1000),
        (P99, "{:.2f}", 1000),
        (cpu("server"), "{:.0f}", 1),
        (cpu("Postgres"), "{:.0f}", 1),
        (MEMORY, "{:.0f}", 1),
    ]
    rows = [
        [f"{CONTENDERS[key[0]].label}: {name}", key[1]] + [cell(summary, key, *figure) for figure in figures]
        for name, summary in summaries.items()
        for key in sorted(summary.by_key)
    ]
    head = ["", "connections", "a second", "of the stream", "p50 ms", "p99 ms", "server µs", "Postgres µs", "peak memory MB"]
    note = "CPU is for a match; beside the stream, for a single call and the lines in its time together.\n"
    sections = [heading(data), target_table(stream_targets(summaries)), table("One stream of matches", head, rows), note]
    (out / "README.md").write_text("\n".join([*sections, trust(data), circumstances(data), all_rounds(data)]))


def write_distributed(data, out):
    names = sorted({workload(result) for result in data["results"]}, key=lambda name: (name != MATCH, name))
    layouts = (PLAIN, ONE_NODE, THREE_NODES)
    summaries = {(name, layout): Summary(data["results"], workload=name, layout=layout) for name in names for layout in layouts}
    # Plain Postgres is what a coordinator without workers is.
    first_node = lambda result: cpu("coordinator" if "coordinator" in result["cpu_seconds"] else "Postgres")(result)
    figures = [
        (PER_SECOND, "{:,.0f}", 1),
        (P50, "{:.2f}", 1000),
        (P99, "{:.2f}", 1000),
        (first_node, "{:,.0f}", 1),
        (workers_cpu, "{:,.0f}", 1),
        (database_cpu, "{:,.0f}", 1),
        (cpu("server"), "{:,.0f}", 1),
        (MEMORY, "{:.0f}", 1),
    ]
    head = ["", "connections", "a second", "p50 ms", "p99 ms", "Postgres or coordinator µs", "workers µs", "database µs", "server µs"]
    head.append("peak memory MB")
    tables = []
    for name in names:
        keys = sorted({key for layout in layouts for key in summaries[name, layout].by_key})
        rows = [
            [layout, key[1]] + [cell(summaries[name, layout], key, *figure) for figure in figures] for key in keys for layout in layouts
        ]
        tables.append(table("Matches" if name == MATCH else name, head, rows))
    note = "CPU is for a request, of all processes of a part together; the database is the coordinator and the workers.\n"
    sections = [heading(data), target_table(distributed_targets(summaries)), *tables, note, trust(data), circumstances(data)]
    (out / "README.md").write_text("\n".join([*sections, all_rounds(data)]))


def line(summary, names, value, divisor):
    """Median by connections, on the empty table."""
    points = {}
    for connections in sorted({key[1] for key in summary.by_key}):
        key = summary.best(names, connections)
        # pgbench has no p99.
        if key and not (value is P99 and CONTENDERS[key[0]].needs == "postgres"):
            points[connections] = summary.figure(key, value).median / divisor
    return points


def heading(data):
    return (
        f"# Benchmark: {data['mode']} run of {data['date']}\n\n"
        f"Written by `benchmark/run`; what is measured and why it is fair is in [benchmark/README.md](../README.md).\n"
        f"Figures are medians of {data['rounds']} rounds, in brackets the lowest and the highest; ratios are made within a round.\n"
    )


def target_table(targets):
    rows = []
    for target in targets:
        sign = "≤" if target.at_most else "≥"
        rows.append([target.label, spread(target.figure, "{:.2f}"), f"{sign} {target.floor:g}", f"{sign} {target.stretch:g}", target.met()])
    return table("customer-match against the figures to reach (at 64 connections unless said)",
                 ["", "measured", "at least", "stretch", ""], rows)


def throughput(summary):
    return by_connections(summary, "Acknowledged and durable, a second", PER_SECOND, "{:,.0f}", 1, CONTENDERS)


def latency(summary):
    servers = [name for name, contender in CONTENDERS.items() if contender.needs != "postgres"]
    return by_connections(summary, "p50, milliseconds", P50, "{:.2f}", 1000, servers) + "\n" + by_connections(
        summary, "p99, milliseconds", P99, "{:.2f}", 1000, servers
    )


def by_connections(summary, title, value, pattern, divisor, names):
    keys = [key for key in summary.by_key if key[2] == 0 and key[0] in names]
    columns = sorted({key[1] for key in keys})
    rows = []
    for name in names:
        if any(key[0] == name for key in keys):
            rows.append([CONTENDERS[name].label] + [cell(summary, (name, c, 0), value, pattern, divisor) for c in columns])
    return table(f"{title}, by connections", ["", *columns], rows)


def sizes(summary, postgres):
    columns = sorted({key[2] for key in summary.by_key})
    if len(columns) < 2:
        return ""
    names = [name for name in CONTENDERS if any(key[0] == name and key[2] > 0 for key in summary.by_key)]
    rows = [[CONTENDERS[n].label] + [cell(summary, (n, 64, size), PER_SECOND, "{:,.0f}") for size in columns] for n in names]
    return table(f"A second at 64 connections, by relations in the table before; Postgres {postgres}", ["", *(f"{c:,}" for c in columns)], rows)


def resources(summary):
    """At 64 connections; pgbench at its most clients."""
    rows = []
    for name, contender in CONTENDERS.items():
        keys = [key for key in summary.by_key if key[0] == name and key[2] == 0 and key[1] <= 64 and summary.rounds(key)]
        if not keys:
            continue
        key = max(keys, key=lambda key: key[1])
        runs = summary.rounds(key).values()

        def micros(part):
            used = [run["cpu_seconds"][part] / run["requests"] * 1e6 for run in runs if part in run["cpu_seconds"]]
            return f"{statistics.median(used):,.0f}" if used else ""

        memory = summary.figure(key, MEMORY) if "memory_mb" in next(iter(runs)) else None
        idle = statistics.median(run["idle"] for run in runs)
        parts = [micros("server"), micros("Postgres"), micros("load"), f"{idle:.0%}"]
        rows.append([contender.label, key[1], *parts, spread(memory, "{:.0f}") if memory else ""])
    head = ["", "connections", "server µs", "Postgres µs", "load µs", "machine idle", "peak memory MB"]
    return table("CPU for one match, and memory of all processes of the server", head, rows)


def read_tables(reads):
    """For each number of connections, a line for each workload and a column for each contender."""
    figures = [
        ("Requests a second", PER_SECOND, "{:,.0f}", 1),
        ("p50, milliseconds", P50, "{:.2f}", 1000),
        ("p99, milliseconds", P99, "{:.2f}", 1000),
        ("Postgres' CPU for a request, µs", cpu("Postgres"), "{:,.0f}", 1),
    ]
    keys = {key for summary in reads.values() for key in summary.by_key}
    names = [name for name in CONTENDERS if any(key[0] == name for key in keys)]
    for connections in sorted({key[1] for key in keys}):
        for title, value, pattern, divisor in figures:
            rows = [
                [workload] + [cell(summary, (name, connections, 0), value, pattern, divisor) for name in names]
                for workload, summary in reads.items()
            ]
            yield table(f"{title}, by workload, {connections} connections", ["", *(CONTENDERS[name].label for name in names)], rows)


def trust(data):
    """What speaks against the figures."""
    results = data["results"]
    failed = [result for result in results if result["failed"]]
    lines = [f"- {label(result)}: **failed**: {'; '.join(result['failed'])}" for result in failed]
    repeated = sum(result["repeated"] for result in results)
    noisy = [result for result in results if result["noisy"] and not result["repeated"]]
    counted = [result for result in results if not result["repeated"]]
    lines.append(f"- {len(results)} runs, {len(failed)} failed; {repeated} were noisy and were repeated.")
    lines += [f"- {label(result)}: counted although noisy: {', '.join(result['noisy'])}" for result in noisy[:10]]
    if len(noisy) > 10:
        lines.append(f"- … and {len(noisy) - 10} more.")
    if len(noisy) > len(counted) / 10:
        lines.append("- **The machine was noisy: these figures are not to be quoted.**")
    for name, words in (("cpu_ms", "a fixed piece of work, ms"), ("sync_us", "8 KB made durable, µs")):
        values = sorted(result[name] for result in results)
        lines.append(f"- Before each run, {words}: {values[0]:g} … {statistics.median(values):g} … {values[-1]:g}.")
    lines += [f"- Absent: {CONTENDERS[name].label}: {reason}" for name, reason in data["absent"].items()]
    return "## How far to trust it\n\n" + "\n".join(lines) + "\n"


def circumstances(data):
    rows = [*data["machine"].items(), *data["versions"].items()]
    rows += [(f"Postgres: {name}", value or "(none)") for name, value in data["settings"].items()]
    return table("Machine, versions, settings", ["", ""], [[name, value] for name, value in rows])


def all_rounds(data):
    """One line for each run, in the order in which they were made."""
    rows = []
    for result in data["results"]:
        figures = [""] * 4
        if not result["failed"]:
            times = [f"{result[name] / 1000:.2f}" if name in result else "" for name in ("p50_us", "p99_us", "max_us")]
            figures = [f"{result['per_second']:,.0f}", *times]
        remark = "failed" if result["failed"] else "repeated" if result["repeated"] else "noisy" if result["noisy"] else ""
        who = [result["contender"], result["connections"], table_before(result)]
        rows.append([result["round"], *who, *figures, result["cpu_ms"], result["sync_us"], remark])
    head = ["round", "contender", "connections", "table before", "a second", "p50 ms", "p99 ms", "max ms", "CPU ms", "sync µs", ""]
    return "<details><summary>All runs</summary>\n\n" + table("", head, rows) + "\n</details>\n"


def label(result):
    return f"round {result['round']}, {result['contender']} at {result['connections']}, {table_before(result)}"


def cell(summary, key, value, pattern, divisor=1):
    if summary.failed(key):
        return "failed"
    rounds = summary.rounds(key).values()
    if any(result["requests"] == 0 for result in rounds):
        return "no answer in time"
    return spread(summary.figure(key, lambda result: value(result) / divisor), pattern)


def spread(figure, pattern):
    if figure is None:
        return "–"
    low, middle, high = (pattern.format(value) for value in (figure.lowest, figure.median, figure.highest))
    return f"{middle} ({low}–{high})"


def table(title, head, rows):
    if not rows:
        return ""
    row = lambda cells: "| " + " | ".join(map(str, cells)) + " |"
    lines = [row(head), row(["---"] * len(head)), *map(row, rows)]
    return (f"## {title}\n\n" if title else "") + "\n".join(lines) + "\n"
