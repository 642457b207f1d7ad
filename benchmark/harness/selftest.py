"""Breaks the promise on purpose, in every way that the verification claims to notice."""

import re
import sys
from unittest import mock

from . import measure
from .contenders import CONTENDERS, Server
from .measure import STREAM, Run
from .process import Failed

RUN = Run("one-statement", 8, 0, 0.2, 0.5)

# Acknowledges and writes nothing.
LIAR = """
import asyncio, os

async def lie(reader, writer):
    try:
        while head := await reader.readuntil(b"\\r\\n\\r\\n"):
            await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\\r")[0]))
            writer.write(b'HTTP/1.1 200 OK\\r\\ncontent-length: 16\\r\\n\\r\\n{"success":true}')
    except asyncio.IncompleteReadError:
        writer.close()

async def main():
    server = await asyncio.start_server(lie, "127.0.0.1", int(os.environ["PORT"]))
    await server.serve_forever()

asyncio.run(main())
"""

ONE_ROW = "(select ctid from customer_match order by low_cu_ref_no limit 1)"
# What is done to the table after an honest run, and the objection that must follow.
TAMPERING = {
    "a lost row": (f"delete from customer_match where ctid = {ONE_ROW}", "not in the table"),
    "a row that nobody asked for": (
        "insert into customer_match (organisation_id, low_cu_ref_no, high_cu_ref_no, low_is_manager, high_is_manager, notice,"
        " created_at, matched_at, updated_at)"
        " select 1, least(a, b), greatest(a, b), true, false, 'x', now(), now(), now()"
        " from (select benchmark.cu_ref_no(1) as a, benchmark.cu_ref_no(701) as b) as pair",
        "never acknowledged",
    ),
    "a mirrored double": (
        "alter table customer_match drop constraint customer_match_canonical_order;"
        "insert into customer_match (organisation_id, low_cu_ref_no, high_cu_ref_no, low_is_manager, high_is_manager, notice,"
        " created_at, matched_at, updated_at)"
        " select organisation_id, high_cu_ref_no, low_cu_ref_no, high_is_manager, low_is_manager, notice,"
        f" created_at, matched_at, updated_at from customer_match where ctid = {ONE_ROW}",
        "doubles",
    ),
    "another's notice": (
        f"update customer_match set notice = 'Met on the course, 999999999' where ctid = {ONE_ROW}",
        "not what was acknowledged",
    ),
    "the wrong manager": (
        "update customer_match set low_is_manager = not low_is_manager, high_is_manager = not high_is_manager"
        f" where ctid = {ONE_ROW}",
        "not what was acknowledged",
    ),
    "an inactive relation": (
        f"update customer_match set deactivated_at = now(), updated_at = now() where ctid = {ONE_ROW}",
        "not what was acknowledged",
    ),
}
# What is changed in the expected answers: path, first reference, items, number of all.
WRONG_READS = {
    "another first item": (r"\t\d{16}\t", "\t0000000000000000\t"),
    "another number of items": (r"\t10\t10$", "\t9\t10"),
    "another itemCount": (r"\t10\t10$", "\t10\t11"),
}


def self_test(cluster):
    """Raises when a broken run is believed or an honest one is not."""
    honest = measure.measure(RUN, cluster, 1, 1e9)
    check("an honest run", honest, None)
    rejected = measure.measure(Run("ceiling", 8, 0, 0.2, 0.5), cluster, 1, 1e9)
    check("a run of rejected requests", rejected, None)
    liar = Server("liar", [sys.executable, "-c", LIAR])
    with mock.patch.dict(CONTENDERS, {"liar": liar}):
        check("a server that writes nothing", measure.measure(Run("liar", 8, 0, 0.2, 0.5), cluster, 1, 1e9), "not in the table")
    for name, (sql, objection) in TAMPERING.items():
        check(name, measure_tampered(cluster, sql), objection)
    stream = Run("customer-match", 0, 0, 0.2, 0.5, workload=STREAM)
    check("a stream", measure.measure(stream, cluster, 1, 1e9), None)
    sql, objection = TAMPERING["a lost row"]
    check("a lost row of a stream", measure_tampered(cluster, sql, stream), objection)
    for workload in ("page-10", "detail", "mix"):
        check(f"reads: {workload}", measure.measure(Run("one-statement", 8, 0, 0.2, 0.5, workload=workload), cluster, 1, 1e9), None)
    for name, (old, new) in WRONG_READS.items():
        check(name, measure_wrong_read(cluster, old, new), "no proper answer")


def measure_tampered(cluster, sql, run=RUN):
    """An honest run, but the table is changed before the verification."""
    verify = measure.verify

    def tamper(cluster, answers):
        cluster.psql("-c", sql, database=measure.RUN)
        return verify(cluster, answers)

    with mock.patch.object(measure, "verify", tamper):
        return measure.measure(run, cluster, 1, 1e9)


def measure_wrong_read(cluster, old, new):
    """A run of reads that are expected to be answered otherwise than they are."""
    requests = cluster.requests("page-10")
    right = requests.read_text()
    requests.write_text(re.sub(old, new, right, flags=re.M))
    try:
        return measure.measure(Run("one-statement", 8, 0, 0.2, 0.5, workload="page-10"), cluster, 1, 1e9)
    finally:
        requests.write_text(right)


def check(name, result, objection):
    failed = "; ".join(result["failed"])
    if (objection is None and failed) or (objection is not None and objection not in failed):
        raise Failed(f"self-test: {name}: expected {objection or 'no objection'}, got {failed or 'none'}")
    print(f"{name}: {'rejected: ' + failed if failed else 'accepted'}")
