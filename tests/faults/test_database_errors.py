"""What Postgres does to a statement, and which error comes of it."""

import asyncio
from collections.abc import Iterator

import httpx
import pytest
import sqlalchemy as sa
from mcp import Client
from psycopg import sql

from cli.local.embedded import EmbeddedPostgres
from core.db import DATABASE_ERROR, UNAVAILABLE, AsyncDatabase, is_lock_timeout, is_statement_timeout
from core.tables import jobs
from tests.agents import error_of, with_agent
from tests.stack import Stack, body
from tests.waiting import until

APPLICATION = "victim"
COPY = sql.SQL("COPY {} (id, name) FROM STDIN").format(sql.Identifier("projects"))
LOCK = sa.text("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
TERMINATE = sa.text(
    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = :name"
).bindparams(name=APPLICATION)
"""Ends every session of the victim and returns when it is gone, as a restart of Postgres does."""


def test_a_statement_timeout_has_an_error_of_its_own(own: Stack) -> None:
    own.environment["SAFELIGHT_STATEMENT_TIMEOUT"] = "0.2"
    own.api()
    with own.database.transaction() as transaction:
        transaction.execute(LOCK)
        answer = own.client.get("/v1/jobs")

    error = body(answer)["error"]
    assert (answer.status_code, error["code"], error["type"]) == (503, "query_timeout", "server_error")
    assert "use a narrower filter" in error["message"]
    assert answer.headers["x-should-retry"] == "false"
    assert "retry-after" not in answer.headers
    assert own.client.get("/v1/jobs").status_code == 200
    job_id, message = with_agent(own, lambda agent: _generate_while_locked(own, agent))
    assert f"The job {job_id} continues: call job_status with it, and do not generate it again." in message


async def _generate_while_locked(stack: Stack, agent: Client) -> tuple[str, str]:
    """The id of the job that an agent submits, and the error of its call: the job cannot be read afterwards."""
    arguments = {"prompt": "a cat", "model": "elsewhere", "wait_seconds": 2}
    call = asyncio.create_task(agent.call_tool("generate_image", arguments))
    await asyncio.to_thread(until, lambda: stack.count() == 1)
    (job,) = stack.database.execute(sa.select(jobs.c.id))
    with stack.database.transaction() as transaction:
        transaction.execute(LOCK)
        return job.id, error_of(await call)


def test_a_lock_that_is_not_free_is_no_statement_timeout(own: Stack) -> None:
    def wait() -> None:
        with own.database.transaction() as transaction:
            transaction.execute(sa.text("SET LOCAL lock_timeout = 10"))
            transaction.execute(sa.select(jobs.c.id))

    with own.database.transaction() as transaction:
        transaction.execute(LOCK)
        with pytest.raises(UNAVAILABLE) as caught:
            wait()

    assert is_lock_timeout(caught.value)
    assert not is_statement_timeout(caught.value)


def test_a_session_that_is_ended_between_two_statements_is_unavailable(own: Stack) -> None:
    async def end() -> None:
        victim = AsyncDatabase(own.settings, APPLICATION)
        async with victim.transaction() as transaction:
            await transaction.execute(sa.select(jobs.c.id))
            await asyncio.to_thread(own.database.execute, TERMINATE)
            await transaction.execute(sa.select(jobs.c.id))

    with pytest.raises(UNAVAILABLE):
        asyncio.run(end())


def test_a_session_that_idled_too_long_in_a_transaction_is_unavailable(own: Stack) -> None:
    """Postgres' own code for it is of the class that drivers call an internal error."""

    async def idle() -> None:
        victim = AsyncDatabase(own.settings, APPLICATION)
        gone = sa.text("SELECT 1 WHERE NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = :name)")
        async with victim.transaction() as transaction:
            await transaction.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = 1"))
            while not await asyncio.to_thread(own.database.execute, gone.bindparams(name=APPLICATION)):
                pass
            await transaction.execute(sa.select(jobs.c.id))

    with pytest.raises(UNAVAILABLE):
        asyncio.run(idle())


def test_a_copy_that_is_interrupted_is_unavailable(own: Stack) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"prj_1\tone\n"
        own.database.execute(TERMINATE)
        while True:
            yield b"prj_1\tone\n" * 1000

    async def copy() -> None:
        victim = AsyncDatabase(own.settings, APPLICATION)
        async with victim.transaction() as transaction:
            await transaction.copy(COPY, chunks())

    with pytest.raises(UNAVAILABLE):
        asyncio.run(copy())


def test_a_task_that_is_cancelled_in_a_statement_ends(own: Stack) -> None:
    running = sa.text("SELECT 1 FROM pg_stat_activity WHERE application_name = :name AND state = 'active'")

    async def cancel() -> bool:
        victim = AsyncDatabase(own.settings, APPLICATION)
        statement = asyncio.create_task(victim.execute(sa.text("SELECT pg_sleep(600)")))
        await asyncio.to_thread(until, lambda: own.database.execute(running.bindparams(name=APPLICATION)))
        statement.cancel()
        await asyncio.wait([statement])
        assert len(await victim.execute(sa.select(sa.literal(1)))) == 1
        await victim.close()
        return statement.cancelled()

    assert asyncio.run(cancel())


def test_a_pool_does_not_hand_out_a_connection_that_is_known_to_be_broken(own: Stack) -> None:
    async def use() -> int:
        victim = AsyncDatabase(own.settings, APPLICATION)
        try:
            async with victim.engine.connect() as connection:
                raw = await connection.get_raw_connection()
                driver = raw.driver_connection
                assert driver is not None
                await driver.close()
            return len(await victim.execute(sa.select(sa.literal(1))))
        finally:
            await victim.close()

    assert asyncio.run(use()) == 1


def test_no_log_has_a_prompt_of_a_statement_that_failed(own: Stack, postgres: EmbeddedPostgres) -> None:
    rule = "ALTER TABLE jobs ADD CONSTRAINT no_marker CHECK (prompt NOT LIKE 'marker%') NOT VALID"
    own.database.execute(sa.text(rule))
    api, sweep = own.api(), own.sweep()

    for path, request in (
        ("jobs", {"prompt": "marker of a job"}),
        ("batches", {"prompts": ["marker of a prompt"]}),
        ("batches", {"requests": [{"prompt": "marker of a line"}]}),
    ):
        httpx.post(f"{own.url}/v1/{path}", json=request)
    sweep.until_says("in attempt 1")
    logs = [api.output(), sweep.output(), postgres.log.read_text()]
    with own.database.transaction() as transaction, pytest.raises(DATABASE_ERROR) as caught:
        transaction.execute(sa.select(sa.cast(sa.literal("marker of a number"), sa.Integer)))

    assert all("no_marker" in log for log in logs)
    assert not any("marker of" in text for text in (*logs, str(caught.value)))
