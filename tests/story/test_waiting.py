"""Many clients that wait for jobs at once: none of them needs a database connection while it waits."""

import asyncio

import httpx
import pytest
import redis
import sqlalchemy as sa

from core.redis.connection import KEY_PREFIX
from tests.stack import Stack

CLIENTS = 200


@pytest.fixture
def small_pool(own: Stack) -> Stack:
    """An API with a single database connection."""
    own.environment["SAFELIGHT_DATABASE_POOL_SIZE"] = "1"
    own.api()
    return own


async def _wait_for_all(stack: Stack, job_ids: list[str], seconds: float) -> list[httpx.Response]:
    """A long poll for each job, all at the same time."""
    limits = httpx.Limits(max_connections=len(job_ids))
    async with httpx.AsyncClient(base_url=stack.url, timeout=120, limits=limits) as client:
        return await asyncio.gather(*(client.get(f"/v1/jobs/{job_id}", params={"wait": seconds}) for job_id in job_ids))


def _until_all_wait(stack: Stack, job_ids: list[str]) -> None:
    """Return when each job has a client that waits for it and has read it."""
    channels = [f"{KEY_PREFIX}job:{job_id}" for job_id in job_ids]
    with redis.Redis.from_url(stack.settings.redis_url or "") as server:
        while not all(count for _, count in server.pubsub_numsub(*channels)):
            pass
    stack.job(job_ids[0])  # reads are answered in order


def _states(answers: list[httpx.Response]) -> set[tuple[int, str | None]]:
    return {(answer.status_code, answer.json().get("status")) for answer in answers}


def test_all_long_polls_end_when_their_jobs_do(small_pool: Stack) -> None:
    job_ids = [small_pool.submit(model="elsewhere")["id"] for _ in range(CLIENTS)]

    async def cancel_all() -> list[httpx.Response]:
        polls = asyncio.create_task(_wait_for_all(small_pool, job_ids, 60))
        await asyncio.to_thread(_until_all_wait, small_pool, job_ids)
        # Nothing is published, as if every message over Redis was lost.
        statement = sa.text("UPDATE jobs SET status = 'cancelled', finished_at = now(), version = version + 1")
        await asyncio.to_thread(small_pool.database.execute, statement)
        return await polls

    assert _states(asyncio.run(cancel_all())) == {(200, "cancelled")}


def test_long_polls_outlast_a_database_that_hangs(small_pool: Stack) -> None:
    job_ids = [small_pool.submit(model="elsewhere")["id"] for _ in range(100)]
    small_pool.job(job_ids[0], wait=0.1)  # connects to Redis; a new connection makes all clients read their jobs again

    def hang() -> None:
        _until_all_wait(small_pool, job_ids)
        with small_pool.database.transaction() as transaction:
            transaction.execute(sa.text("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE"))
            transaction.execute(sa.text("SELECT pg_sleep(7)"))  # longer than a request waits for a connection

    async def poll() -> list[httpx.Response]:
        answers, _ = await asyncio.gather(_wait_for_all(small_pool, job_ids, 10), asyncio.to_thread(hang))
        return answers

    assert _states(asyncio.run(poll())) == {(200, "queued")}
