"""FastAPI and asyncpg, one statement a request, served by uvicorn with uvloop and httptools. The pool has its default size;
keys are remembered for ever, which customer-match does not allow itself."""

import hashlib
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import asyncpg
from fastapi import Depends, FastAPI, HTTPException, Query, Request
from pydantic import BaseModel, EmailStr, Field, model_validator

STATEMENT = (Path(__file__).parent.parent / "statement.sql").read_text()

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


@app.post("/api/v1/customer/customer-match-customer")
async def match(request: Request, body: Body, organisation: Annotated[int, Depends(organisation)]) -> Success:
    row = await request.app.state.pool.fetchrow(
        STATEMENT,
        organisation,
        body.managerCuRefNo,
        body.customerCuRefNo,
        body.customerEmail,
        "0000000000000000",
        body.notice,
    )
    if row["manager_id"] is None or row["customer_id"] is None:
        raise HTTPException(404, "customer")
    return Success()
