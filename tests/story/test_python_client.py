"""Stories of the Python client in `clients/python`, synchronous and asynchronous, against a real Safelight."""

import asyncio
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

import safelight_client
from core.outbox.signing import new_secret
from safelight_client import AsyncSafelight, BadRequest, JobFailed, Safelight
from tests.cli.terminal import jobs_like
from tests.cli.wire import BROKEN, ERROR_EVENT, REVOKED, STREAM, FixedServer, Wire
from tests.images import an_image, encode
from tests.receiver import Receiver
from tests.stack import Stack, free_port

README = Path(safelight_client.__file__).parent.parent / "README.md"


@pytest.fixture
def client(safelight: Stack) -> Iterator[Safelight]:
    with Safelight(safelight.url) as new_client:
        yield new_client


def test_a_job_is_submitted_followed_and_saved(client: Safelight, safelight: Stack, tmp_path: Path) -> None:
    job = client.jobs.create(prompt="a cat", size="64x64", model="slow", steps=4, partial_images=1, seed=7, n=2)
    assert (job.is_final, job.seed, job.images) == (False, 7, [])

    events = list(job.events())

    assert [event.type for event in events if event.id] == ["job.queued", "job.started", "job.completed"]
    steps = [event.progress.step for event in events if event.progress]
    assert steps == sorted(steps)
    previews = [event.preview for event in events if event.preview]
    assert {preview.index for preview in previews} == {0, 1}
    assert previews[0].content.startswith(b"RIFF")
    final = events[-1].job
    assert final is not None
    assert final.wait(timeout=0).model_dump() == job.refresh().model_dump()
    path = final.images[1].save(tmp_path / "cat.png")
    assert path.read_bytes() == final.images[1].download() == safelight.image(final.images[1].model_dump())
    assert [path.name for path in tmp_path.iterdir()] == ["cat.png"]
    assert list(job.events(after=events[-1].id or "")) == []
    assert job.delete().deleted
    with pytest.raises(safelight_client.NotFound):
        job.refresh()


def test_the_asynchronous_client_does_the_same(safelight: Stack, tmp_path: Path) -> None:
    async def story() -> None:
        async with AsyncSafelight(safelight.url) as client:
            prompt = f"async {uuid4()}"
            jobs = [
                await client.jobs.create(prompt=prompt, model="elsewhere", metadata={"story": prompt}) for _ in "ab"
            ]
            found = [job.id async for job in client.jobs.list(metadata={"story": prompt}, order="asc")]
            assert found == [job.id for job in jobs]
            with pytest.raises(safelight_client.WaitTimeout):
                await jobs[0].wait(timeout=0.05)
            cancelled = [await job.cancel() for job in jobs]
            assert [job.status for job in cancelled] == ["cancelled", "cancelled"]
            with pytest.raises(JobFailed, match="was cancelled"):
                await jobs[0].wait()
            retry = await jobs[0].retry()
            assert (retry.retried_from, (await retry.cancel()).status) == (jobs[0].id, "cancelled")

            job = await client.jobs.create(prompt="a cat", size="64x64")
            kinds = [event.type async for event in job.events() if event.id]
            assert kinds == ["job.queued", "job.started", "job.completed"]
            (image,) = (await job.wait()).images
            path = await image.save(tmp_path / "cat.png")
            assert path.read_bytes() == safelight.image(image.model_dump())
            assert (await client.models.retrieve("fake")).id in {model.id for model in await client.models.list()}
            assert list(await client.usage.limits()) == []

    asyncio.run(story())


def test_a_batch_is_estimated_followed_downloaded_and_retried(client: Safelight, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.csv"
    prompts.write_text("prompt,custom_id\na cat,cat\n[refuse],no\n")
    assert client.batches.dry_run(file=prompts).images == 2

    batch = client.batches.create(file=prompts, size="64x64", metadata={"story": "client"})

    kinds = [event.type for event in batch.events() if event.id]
    assert (kinds[0], kinds[-1]) == ("batch.validating", "batch.completed")
    with pytest.raises(safelight_client.BatchFailed, match="1 of 2 lines completed"):
        batch.wait()
    batch = batch.wait(check=False)
    with zipfile.ZipFile(batch.save_zip(tmp_path / "images.zip")) as archive:
        assert [name for name in archive.namelist() if name.endswith(".png")] == ["00001-cat-0.png"]
    (failed_job,) = batch.jobs(status="failed")
    assert (failed_job.custom_id, failed_job.error and failed_job.error.code) == ("no", "generation_failed")
    assert batch.error_file_id is not None
    assert b'"no"' in client.files.content(batch.error_file_id)
    retry = batch.retry()
    assert (retry.retried_from, retry.wait(check=False).request_counts.total) == (batch.id, 1)
    assert next(client.batches.list(limit=1)).id == retry.id


def test_a_webhook_is_verified(client: Safelight) -> None:
    with Receiver() as receiver:
        endpoint = client.webhooks.create(name="story", url=receiver.url(), event_types=["job.completed"])
        job = client.jobs.create(prompt="a cat", size="64x64")
        (request,) = receiver.until(1)

        event = client.webhooks.unwrap(request.body, request.headers, endpoint.signing_secret)

        assert (event.type, event.data.id) == ("job.completed", job.id)
        for secret in (new_secret(), "whsec_" + "A" * 32):
            with pytest.raises(safelight_client.SignatureInvalid):
                client.webhooks.unwrap(request.body, request.headers, secret)
        for headers in (
            {**request.headers, "webhook-timestamp": "1"},
            {**request.headers, "webhook-signature": "v1"},
            {},
        ):
            with pytest.raises(safelight_client.SignatureInvalid):
                safelight_client.unwrap(request.body, headers, endpoint.signing_secret)
        with pytest.raises(safelight_client.SignatureInvalid):
            safelight_client.unwrap(request.body + b" ", request.headers, endpoint.signing_secret)
        (delivery,) = client.webhooks.deliveries(job_id=job.id)
        client.webhooks.redeliver(delivery.id)
        assert [request.headers["webhook-id"] for request in receiver.until(2)] == [event.id] * 2
        new_endpoint = client.webhooks.rotate_secret(endpoint.id, keep_old_secret_active_for_24_hours=True)
        assert new_endpoint.signing_secret != endpoint.signing_secret
        assert client.webhooks.delete(endpoint.id).deleted


def test_a_submit_whose_connection_is_killed_generates_once(safelight: Stack) -> None:
    prompt = f"once {uuid4()}"
    with Wire(safelight.port, lambda requests, _: b"POST /v1/jobs " in requests) as wire:
        with Safelight(wire.url) as client:
            job = client.jobs.create(prompt=prompt, size="64x64")
        wire.until_cut()
    assert [item["id"] for item in jobs_like(safelight, prompt)] == [job.id]

    async def submit(url: str) -> str:
        async with AsyncSafelight(url) as client:
            return (await client.batches.create(prompts=[prompt], size="64x64")).id

    with Wire(safelight.port, lambda requests, _: b"POST /v1/batches " in requests) as wire:
        batch_id = asyncio.run(submit(wire.url))
        wire.until_cut()
    assert [item["batch_id"] for item in jobs_like(safelight, prompt)] == [batch_id, None]


def test_a_stream_whose_connection_is_killed_goes_on_after_its_last_event(safelight: Stack) -> None:
    with Wire(safelight.port, lambda _, answer: b"event: job.started" in answer) as wire:
        with Safelight(wire.url) as client:
            outages: list[str] = []
            job = client.jobs.create(prompt="a cat", size="64x64", model="slow", steps=8)
            kinds = [event.type for event in client.jobs.events(job.id) if event.id]
        wire.until_cut()

    assert kinds == ["job.queued", "job.started", "job.completed"]
    assert re.findall(r"last-event-id: (\d+)", wire.requests)[0] == "0"
    assert outages == []


@pytest.mark.parametrize("response", [STREAM, BROKEN], ids=["stream", "download"])
def test_a_server_whose_responses_always_break_off_is_not_asked_for_ever(response: bytes) -> None:
    with FixedServer([response] * 4) as server:
        with Safelight(server.url, retry_seconds=1) as client, pytest.raises(safelight_client.ConnectionFailed):
            list(client.jobs.events("job_1")) if response == STREAM else client.files.content("file-1")
        assert server.count < 4


def test_a_stream_that_ends_with_an_error_raises_it() -> None:
    with (
        FixedServer([STREAM + ERROR_EVENT, REVOKED]) as server,
        Safelight(server.url) as client,
        pytest.raises(safelight_client.AuthenticationFailed),
    ):
        list(client.batches.events("batch_1"))


def test_a_prompt_may_have_every_line_separator_of_unicode(client: Safelight) -> None:
    prompt = "a cat\u2028on\u2029a\x85sofa"
    events = list(client.jobs.create(prompt=prompt, size="64x64").events())

    assert events[-1].job is not None
    assert events[-1].job.prompt == prompt


def test_an_error_has_its_code_its_field_and_its_request(client: Safelight, guarded: Stack) -> None:
    with pytest.raises(BadRequest) as caught:
        client.jobs.create(prompt="a cat", size="1x1")
    error = caught.value
    assert (error.status, error.param) == (400, "size")
    assert error.request_id
    assert "64x64" in str(error)
    with Safelight(guarded.url, "sl_wrong") as stranger, pytest.raises(safelight_client.AuthenticationFailed):
        next(stranger.jobs.list())
    with Safelight(f"http://127.0.0.1:{free_port()}") as lost, pytest.raises(safelight_client.ConnectionFailed):
        lost.models.list()
    for url in ("localhost:8000", "http://127.0.0.1:8000/v1"):
        with pytest.raises(safelight_client.ConfigurationError):
            Safelight(url)


def test_the_programs_of_the_readme_run(safelight: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "room.png").write_bytes(encode(an_image()))
    (tmp_path / "prompts.csv").write_text("prompt\na cat\na dog\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAFELIGHT_URL", safelight.url)
    monkeypatch.setenv("SAFELIGHT_WEBHOOK_SECRET", new_secret())
    programs = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    names: dict[str, object] = {"__name__": "readme"}

    for program in programs:
        exec(compile(program, README, "exec"), names)  # noqa: S102 - our own page

    assert len(programs) >= 6
    images = {"cat.png", "house.png", "penguin.png", "sofa.png", "images.zip"}
    assert images < {path.name for path in tmp_path.iterdir()}
    receive = names["receive"]
    assert callable(receive)
    assert receive(b"{}", {}) == 400
