"""What the official SDK does when a call breaks off, and how the job ends: no image is generated twice."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import sqlalchemy as sa

from cli.local.embedded import EmbeddedValkey
from core.redis.connection import connect
from core.redis.pending_requests import key_of_call
from core.tables import jobs
from tests.images import an_image, data_url, encode
from tests.processes import Process
from tests.stack import Stack, body, free_port
from tests.waiting import FACTOR, PATIENCE, until

GRACE = 3.0 * FACTOR
AGAIN = {"x-stainless-retry-count": "1"}
IMPATIENT = httpx.Timeout(PATIENCE, read=0.5)
"""Of a client that goes away before its image is there."""


@pytest.fixture(scope="module")
def service(directory: Path, fresh_database: Callable[[], str], valkey: EmbeddedValkey) -> Iterator[Stack]:
    """A Safelight with a short grace and a short line; its API is not started yet."""
    settings = {"SAFELIGHT_SYNC_GRACE": str(GRACE), "SAFELIGHT_MAX_QUEUE_DEPTH": "3"}
    with Stack(directory / "retries", fresh_database(), valkey.url, **settings) as stack:
        stack.worker()
        stack.sweep()
        yield stack


@pytest.fixture(scope="module", autouse=True)
def api(service: Stack) -> Process:
    return service.api()


@pytest.fixture
def client(service: Stack) -> Iterator[openai.OpenAI]:
    service.database.execute(sa.delete(jobs))
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key="anything") as sdk:
        yield sdk


def the_jobs(service: Stack) -> list[Any]:
    return list(service.database.execute(sa.select(jobs.c.id, jobs.c.status, jobs.c.prompt).order_by(jobs.c.id)))


def break_off(service: Stack, **request: Any) -> str:
    """Make a call, go away before its answer, and return the job that it left behind."""
    before = {row.id for row in the_jobs(service)}
    with pytest.raises(httpx.ReadTimeout):
        service.client.post("/v1/images/generations", json=request, timeout=IMPATIENT)
    until(lambda: len(the_jobs(service)) > len(before))  # the API may take the request only now
    (job_id,) = {row.id for row in the_jobs(service)} - before
    return str(job_id)


def test_the_sdk_that_loses_patience_finds_the_job_of_its_first_try(service: Stack, client: openai.OpenAI) -> None:
    impatient = client.with_options(timeout=1.5, max_retries=10)

    answer = impatient.images.generate(model="slow", prompt="a cat", extra_body={"steps": 25})  # takes 2.5 s

    (job,) = the_jobs(service)
    assert job.status == "completed"
    assert answer.model_extra is not None
    assert answer.model_extra["job_id"] == job.id


def test_an_edit_is_found_by_its_images_too(service: Stack, client: openai.OpenAI) -> None:
    impatient = client.with_options(timeout=1.5, max_retries=10)

    impatient.images.edit(model="slow", image=encode(an_image()), prompt="a dog", extra_body={"steps": 25})

    assert [job.status for job in the_jobs(service)] == ["completed"]


def test_a_response_is_found_by_its_retry_too(service: Stack, client: openai.OpenAI) -> None:
    impatient = client.with_options(timeout=1.5, max_retries=10)
    tool: Any = {"type": "image_generation", "model": "slow", "steps": 25}
    image = {"type": "input_image", **data_url(an_image())}
    message: Any = {"role": "user", "content": [{"type": "input_text", "text": "a dog"}, image]}

    response = impatient.responses.create(model="gpt-5", input=[message], tools=[tool])

    (job,) = the_jobs(service)
    assert (job.status, f"resp_{job.id.partition('_')[2]}") == ("completed", response.id)


def test_a_retry_of_another_request_or_with_another_key_is_a_job_of_its_own(
    service: Stack, client: openai.OpenAI
) -> None:
    break_off(service, model="elsewhere", prompt="a cat")

    for prompt, key in (("a dog", "anything"), ("a cat", "another")):
        with pytest.raises(httpx.ReadTimeout):
            service.client.post(
                "/v1/images/generations",
                json={"model": "elsewhere", "prompt": prompt},
                headers=AGAIN | {"authorization": f"Bearer {key}"},
                timeout=IMPATIENT,
            )

    until(lambda: len(the_jobs(service)) == 3)


def test_a_retry_does_not_take_the_job_that_another_client_waits_for(service: Stack, client: openai.OpenAI) -> None:
    request = {"model": "slow", "prompt": "a cat", "size": "64x64", "steps": 15}

    async def call_both() -> list[str]:
        async with httpx.AsyncClient(base_url=service.url, timeout=PATIENCE) as http_client:
            answers = await asyncio.gather(
                http_client.post("/v1/images/generations", json=request),
                http_client.post("/v1/images/generations", json=request, headers=AGAIN),
            )
        return [body(answer)["job_id"] for answer in answers]

    assert len(set(asyncio.run(call_both()))) == 2


def test_of_two_that_broke_off_each_retry_gets_its_own(service: Stack, client: openai.OpenAI) -> None:
    request = {"model": "slow", "prompt": "a cat", "steps": 30}
    job_ids = {break_off(service, **request), break_off(service, **request)}

    async def call_both() -> set[str]:
        async with httpx.AsyncClient(base_url=service.url, timeout=PATIENCE, headers=AGAIN) as http_client:
            answers = await asyncio.gather(
                *(http_client.post("/v1/images/generations", json=request) for _ in range(2))
            )
        return {body(answer)["job_id"] for answer in answers}

    assert asyncio.run(call_both()) == job_ids


def test_a_job_whose_client_does_not_come_back_is_cancelled(
    service: Stack, client: openai.OpenAI, api: Process
) -> None:
    job_id = break_off(service, model="slow", prompt="a cat", steps=1000)

    api.until_says(f"job {job_id} cancelled: its client disconnected")

    job = service.final(job_id)
    assert (job["status"], job["images"]) == ("cancelled", [])


def test_a_stream_that_nobody_reads_is_cancelled_too(service: Stack, client: openai.OpenAI, api: Process) -> None:
    with client.images.generate(
        model="slow", prompt="a cat", stream=True, partial_images=3, extra_body={"steps": 1000}
    ) as stream:
        (row,) = the_jobs(service)
        service.until(row.id, "job.started")
        stream.close()
    api.until_says(f"job {row.id} cancelled: its client disconnected")

    assert service.final(row.id)["status"] == "cancelled"


def test_a_job_that_somebody_else_follows_goes_on_without_its_client(service: Stack, client: openai.OpenAI) -> None:
    steps = round(10 * (GRACE + 2))  # of 0.1 s: longer than the grace
    job_id = break_off(service, model="slow", prompt="a cat", steps=steps)

    assert service.final(job_id)["status"] == "completed"  # a long poll is somebody


def test_a_retry_that_comes_after_the_job_is_done_gets_its_images(service: Stack, client: openai.OpenAI) -> None:
    request = {"model": "slow", "prompt": "a cat", "steps": 12}
    job_id = break_off(service, **request)
    service.final(job_id)

    answer = service.client.post("/v1/images/generations", json=request, headers=AGAIN)

    assert body(answer)["job_id"] == job_id


@pytest.fixture(scope="module")
def elsewhere(service: Stack, api: Process) -> Iterator[httpx.Client]:
    """Another API process of the same Safelight."""
    port = free_port()
    service.api(port)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as http_client:
        yield http_client


def test_a_retry_that_reaches_another_process_finds_the_job(
    service: Stack, client: openai.OpenAI, elsewhere: httpx.Client
) -> None:
    request: dict[str, Any] = {"model": "slow", "prompt": "a cat", "steps": 25}
    job_id = break_off(service, **request)

    answer = elsewhere.post("/v1/images/generations", json=request, headers=AGAIN)

    assert body(answer)["job_id"] == job_id
    assert [job.status for job in the_jobs(service)] == ["completed"]


def test_a_retry_does_not_take_the_job_of_a_client_that_waits_at_another_process(
    service: Stack, client: openai.OpenAI, elsewhere: httpx.Client
) -> None:
    request: dict[str, Any] = {"model": "slow", "prompt": "a cat", "steps": 20}
    with service.client.stream("POST", "/v1/images/generations", json=request | {"stream": True}) as stream:
        lines = stream.iter_lines()
        first = next(lines).removeprefix(": job ")

        answer = elsewhere.post("/v1/images/generations", json=request | {"stream": True}, headers=AGAIN)

        assert answer.text.partition("\n")[0].removeprefix(": job ") != first
        assert "image_generation.completed" in "\n".join(lines)
    assert [job.status for job in the_jobs(service)] == ["completed", "completed"]


def test_a_key_is_known_to_every_process(service: Stack, client: openai.OpenAI, elsewhere: httpx.Client) -> None:
    request: dict[str, Any] = {"model": "slow", "prompt": "a cat", "steps": 10}
    key = {"idempotency-key": "for both"}

    async def call_both() -> list[httpx.Response]:
        async with httpx.AsyncClient(timeout=PATIENCE, headers=key) as http_client:
            urls = [f"{base}/v1/images/generations" for base in (service.url, str(elsewhere.base_url).rstrip("/"))]
            return await asyncio.gather(*(http_client.post(url, json=request) for url in urls))

    answers = asyncio.run(call_both())

    (job,) = the_jobs(service)
    assert [body(answer)["job_id"] for answer in answers] == [job.id, job.id]
    assert [answer.headers.get("idempotent-replayed") for answer in answers].count("true") == 1


def test_who_prefers_not_to_wait_gets_the_job(service: Stack, client: openai.OpenAI) -> None:
    answer = client.images.with_raw_response.generate(
        model="slow", prompt="a cat", extra_headers={"prefer": "respond-async"}
    )

    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "respond-async"
    job = service.client.get(answer.headers["location"])
    assert body(job)["status"] in ("queued", "in_progress")


def test_a_call_that_does_not_wait_is_found_by_its_retry_too(service: Stack, client: openai.OpenAI) -> None:
    tool = {"type": "image_generation", "model": "slow", "steps": 1}
    request = {"model": "gpt-5", "input": "a cat", "background": True, "tools": [tool]}
    with service.database.transaction() as transaction:
        transaction.execute(sa.text("LOCK TABLE jobs IN EXCLUSIVE MODE"))  # the job is stored after the client left
        with pytest.raises(httpx.ReadTimeout):
            service.client.post("/v1/responses", json=request, timeout=IMPATIENT)
    until(lambda: len(the_jobs(service)) == 1)
    (job,) = the_jobs(service)
    with connect(service.settings) as redis:
        until(lambda: redis.exists(key_of_call(job.id)))

    answers = [service.client.post("/v1/responses", json=request, headers=AGAIN) for _ in range(2)]

    assert body(answers[0])["job_id"] == job.id
    assert body(answers[1])["job_id"] != job.id  # of another call that broke off before it reached the API
    assert service.final(job.id)["status"] == "completed"


def test_a_full_queue_is_a_429_that_says_when_to_come_back(service: Stack, client: openai.OpenAI) -> None:
    job_ids = [service.submit(model="elsewhere")["id"] for _ in range(3)]

    with pytest.raises(openai.RateLimitError) as caught:
        client.with_options(max_retries=0).images.generate(model="elsewhere", prompt="a cat")

    assert caught.value.code == "queue_full"
    headers = caught.value.response.headers
    assert (headers["retry-after"], headers["retry-after-ms"], headers["x-should-retry"]) == ("5", "5000", "true")
    assert len(the_jobs(service)) == 3
    service.submit(model="elsewhere")  # who does not wait is taken
    for job_id in job_ids:
        service.client.post(f"/v1/jobs/{job_id}/cancel")


def test_a_batch_does_not_fill_the_queue_for_synchronous_calls(service: Stack, client: openai.OpenAI) -> None:
    batch = service.client.post("/v1/batches", json={"prompts": ["a dog"] * 20, "model": "slow"})
    assert batch.status_code == 200, batch.text

    answer = client.with_options(max_retries=0).images.generate(model="slow", prompt="a cat", extra_body={"steps": 1})

    assert answer.data
    service.client.post(f"/v1/batches/{body(batch)['id']}/cancel")


def test_of_many_calls_at_once_no_more_get_in_than_there_is_room_for(service: Stack, client: openai.OpenAI) -> None:
    service.submit(model="elsewhere")

    async def storm(calls: int) -> list[httpx.Response]:
        """Call at once, and return the answers when every other call has made a job, which nobody draws."""
        async with httpx.AsyncClient(base_url=service.url, timeout=PATIENCE) as client:
            request = {"model": "elsewhere", "prompt": "a cat"}
            tasks = {asyncio.create_task(client.post("/v1/images/generations", json=request)) for _ in range(calls)}
            answers: list[httpx.Response] = []
            while len(tasks) > len(the_jobs(service)) - 1:
                finished_tasks, tasks = await asyncio.wait(tasks, timeout=0.05, return_when=asyncio.FIRST_COMPLETED)
                answers += [task.result() for task in finished_tasks]
            for task in tasks:
                task.cancel()
            return answers

    refusals = asyncio.run(storm(30))

    assert {body(answer)["error"]["code"] for answer in refusals} == {"queue_full"}
    assert 28 <= len(refusals) <= 29  # there is room for two, one of which may count as arriving and as waiting


def test_the_sdk_comes_back_by_itself_when_the_queue_was_full(service: Stack, client: openai.OpenAI) -> None:
    job_ids = [service.submit(model="slow", steps=1)["id"] for _ in range(12)]

    answer = client.images.generate(model="slow", prompt="a cat", extra_body={"steps": 1})

    assert answer.data
    assert all(service.final(job_id)["status"] == "completed" for job_id in job_ids)
