"""An agent with nothing but the list of tools generates, edits, varies, follows, cancels."""

import asyncio
import base64
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from jsonschema import Draft202012Validator
from mcp import Client, MCPError
from mcp_types import Tool

from core.catalog.model import ARGUMENTS
from core.parameters.job import rules
from core.tables import images
from tests.agents import PROTOCOLS, error_of, images_in, links_in, result_of, text_of, with_agent
from tests.images import an_image, data_url, decode, encode
from tests.stack import Stack
from tests.waiting import until

SMALL = {"size": "64x64"}
READING = {"job_status", "batch_status", "list_models"}
SUBMITTING = {"generate_image", "edit_image", "vary_image", "generate_batch", "cancel_job"}


def tools_of(stack: Stack, transport: str = "http") -> dict[str, Tool]:
    async def story(client: Client) -> dict[str, Tool]:
        return {tool.name: tool for tool in (await client.list_tools()).tools}

    return with_agent(stack, story, transport)


def call(stack: Stack, tool: str, **arguments: Any) -> Any:
    """Call a tool once."""

    async def story(client: Client) -> Any:
        return await client.call_tool(tool, arguments)

    return with_agent(stack, story)


def test_the_list_says_what_each_tool_takes_and_returns(safelight: Stack) -> None:
    tools = tools_of(safelight)

    assert tools.keys() == READING | SUBMITTING
    for tool in tools.values():
        assert tool.output_schema is not None
        assert tool.annotations is not None
        for schema in (tool.input_schema, tool.output_schema):
            Draft202012Validator.check_schema(schema)
            assert schema["type"] == "object"
            assert "$ref" not in str(schema)
        assert tool.annotations.read_only_hint is (tool.name in READING)
        assert tool.annotations.destructive_hint is (tool.name == "cancel_job")
        assert all("description" in field for field in tool.input_schema["properties"].values()), tool.name


def test_the_arguments_are_the_parameters_that_some_model_supports(safelight: Stack) -> None:
    tools = tools_of(safelight)
    generate, edit, vary = (tools[f"{name}_image"].input_schema for name in ("generate", "edit", "vary"))

    parameters = {name for name in rules() if name in generate["properties"]}
    unsupported = {
        "scheduler",
        "loras",
        "refiner",
        "tiling",
        "background",
        "moderation_level",
        "input_fidelity",
        "reference_images",
        *ARGUMENTS,
    }
    assert parameters == rules().keys() - unsupported - {"strength", "partial_images"}
    assert generate["required"] == ["prompt"]
    assert set(edit["required"]) == {"prompt", "image"}
    assert edit["properties"].keys() - generate["properties"].keys() == {
        "image",
        "mask",
        "strength",
    }
    assert vary["required"] == ["image"]
    assert "prompt" not in vary["properties"]
    assert generate["properties"]["model"]["enum"] == ["fake", "slow", "elsewhere"]
    assert vary["properties"]["model"]["enum"] == ["fake", "elsewhere"]
    assert generate["properties"]["size"]["enum"] == ["64x64", "128x128", "256x256", "auto"]
    assert generate["properties"]["quality"]["enum"] == ["auto", "low", "medium"]
    assert (generate["properties"]["steps"]["minimum"], generate["properties"]["steps"]["maximum"]) == (1, 1000)


@pytest.mark.parametrize("transport", PROTOCOLS)
def test_an_agent_generates_edits_and_follows_a_batch(safelight: Stack, transport: str) -> None:
    steps: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    async def story(client: Client) -> None:
        assert client.server_info is not None
        assert client.server_info.name == "safelight"
        assert "generate_batch" in (client.instructions or "")
        assert client.server_capabilities.tools is not None

        first = await client.call_tool(
            "generate_image", {"prompt": "a cat", "model": "slow", "steps": 6}, progress_callback=on_progress
        )
        job = result_of(first)
        (image,) = job["images"]
        assert job["status"] == "completed"
        assert links_in(first) == [image["url"]]
        assert decode(images_in(first)[0]).size == (64, 64)

        edited = await client.call_tool("edit_image", {"prompt": "a dog", "image": image["image_id"], **SMALL})
        assert result_of(edited)["images"][0]["image_id"] != image["image_id"]
        unwanted = await client.call_tool("generate_image", {"prompt": "a cat", "size": "70x70"})
        assert "choose from 64x64, 128x128, 256x256" in error_of(unwanted)

        submitted = result_of(await client.call_tool("generate_batch", {"prompts": ["a cat", "a dog," * 50], **SMALL}))
        batch = result_of(
            await client.call_tool("batch_status", {"batch_id": submitted["batch_id"], "wait_seconds": 50})
        )
        assert batch["counts"]["completed"] == 2
        assert [line["prompt"] for line in batch["lines"]] == ["a cat", ("a dog," * 50)[:200] + "…"]
        with pytest.raises(MCPError, match="The tools are generate_image"):
            await client.call_tool("draw_image", {})

    with_agent(safelight, story, transport)

    assert len(steps) > 1, "no progress"
    assert steps == sorted(set(steps))


@pytest.mark.parametrize("transport", PROTOCOLS)
def test_a_cancelled_call_cancels_its_job(safelight: Stack, transport: str) -> None:
    prompt = f"cancelled over {transport}"

    def job() -> dict[str, Any]:
        jobs = safelight.client.get("/v1/jobs", params={"limit": 1}).json()["data"]
        return jobs[0] if jobs and jobs[0]["prompt"] == prompt else {}

    async def story(client: Client) -> None:
        generating = asyncio.Event()

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            if progress:
                generating.set()

        arguments = {"prompt": prompt, "model": "slow", "steps": 1000}
        request = asyncio.create_task(client.call_tool("generate_image", arguments, progress_callback=on_progress))
        await generating.wait()
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
        await asyncio.to_thread(until, lambda: job()["status"] == "cancelled")

    with_agent(safelight, story, transport)


def test_a_cancel_that_overtakes_its_call_cancels_it(safelight: Stack) -> None:
    headers = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-06-18"}

    def send(**message: Any) -> httpx.Response:
        return safelight.client.post("/mcp", json={"jsonrpc": "2.0", **message}, headers=headers)

    client = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    headers["mcp-session-id"] = send(id=1, method="initialize", params=client).headers["mcp-session-id"]
    arguments = {"prompt": "cancelled before it came", "model": "slow", "steps": 1000}
    send(method="notifications/cancelled", params={"requestId": 7})
    answer = send(id=7, method="tools/call", params={"name": "generate_image", "arguments": arguments})

    assert "The request was cancelled, and its job with it." in answer.text
    assert safelight.client.get("/v1/jobs", params={"prompt": "cancelled before it came"}).json()["data"] == []


def test_an_old_client_that_loses_its_connection_does_not_lose_its_job(safelight: Stack) -> None:
    headers = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-06-18"}
    arguments = {"prompt": "x", "model": "elsewhere"}
    params = {"name": "generate_image", "arguments": arguments, "_meta": {"progressToken": 1}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    with safelight.client.stream("POST", "/mcp", json=message, headers=headers) as response:
        progress = next(line for line in response.iter_lines() if "is submitted" in line)
    job_id = next(word for word in progress.replace('"', " ").split() if word.startswith("job_"))

    async def story(client: Client) -> None:
        # The API has noticed the disconnect once it has answered another request of a later moment.
        waiting = await client.call_tool("job_status", {"job_id": job_id, "wait_seconds": 1})
        assert result_of(waiting)["status"] == "queued"
        assert result_of(await client.call_tool("cancel_job", {"id": job_id}))["status"] == "cancelled"

    with_agent(safelight, story)


def test_a_job_that_takes_long_continues_under_its_id(safelight: Stack) -> None:
    job = result_of(call(safelight, "generate_image", prompt="x", model="elsewhere", wait_seconds=0.1))

    assert (job["status"], job["images"]) == ("queued", [])
    assert f"job_status with job_id {job['job_id']}" in job["next_step"]
    cancelled = result_of(call(safelight, "cancel_job", id=job["job_id"]))
    assert cancelled == {"id": job["job_id"], "object": "job", "status": "cancelled"}
    assert result_of(call(safelight, "job_status", job_id=job["job_id"]))["status"] == "cancelled"


def test_a_batch_is_cancelled_too(safelight: Stack) -> None:
    batch = result_of(call(safelight, "generate_batch", prompts=["x"], model="elsewhere"))

    cancelled = result_of(call(safelight, "cancel_job", id=batch["batch_id"]))

    assert cancelled["object"] == "batch"
    assert cancelled["status"] in ("cancelling", "finalizing", "cancelled")


def test_a_dry_run_of_a_batch_only_estimates(safelight: Stack) -> None:
    batches = len(safelight.client.get("/v1/batches").json()["data"])
    estimate = result_of(call(safelight, "generate_batch", prompts=["a cat", "a dog"], n=2, dry_run=True))

    assert (estimate["estimate"]["total"], estimate["estimate"]["images"]) == (2, 4)
    assert "batch_id" not in estimate
    assert len(safelight.client.get("/v1/batches").json()["data"]) == batches


def test_an_input_image_comes_in_every_way_that_the_listing_names(safelight: Stack) -> None:
    image = result_of(call(safelight, "generate_image", prompt="a cat", **SMALL))["images"][0]
    plain = base64.b64encode(encode(an_image())).decode()

    for source in (image["image_id"], image["url"], data_url(an_image())["image_url"], plain):
        answer = call(safelight, "vary_image", image=source, n=2, **SMALL)
        assert [decode(content).size for content in images_in(answer)] == [(64, 64)] * 2


def test_a_large_image_is_shown_smaller_and_linked_as_it_is(safelight: Stack) -> None:
    answer = call(safelight, "generate_image", prompt="noise", size="256x256", output_size="1536x1536", n=3)

    images = result_of(answer)["images"]
    assert all(image["width"] == 1536 for image in images)
    assert sum(map(len, images_in(answer))) <= 512 * 1024
    assert len(images_in(answer)) == 3
    assert decode(httpx.get(links_in(answer)[0]).content).size == (1536, 1536)


def test_a_completed_job_is_no_error_while_its_image_cannot_be_read(safelight: Stack) -> None:
    job_id = result_of(call(safelight, "generate_image", prompt="a cat", **SMALL))["job_id"]
    (row,) = safelight.database.execute(sa.select(images.c.storage_key).where(images.c.job_id == job_id))
    path = safelight.directory / "images" / row.storage_key
    path.unlink()
    path.symlink_to(path)

    answer = call(safelight, "job_status", job_id=job_id)

    assert (result_of(answer)["status"], images_in(answer), len(links_in(answer))) == ("completed", [], 1)
    path.unlink()


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("generate_image", {}, "prompt is required. (code: missing_required_parameter, argument: prompt)"),
        ("generate_image", {"prompt": "x", "colour": "red"}, "colour is not a parameter here. Known are: "),
        ("generate_image", {"prompt": "x", "model": "dall-e-9"}, "Available models: fake, slow, elsewhere."),
        ("generate_image", {"prompt": "x", "n": 99}, "n is 99; the allowed range is 1 to 10."),
        ("generate_image", {"prompt": "x", "wait_seconds": 900}, "wait_seconds should be less than or equal to 50."),
        ("generate_image", {"prompt": "[refuse] this"}, "(code: generation_failed)"),
        ("edit_image", {"prompt": "x", "image": "/home/ada/cat.png"}, "image '/home/ada/cat.png' is no image."),
        ("edit_image", {"prompt": "x", "image": "https://example.org/cat.png"}, "other URLs are not fetched"),
        ("vary_image", {"image": "img_0", "model": "slow"}, "Models that support it: fake, elsewhere."),
        ("vary_image", {"image": "img_0"}, "There is no image 'img_0'."),
        ("generate_batch", {"prompts": ["x", " "]}, "prompts.1 must not be empty."),
        ("job_status", {"job_id": "job_0"}, "There is no job 'job_0'."),
        ("job_status", {"job_id": "batch_0"}, "call batch_status with batch_id"),
        ("batch_status", {"batch_id": "job_0"}, "call job_status with job_id"),
        ("cancel_job", {"id": "batch_0"}, "There is no batch 'batch_0'."),
        ("cancel_job", {"id": "batch_\0"}, "id must not contain the control character U+0000."),
        ("job_status", {"job_id": "\0"}, "job_id must not contain the control character U+0000."),
        ("batch_status", {"batch_id": "\0"}, "batch_id must not contain the control character U+0000."),
    ],
)
def test_an_error_says_what_to_do(safelight: Stack, tool: str, arguments: dict[str, Any], words: str) -> None:
    async def story(client: Client) -> str:
        return error_of(await client.call_tool(tool, arguments))

    assert words in with_agent(safelight, story)


def test_an_argument_that_is_null_is_left_out(safelight: Stack) -> None:
    assert result_of(call(safelight, "generate_image", prompt="x", negative_prompt=None, **SMALL))


def test_a_repeated_call_with_a_key_is_one_job(safelight: Stack) -> None:
    key = {"idempotency_key": "agents-1"}
    first, second = (result_of(call(safelight, "generate_image", prompt="x", **SMALL, **key)) for _ in range(2))
    other = call(safelight, "generate_image", prompt="y", **SMALL, **key)
    batches = [
        result_of(call(safelight, "generate_batch", prompts=["x"], idempotency_key="agents-2"))["batch_id"]
        for _ in range(2)
    ]

    assert first["job_id"] == second["job_id"]
    assert "idempotency_key was already used" in error_of(other)
    assert batches[0] == batches[1]


def test_the_models_are_listed_without_their_aliases(safelight: Stack) -> None:
    answer = call(safelight, "list_models")

    assert [model["id"] for model in result_of(answer)["data"]] == ["fake", "slow", "elsewhere"]
    assert '"sizes": ["64x64"' in text_of(answer)


def test_there_is_no_stream_of_the_server_alone(safelight: Stack) -> None:
    answer = safelight.client.get("/mcp", headers={"accept": "text/event-stream"})

    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [(b"{", 400, -32700), (b"[" * 50_000, 400, -32600), (b'{"a": "' + b"x" * 1_000_000 + b'"}', 413, -32600)],
)
def test_a_body_that_is_not_accepted_is_an_error_of_the_protocol(
    safelight: Stack, content: bytes, status: int, code: int
) -> None:
    answer = safelight.client.post("/mcp", content=content, headers={"content-type": "application/json"})

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.json()["jsonrpc"] == "2.0"
    assert answer.json()["error"]["data"]["type"] == "invalid_request_error"
