"""FastAPI and asyncpg, one statement a request, served by uvicorn with uvloop and httptools. The pool has its default size;
keys are remembered for ever, which customer-match does not allow itself."""

import hashlib
import re
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import asyncpg
from fastapi import Depends, FastAPI, HTTPException, Query, Request
from pydantic import BaseModel, EmailStr, Field, model_validator

SQL = Path(__file__).parent.parent
MATCH, MATCH_BY_EMAIL, LIST, FILTER, DETAIL = (
    (SQL / f"{name}.sql").read_text() for name in ("match", "match-by-email", "list", "filter", "detail")
)

CuRefNo = Annotated[str, Field(pattern="^[A-Za-z0-9]{16}$")]
ApiKey = Annotated[str, Query(alias="apiKey", pattern="^(PROD|DEV_|ROOT)[A-Za-z0-9]{28}$")]


class Body(BaseModel):
    managerCuRefNo: CuRefNo
    customerCuRefNo: CuRefNo | None = None
    customerEmail: EmailStr | None = None
    notice: Annotated[str, Field(max_length=10_000)] | None = None

    @model_validator(mode="after")
    def names_a_customer(self):
        if self.customerCuRefNo is None and self.customerEmail is None:
            raise ValueError("customerCuRefNo or customerEmail is required")
        return self


class Success(BaseModel):
    success: bool = True


class Item(BaseModel):
    cuRefNo: str
    email: str | None
    firstName: str | None
    lastName: str | None
    companyName: str | None
    notice: str | None
    role: str
    matchedAt: str
    updatedAt: str


class CustomerList(BaseModel):
    items: list[Item]
    itemCount: int
    nextCursor: str | None


class Detail(BaseModel):
    loggedIn: bool = True
    cuRefNo: str
    email: str | None
    phone: str | None
    firstName: str | None
    lastName: str | None
    companyName: str | None


@asynccontextmanager
async def lifespan(app: FastAPI):
    async with asyncpg.create_pool() as pool:
        app.state.pool = pool
        app.state.organisations = {}
        yield


app = FastAPI(lifespan=lifespan)


async def organisation(request: Request, api_key: ApiKey) -> int:
    known = request.app.state.organisations
    if api_key not in known:
        found = await request.app.state.pool.fetchval(
            "select organisation_id from api_key where hash = $1 and active and deleted_at is null",
            hashlib.sha256(api_key.encode()).digest(),
        )
        if found is None:
            raise HTTPException(404, "API key")
        known[api_key] = found
    return known[api_key]


Organisation = Annotated[int, Depends(organisation)]


@app.post("/api/v1/customer/customer-match-customer")
async def match(request: Request, body: Body, organisation: Organisation) -> Success:
    pool = request.app.state.pool
    try:
        if body.customerCuRefNo is not None:
            await pool.execute(MATCH, organisation, body.managerCuRefNo, body.customerCuRefNo, body.notice)
        else:
            guest = "0000000000000000"
            await pool.execute(MATCH_BY_EMAIL, organisation, body.managerCuRefNo, body.customerEmail, body.notice, guest)
    except asyncpg.ForeignKeyViolationError:
        raise HTTPException(404, "customer")
    return Success()


@app.get("/api/v1/customer/matched-customer-list")
async def matched_customers(
    request: Request,
    organisation: Organisation,
    cuRefNo: Annotated[str, Query(pattern="^[A-Za-z0-9]{16}$")],
    query: Annotated[str | None, Query(max_length=254)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 32,
) -> CustomerList:
    # One more tells whether there is another page.
    if query is None:
        rows = await request.app.state.pool.fetch(LIST, organisation, cuRefNo, limit + 1)
    else:
        rows = await request.app.state.pool.fetch(FILTER, organisation, cuRefNo, limit + 1, pattern(query))
    if not rows:
        raise HTTPException(404, "customer")
    items = [item(row) for row in rows[:limit] if row["cu_ref_no"] is not None]
    next_cursor = f"{items[-1].matchedAt}_{items[-1].cuRefNo}" if len(rows) > limit else None
    return CustomerList(items=items, itemCount=rows[0]["item_count"], nextCursor=next_cursor)


def pattern(text: str) -> str:
    """Case only, no diacritics."""
    return "%" + re.sub(r"([\\%_])", r"\\\1", text.lower()) + "%"


def item(row) -> Item:
    return Item(
        cuRefNo=row["cu_ref_no"],
        email=row["email"],
        firstName=row["first_name"],
        lastName=row["last_name"],
        companyName=row["company_name"],
        notice=row["notice"],
        role="customer" if not row["is_manager"] else "both" if row["is_managed"] else "manager",
        matchedAt=iso(row["matched_at"]),
        updatedAt=iso(row["updated_at"]),
    )


def iso(time: datetime) -> str:
    return time.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@app.get("/api/v1/customer/detail")
async def detail(
    request: Request,
    organisation: Organisation,
    identityId: Annotated[str, Query(pattern="^[A-Za-z0-9]{32}$")],
    cuRefNo: Annotated[str | None, Query(pattern="^[A-Za-z0-9]{16}$")] = None,
) -> Detail:
    hash = hashlib.sha256(identityId.encode()).digest()
    row = await request.app.state.pool.fetchrow(DETAIL, organisation, hash, cuRefNo)
    if row is None:
        raise HTTPException(401, "not logged in")
    if row["cu_ref_no"] is None:
        raise HTTPException(404, "customer")
    return Detail(
        cuRefNo=row["cu_ref_no"],
        email=row["email"],
        phone=row["phone"],
        firstName=row["first_name"],
        lastName=row["last_name"],
        companyName=row["company_name"],
    )
