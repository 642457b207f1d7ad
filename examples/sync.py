"""Keeps the relations in a SQLite file and on the server equal, in both directions: python3 sync.py [FILE] [--once]

A new file is filled with customers and relations of its own. They are imported first: each customer by a call of `create`, all
relations by calls of the batch endpoint. Then the program follows the feed of changes and sends what other programs write to the
file (a trigger marks it), until it is ended; with --once until both sides are equal. It may be killed at any moment and goes on
where it was: every call may be sent again, and what a page of the feed says is stored together with its cursor.
"""

import argparse
import json
import os
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

URL = os.environ.get("CUSTOMER_MATCH_URL", "http://127.0.0.1:8080") + "/api/v1/customer/"
KEY = os.environ.get("CUSTOMER_MATCH_KEY", "PRODPGrFxpGEtrOZfuWhnoJohUYBXuOE")
BATCH, NDJSON = "customer-match-customer-batch", "application/x-ndjson"

SCHEMA = """
create table if not exists customer (
  id integer primary key, email text unique, first_name text, last_name text,
  cu_ref_no text unique -- null: the server does not know the customer yet
);
create table if not exists relation (
  id integer primary key,
  manager integer not null references customer,
  customer integer not null references customer,
  role text not null default 'customer', -- both: the customer is a manager too
  notice text,
  active integer not null default 1,
  version integer not null default 0, -- on the server
  changed integer not null default 1, -- counts the changes here
  sent integer not null default 0, -- the last of them that the server has
  error text -- why the server rejected it
);
create unique index if not exists pair on relation (min(manager, customer), max(manager, customer));
create trigger if not exists changed_here after update of role, notice, active on relation
  when new.version = old.version and (new.role, new.notice, new.active) is not (old.role, old.notice, old.active)
  begin update relation set changed = changed + 1 where id = new.id; end;
create table if not exists feed (id integer primary key check (id = 1), cursor text);
insert or ignore into feed values (1, null);
"""


class ApiError(Exception):
    def __init__(self, error):
        super().__init__(f"{error['code']}: {error['message']} {error['description']}")
        self.code = error["code"]


def call(path, body=None, content_type="application/json"):
    """The bytes of an answer. A call is sent again if its connection breaks, and if the server is busy when it says so."""
    request = Request(URL + path, body, {"Authorization": f"Bearer {KEY}", "Content-Type": content_type})
    while True:
        try:
            with urlopen(request, timeout=60) as response:
                return response.read()
        except HTTPError as error:
            if error.code not in (429, 503):
                raise ApiError(json.load(error)["error"]) from None
            time.sleep(int(error.headers.get("Retry-After", 1)))
        except (OSError, HTTPException):
            time.sleep(1)


def fill(db, customers, relations):
    """Customers and relations that the server does not know."""
    rows = ((i, f"c{i}@example.com", "First", f"Last {i}") for i in range(customers))
    db.executemany("insert into customer (id, email, first_name, last_name) values (?, ?, ?, ?)", rows)
    # Each customer manages the next ones.
    pairs = ((i % customers, (i % customers + 1 + i // customers) % customers, f"Notice {i}") for i in range(relations))
    db.executemany("insert into relation (manager, customer, notice) values (?, ?, ?)", pairs)


def push_customers(db):
    """Creates the customers that the server does not know; one that it knows by its e-mail address has a reference already."""

    def create(row):
        names = ("email", "firstName", "lastName")
        body = {name: value for name, value in zip(names, row[1:]) if value is not None}
        return json.loads(call("create", json.dumps(body).encode()))["cuRefNo"], row[0]

    rows = db.execute("select id, email, first_name, last_name from customer where cu_ref_no is null").fetchall()
    with ThreadPoolExecutor(8) as pool:
        for start in range(0, len(rows), 100):
            created = list(pool.map(create, rows[start : start + 100]))
            with db:
                db.executemany("update customer set cu_ref_no = ? where id = ?", created)


def lines(manager, customer, role, notice, active):
    """The lines of a batch that make the relation so. An empty notice clears the one that is there."""
    pair = {"managerCuRefNo": manager, "customerCuRefNo": customer}
    if not active:
        return [{**pair, "operation": "unmatch"}]
    reverse = {"managerCuRefNo": customer, "customerCuRefNo": manager}
    return [{**pair, "notice": notice or ""}] + ([reverse] if role == "both" else [])


def push_relations(db):
    """Sends what was changed here, 1,000 relations a call: so many answers may wait until all is sent. Returns whether there was
    anything."""
    rows = db.execute(
        """select relation.id, changed, m.cu_ref_no, c.cu_ref_no, role, notice, active
           from relation join customer m on m.id = manager join customer c on c.id = customer
           where changed > sent and m.cu_ref_no is not null and c.cu_ref_no is not null limit 1000"""
    ).fetchall()
    if not rows:
        return False
    batch = [(row[0], line) for row in rows for line in lines(*row[2:])]
    body = "".join(json.dumps(line) + "\n" for _, line in batch).encode()
    answers = [json.loads(line) for line in call(BATCH, body, NDJSON).splitlines()]
    # Without its summary the stream was cut, at the line of the last error if there is one.
    end = answers.pop() if answers else {"line": 1}
    left = {relation for relation, _ in batch[end.get("lines", end.get("line", 1) - 1) :]}
    errors = {batch[answer["line"] - 1][0]: answer for answer in answers}
    left |= {relation for relation, answer in errors.items() if "retryAfter" in answer}
    with db:
        for relation, changed, *_ in rows:
            if relation not in left:
                error = errors.get(relation, {}).get("error", {}).get("code")
                db.execute("update relation set sent = ?, error = ? where id = ?", [changed, error, relation])
    if left:
        time.sleep(end.get("retryAfter", 1))
    return True


def customer_id(db, cu_ref_no):
    """The customer here; one that was created on the server is added. None: it was deleted there and never was here."""
    find = "select id from customer where cu_ref_no = ?"
    if db.execute(find, [cu_ref_no]).fetchone() is None:
        try:
            detail = json.loads(call("detail?" + urlencode({"cuRefNo": cu_ref_no})))
        except ApiError as error:
            if error.code != "INTERNAL_RESOURCE_NOT_FOUND":
                raise
            return None
        with db:
            db.execute(
                """insert into customer (cu_ref_no, email, first_name, last_name) values (?, ?, ?, ?)
                   on conflict (email) do update set cu_ref_no = excluded.cu_ref_no""",
                [detail[name] for name in ("cuRefNo", "email", "firstName", "lastName")],
            )
    return db.execute(find, [cu_ref_no]).fetchone()[0]


def pull(db, wait):
    """Stores a page of the feed with its cursor. Returns whether there was anything."""
    (cursor,) = db.execute("select cursor from feed").fetchone()
    query = {"limit": 500, "wait": wait} | ({"cursor": cursor} if cursor else {})
    try:
        page = json.loads(call("match-changes?" + urlencode(query)))
    except ApiError as error:
        if error.code != "PUBLIC_CHANGES_START_AGAIN":
            raise
        # The server has another database: its feed begins with all relations.
        page = {"items": [], "nextCursor": None, "more": True}
    items = [
        (customer_id(db, item["managerCuRefNo"]), customer_id(db, item["customerCuRefNo"]))
        + (item["role"], item["notice"], item["active"], item["version"])
        for item in page["items"]
    ]
    with db:
        db.execute("update feed set cursor = ?", [page["nextCursor"]])
        for item in items:
            if None in item[:2]:
                continue
            stored = db.execute(
                """insert into relation (manager, customer, role, notice, active, version, changed)
                   values (?, ?, ?, ?, ?, ?, 0)
                   on conflict (min(manager, customer), max(manager, customer)) do update set
                     (manager, customer, role, notice, active, version) = (
                       excluded.manager, excluded.customer, excluded.role, excluded.notice, excluded.active, excluded.version
                     )
                   where sent = changed""",
                item,
            )
            if not stored.rowcount:
                # It was changed here meanwhile, which wins: send that first, and read the page again.
                db.rollback()
                return True
    return page["more"] or bool(items)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("file", nargs="?", default="sync.sqlite")
    parser.add_argument("--once", action="store_true", help="end when both sides are equal")
    parser.add_argument("--customers", type=int, default=10_000, help="of a new file")
    parser.add_argument("--relations", type=int, default=50_000, help="of a new file")
    arguments = parser.parse_args()
    db = sqlite3.connect(arguments.file, timeout=60)
    db.executescript(SCHEMA)
    with db:
        if db.execute("select count(*) from customer").fetchone() == (0,):
            fill(db, arguments.customers, arguments.relations)
    idle = False
    while not (idle and arguments.once):
        push_customers(db)
        # The feed is waited for when there is nothing to send; a change here is sent some seconds later.
        idle = not push_relations(db)
        idle = not pull(db, 5 if idle and not arguments.once else 0) and idle


main()
