"""The references of the benchmarks: the same work without the features that make it a service.

`create_app` is a bare FastAPI with two handlers that store one row: one statement through psycopg's own pool, and the
textbook's SQLAlchemy ORM session. `celery_app` is Celery with a task that does nothing, and `generate_bare` is a loop
around the generator. Run by `bench.service` with SAFELIGHT_DATABASE_URL and SAFELIGHT_REDIS_URL set.
"""

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from uuid import uuid4

from celery import Celery
from fastapi import Depends, FastAPI
from PIL.Image import Image
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel
from redis import Redis
from sqlalchemy import DateTime, create_engine, make_url
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from core.generation import Generator, ImageRequest
from worker.generation.encode import encode, xmp

POOL_SIZE = 16  # as Safelight's own, SAFELIGHT_DATABASE_POOL_SIZE

CREATE_TABLE = """
    CREATE TABLE IF NOT EXISTS reference_jobs (
        id text PRIMARY KEY, status text NOT NULL, prompt text NOT NULL, size text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
"""
INSERT = "INSERT INTO reference_jobs (id, status, prompt, size) VALUES (%s, 'queued', %s, %s) RETURNING created_at"

DONE_KEY = "bench:celery-done"


class Base(DeclarativeBase):
    """The ORM's registry."""


class ReferenceJob(Base):
    """A job as in a textbook."""

    __tablename__ = "reference_jobs"

    id: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str]
    prompt: Mapped[str]
    size: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class Prompt(BaseModel):
    """The body of the reference handlers' requests."""

    prompt: str
    size: str


class Accepted(BaseModel):
    """Their response."""

    id: str
    status: str
    created_at: datetime


def create_app() -> FastAPI:
    """The bare application: `uvicorn bench.references:create_app --factory`."""
    url = os.environ["SAFELIGHT_DATABASE_URL"]
    pool = AsyncConnectionPool(url, min_size=POOL_SIZE, max_size=POOL_SIZE, open=False, kwargs={"autocommit": True})
    engine = create_async_engine(
        make_url(url).set(drivername="postgresql+psycopg"), pool_size=POOL_SIZE, max_overflow=0
    )
    sessions = async_sessionmaker(engine, expire_on_commit=False)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await pool.open(wait=True)
        yield
        await pool.close()
        await engine.dispose()

    async def session() -> AsyncIterator[AsyncSession]:
        async with sessions() as request_session:
            yield request_session

    app = FastAPI(lifespan=lifespan)

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/insert", status_code=202)
    async def insert(prompt: Prompt) -> Accepted:
        job_id = uuid4().hex
        async with pool.connection() as connection:
            row = await (await connection.execute(INSERT, [job_id, prompt.prompt, prompt.size])).fetchone()
        assert row is not None
        return Accepted(id=job_id, status="queued", created_at=row[0])

    @app.post("/orm", status_code=202)
    async def orm(prompt: Prompt, session: Annotated[AsyncSession, Depends(session)]) -> Accepted:
        job = ReferenceJob(
            id=uuid4().hex, status="queued", prompt=prompt.prompt, size=prompt.size, created_at=datetime.now(UTC)
        )
        session.add(job)
        await session.commit()
        return Accepted(id=job.id, status=job.status, created_at=job.created_at)

    @app.get("/orm/{job_id}")
    async def read(job_id: str, session: Annotated[AsyncSession, Depends(session)]) -> Accepted:
        job = await session.get_one(ReferenceJob, job_id)
        return Accepted(id=job.id, status=job.status, created_at=job.created_at)

    return app


def insert_all(database_url: str, prompts: Sequence[str]) -> None:
    """Many jobs at once, as a textbook does it."""
    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
    with Session(engine) as session:
        time = datetime.now(UTC)
        session.add_all(
            ReferenceJob(id=uuid4().hex, status="queued", prompt=prompt, size="64x64", created_at=time)
            for prompt in prompts
        )
        session.commit()
    engine.dispose()


celery_app = Celery("reference", broker=os.environ.get("SAFELIGHT_REDIS_URL"))
celery_app.conf.update(
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    broker_transport_options={"global_keyprefix": "reference:"},
)


@celery_app.task(name="reference.nothing")
def do_nothing() -> None:
    """Do nothing."""


@celery_app.task(name="reference.done")
def report_done() -> None:
    """Report that all earlier tasks are done: the queue is first in, first out."""
    with Redis.from_url(os.environ["SAFELIGHT_REDIS_URL"]) as redis:
        redis.lpush(DONE_KEY, "1")


class SilentReporter:
    """A progress reporter that does nothing; see `core.generation.ProgressReporter`."""

    def step(self, current: int, total: int) -> None:
        """Ignore a step."""

    def preview(self, draw: Callable[[], Sequence[Image]]) -> None:
        """Ignore a preview."""


def generate_bare(
    generator: Generator, requests: Sequence[ImageRequest], microbatch_size: int, directory: Path
) -> None:
    """Generate, encode and write images, one micro-batch after the other: the minimum of work."""
    directory.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(requests), microbatch_size):
        part = requests[start : start + microbatch_size]
        for offset, (request, image) in enumerate(zip(part, generator.generate(part, SilentReporter()), strict=True)):
            packet = xmp(request.prompt, "fake", request.seed)
            (directory / f"{start + offset}.png").write_bytes(encode(image, "png", None, packet))
