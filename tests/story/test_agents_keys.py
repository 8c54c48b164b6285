"""The keys of agents: what they open, and what of another project no id reaches."""

import asyncio
import sys
from typing import Any

import httpx
import pytest
from mcp import Client, MCPError
from typer.testing import CliRunner

from api.app import create_app
from api.context import Context
from api.mcp.protocol import Protocol
from cli.main import app as command_line
from core import keys, limits
from core.scopes import Scope
from tests.agents import error_of, result_of, with_agent
from tests.factories import a_key, a_project
from tests.stack import Stack, settings_of
from tests.waiting import until

SMALL = {"prompt": "x", "size": "64x64"}


def test_a_wrong_key_is_a_401(guarded: Stack) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    answers = [guarded.client.post("/mcp", json=message, headers=headers) for headers in ({}, bearer("sl_wrong"))]

    assert [answer.status_code for answer in answers] == [401, 401]
    assert answers[0].headers["www-authenticate"] == "Bearer"
    with pytest.raises(ExceptionGroup) as failure:
        with_agent(guarded, lambda client: client.list_tools(), key="sl_wrong")
    assert failure.group_contains(MCPError, match="Server returned an error response")
    command = CliRunner().invoke(command_line, ["mcp", "--url", guarded.url, "--key", "sl_wrong"])
    assert (command.exit_code, "The API key is missing or not valid" in command.stderr) == (1, True)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_a_key_that_only_reads_has_only_the_tools_that_read(guarded: Stack) -> None:
    async def story(client: Client) -> tuple[set[str], str]:
        names = {tool.name for tool in (await client.list_tools()).tools}
        return names, error_of(await client.call_tool("generate_image", SMALL))

    names, error = with_agent(guarded, story, key=a_key(guarded.database, scopes=[Scope.READ]))

    assert names == {"job_status", "batch_status", "list_models"}
    assert "needs an API key with the scope submit" in error


def test_the_program_passes_on_results_progress_errors_and_cancels(guarded: Stack) -> None:
    key = a_key(guarded.database)
    steps: list[float] = []

    async def story(client: Client) -> None:
        generating = asyncio.Event()

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            steps.append(progress)
            if total:
                generating.set()

        assert client.server_info is not None
        assert "generate_batch" in (client.instructions or "")
        assert "generate_image" in {tool.name for tool in (await client.list_tools()).tools}
        job = result_of(await client.call_tool("generate_image", SMALL))
        assert "There is no job" in error_of(await client.call_tool("job_status", {"job_id": "job_0"}))
        with pytest.raises(MCPError, match="There is no such tool"):
            await client.call_tool("draw_image", {})

        arguments = {"prompt": "cancelled by a program", "model": "slow", "steps": 1000}
        request = asyncio.create_task(client.call_tool("generate_image", arguments, progress_callback=on_progress))
        await generating.wait()
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
        await asyncio.to_thread(until, lambda: newest_job()["status"] == "cancelled")
        assert newest_job()["id"] != job["job_id"]

    def newest_job() -> dict[str, Any]:
        (job,) = httpx.get(f"{guarded.url}/v1/jobs", params={"limit": 1}, headers=bearer(key)).json()["data"]
        return dict(job)

    with_agent(guarded, story, "stdio", key)

    assert steps == sorted(set(steps))


def test_the_things_of_another_project_do_not_exist(guarded: Stack) -> None:
    async def own(client: Client) -> tuple[dict[str, Any], dict[str, Any]]:
        job = result_of(await client.call_tool("generate_image", SMALL | {"idempotency_key": "secret"}))
        batch = result_of(await client.call_tool("generate_batch", {"prompts": ["x"], "size": "64x64"}))
        return job, batch

    job, batch = with_agent(guarded, own, key=a_key(guarded.database))
    image_id, batch_id = job["images"][0]["image_id"], batch["batch_id"]

    async def reach(client: Client) -> None:
        for tool, arguments in (
            ("job_status", {"job_id": job["job_id"]}),
            ("cancel_job", {"id": job["job_id"]}),
            ("batch_status", {"batch_id": batch_id}),
            ("cancel_job", {"id": batch_id}),
            ("vary_image", {"image": image_id, "size": "64x64"}),
            ("vary_image", {"image": job["images"][0]["url"], "size": "64x64"}),
            ("edit_image", {"image": image_id, "mask": image_id, **SMALL}),
        ):
            assert "There is no " in error_of(await client.call_tool(tool, arguments)), tool
        mine = result_of(await client.call_tool("generate_image", SMALL | {"idempotency_key": "secret"}))
        assert mine["job_id"] != job["job_id"]

    with_agent(guarded, reach, key=a_key(guarded.database, a_project(guarded.database, "strange agent")))


def test_a_job_has_the_key_of_its_agent_and_counts_for_its_limits(guarded: Stack) -> None:
    project = a_project(guarded.database, "brisk agent")
    guarded.database.execute(limits.change(project, {"requests_per_minute": 1}))

    async def story(client: Client) -> tuple[str, str]:
        job = result_of(await client.call_tool("generate_image", SMALL))
        result_of(await client.call_tool("job_status", {"job_id": job["job_id"]}))
        return job["job_id"], error_of(await client.call_tool("generate_image", SMALL))

    key = a_key(guarded.database, project)
    job_id, error = with_agent(guarded, story, key=key)

    job = httpx.get(f"{guarded.url}/v1/jobs/{job_id}", headers=bearer(key)).json()
    assert job["api_key_id"] == guarded.database.execute(keys.list_keys())[-1].id
    assert "may send 1 requests per minute" in error
    assert "Try again in " in error


@pytest.mark.parametrize("transport", ["http", "http-before-2026"])
def test_a_call_ends_with_its_key_and_its_job_continues(guarded: Stack, transport: str) -> None:
    key = a_key(guarded.database)
    key_id = guarded.database.execute(keys.list_keys())[-1].id
    job_ids: list[str] = []

    async def story(client: Client) -> None:
        submitted = asyncio.Event()

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            job_ids.append((message or "").split()[0])
            submitted.set()

        arguments = SMALL | {"model": "elsewhere"}
        request = asyncio.create_task(client.call_tool("generate_image", arguments, progress_callback=on_progress))
        await submitted.wait()
        guarded.database.execute(keys.revoke(key_id))
        with pytest.raises(MCPError):
            await request

    with_agent(guarded, story, transport, key=key)
    other = bearer(a_key(guarded.database))
    assert httpx.get(f"{guarded.url}/v1/jobs/{job_ids[0]}", headers=other).json()["status"] == "queued"


def test_without_the_extra_an_error_names_it(guarded: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp.server.streamable_http_manager", None)
    settings = settings_of(guarded.environment | {"SAFELIGHT_AUTH": "off"})
    app = create_app(settings)

    async def post() -> httpx.Response:
        app.state.context, app.state.mcp = Context.open(settings), Protocol()
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
            answer = await client.post("/mcp", json={"jsonrpc": "2.0", "id": 7, "method": "ping"})
        await app.state.context.close()
        return answer

    answer = asyncio.run(post())

    assert answer.status_code == 501
    assert answer.json()["id"] == 7
    assert "`make install`" in answer.json()["error"]["message"]
