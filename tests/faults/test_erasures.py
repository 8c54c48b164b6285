"""Erasures: nothing of a marker is left in the database, in storage or in Redis, also after a kill in the middle.

The marker is in each prompt, in the lines of batches, in metadata and in the name of the end user. Image files contain
their prompts too.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis
import sqlalchemy as sa

from cli.local.embedded import EmbeddedValkey
from core import jobs as verbs
from core import submits
from core.files import NewFile, new_file_id, record
from core.outbox.signing import new_secret
from core.storage import Storage
from core.tables import DEFAULT_PROJECT, batches, erasures, files, idempotency_keys, images, jobs, provider_calls
from core.webhooks import endpoints
from tests.batches import LINE, file_lines, jsonl, submit_batch, until_batch
from tests.core.schema import PG_DUMP
from tests.factories import a_job, a_project
from tests.images import an_image, data_url, encode, upload
from tests.processes import Process
from tests.stack import Stack, body
from tests.waiting import until
from worker.sweep.erase import Eraser

MARKER = "zanzibar"
OTHER_USER = "bystander"


@pytest.fixture(scope="module")
def running(directory: Path, fresh_database: Callable[[], str], valkey: EmbeddedValkey) -> Iterator[Stack]:
    with Stack(directory / "erasures", fresh_database(), valkey.url) as stack:
        stack.api()
        stack.worker()
        stack.sweep()
        yield stack


def traces(stack: Stack) -> list[str]:
    """Where the marker is: a line of a dump of all tables, a file in storage, a key or value in Redis."""
    url = stack.database.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    dump = subprocess.run([PG_DUMP, "--data-only", url], check=True, capture_output=True, text=True).stdout
    places = [line[:200] for line in dump.splitlines() if MARKER in line]
    places += [str(path) for path in objects(stack) if MARKER.encode() in path.read_bytes()]
    assert stack.settings.redis_url is not None
    with redis.Redis.from_url(stack.settings.redis_url) as client:
        for key in client.scan_iter():
            value = client.dump(key) or b""
            places += [str(key)] if MARKER.encode() in key + value else []
    return places


def objects(stack: Stack) -> list[Path]:
    return [path for path in (stack.directory / "images").rglob("*") if path.is_file()]


def paths_of_rows(stack: Stack) -> set[Path]:
    """Where the objects are that rows of images and files refer to."""
    keys = sa.union_all(sa.select(images.c.storage_key), sa.select(files.c.storage_key))
    return {stack.directory / "images" / row.storage_key for row in stack.database.execute(keys)}


def call_keys(stack: Stack) -> list[bytes]:
    """The keys of unanswered calls in Redis."""
    assert stack.settings.redis_url is not None
    with redis.Redis.from_url(stack.settings.redis_url) as client:
        return [*client.scan_iter("*call*")]


def erasure(stack: Stack, answer: Any) -> dict[str, Any]:
    """An erasure once it is completed."""
    assert answer.status_code == 202, answer.text
    location = answer.headers["location"]
    until(lambda: stack.client.get(location).json()["status"] == "completed")
    return body(stack.client.get(location))


def image_call(stack: Stack, user: str, prompt: str, **headers: str) -> str:
    """A synchronous call of an end user; returns its job."""
    fields = {"prompt": prompt, "size": "64x64", "user": user}
    answer = stack.client.post("/v1/images/generations", json=fields, headers=headers)
    assert answer.status_code == 200, answer.text
    return str(answer.headers["x-safelight-job"])


def edit_of(stack: Stack, image: dict[str, str], user: str) -> str:
    job = stack.submit(
        f"a dog in {MARKER}" if user == MARKER else "a dog",
        operation="edit", strength=1.0, image=image, metadata={"user": user},
    )  # fmt: skip
    assert stack.final(job["id"])["status"] == "completed"
    return str(job["id"])


def test_nothing_of_an_end_user_is_left_and_all_of_another_is(running: Stack) -> None:
    shared_input = {"file_id": upload(running, encode(an_image()))["id"]}
    own_input = {"file_id": upload(running, encode(an_image(colour="navy")), f"{MARKER}.png")["id"]}
    key = {"idempotency-key": "order-1"}
    image_call(running, MARKER, f"a cat in {MARKER}", **key)
    submitted = running.client.post(
        "/v1/jobs", headers={"idempotency-key": "order-2"},
        json={"prompt": f"a fox in {MARKER}", "size": "64x64", "metadata": {"user": MARKER},
              "webhook": {"url": "http://127.0.0.1:65000/", "events": ["job.completed"]}},
    )  # fmt: skip
    running.final(submitted.json()["id"])
    for image in (shared_input, own_input, data_url(an_image(colour="red"))):
        edit_of(running, image, MARKER)
    others = [image_call(running, OTHER_USER, "a cat"), edit_of(running, shared_input, OTHER_USER)]
    lines = [
        LINE | {"custom_id": user, "body": {"prompt": f"a cat of {user}", "size": "64x64", "user": user,
                "response_format": "b64_json"}}
        for user in (MARKER, OTHER_USER)
    ]  # fmt: skip
    input_file = upload(running, jsonl(*lines), "batch.jsonl", purpose="batch")["id"]
    batch = until_batch(
        running,
        submit_batch(running, input_file_id=input_file, endpoint="/v1/images/generations")["id"],
    )
    both_names = {"prompt": f"a hen in {MARKER}", "size": "64x64", "user": MARKER, "safety_identifier": "hash-1"}
    answer = running.client.post("/v1/images/generations", json=both_names | {"metadata": {"user": "own"}})
    metadata = running.job(answer.headers["x-safelight-job"])["metadata"]
    assert metadata == {"user": "own", "safety_identifier": "hash-1", "openai_user": MARKER}
    unanswered = running.submit(f"a bear in {MARKER}", model="elsewhere", metadata={"user": MARKER})
    assert len(traces(running)) > 10

    report = erasure(running, running.client.post("/v1/erasures", json={"user": MARKER}))

    assert traces(running) == []
    assert report["counts"] == {
        "jobs": 8, "images": 7, "batches": 0, "files": 3, "objects": 10, "deliveries": 1, "idempotency_keys": 2,
        "provider_calls": 0, "webhook_endpoints": 0, "fine_tuning_jobs": 0,
    }  # fmt: skip
    assert running.client.get(f"/v1/jobs/{unanswered['id']}").status_code == 404
    assert running.client.post(
        "/v1/images/generations", headers=key, json={"prompt": f"a cat in {MARKER}", "size": "64x64", "user": MARKER}
    ).status_code == 404  # fmt: skip
    assert [line["custom_id"] for line in file_lines(running, batch["output_file_id"])] == [OTHER_USER]
    for job_id in others:
        assert running.image(running.job(job_id)["images"][0])
    assert running.client.get(f"/v1/files/{shared_input['file_id']}/content").status_code == 200
    assert paths_of_rows(running) == set(objects(running))


def test_a_job_goes_with_its_copies_its_line_and_the_response_of_its_key(running: Stack) -> None:
    edit = edit_of(running, data_url(an_image()), MARKER)
    batch = until_batch(
        running, submit_batch(running, prompts=["a cat", f"a cat in {MARKER}"], endpoint="/v1/jobs")["id"]
    )
    line = running.client.get("/v1/jobs", params={"batch_id": batch["id"], "order": "desc"}).json()["data"][0]

    for job_id in (edit, line["id"]):
        assert running.client.delete(f"/v1/jobs/{job_id}").json() == {"id": job_id, "object": "job", "deleted": True}

    until(lambda: not running.database.execute(sa.select(erasures.c.id).where(erasures.c.finished_at.is_(None))))
    assert traces(running) == []
    assert len(file_lines(running, batch["output_file_id"])) == 1
    assert paths_of_rows(running) == set(objects(running))


def test_an_input_that_a_retry_uses_goes_with_the_last_of_its_jobs(running: Stack) -> None:
    first = running.submit("a dog", operation="edit", strength=1.0, image=data_url(an_image()), model="elsewhere")
    running.client.post(f"/v1/jobs/{first['id']}/cancel")
    second = body(running.client.post(f"/v1/jobs/{first['id']}/retry"))
    before = running.count(files)
    running.client.post(f"/v1/jobs/{second['id']}/cancel")

    for job, deleted_files in ((first, 0), (second, 1)):
        assert running.client.delete(f"/v1/jobs/{job['id']}").status_code == 200
        assert running.count(files) == before - deleted_files
        assert paths_of_rows(running) == set(objects(running))


def test_who_follows_a_job_is_told_that_it_was_deleted(running: Stack) -> None:
    """The streams do not see a final event: the job goes as if they had missed it."""
    job = running.submit(model="elsewhere")
    with (
        running.client.stream("GET", f"/v1/jobs/{job['id']}/events") as events,
        running.client.stream(
            "POST", "/v1/images/generations", json={"prompt": "a cat", "model": "elsewhere", "stream": True}
        ) as call,
    ):
        event_lines, call_lines = events.iter_lines(), call.iter_lines()
        first_lines = [next(event_lines) for _ in range(3)]  # the response begins before the events are read
        call_job = next(call_lines).rpartition(" ")[2]
        running.database.execute(sa.delete(jobs).where(jobs.c.id.in_([job["id"], call_job])))

        assert any("job.queued" in line for line in first_lines)
        assert not any("job.completed" in line for line in event_lines)
        assert any(f"There is no job '{call_job}'" in line for line in call_lines)


def test_a_running_batch_is_cancelled_and_deleted_with_its_files(running: Stack) -> None:
    fields = {"prompt": f"a cat in {MARKER}", "model": "slow", "steps": 1000}
    requests = [fields for _ in range(20)]
    answer = running.client.post(
        "/v1/batches", json={"requests": requests, "endpoint": "/v1/jobs"}, headers={"idempotency-key": "b"}
    )
    batch_id = answer.json()["id"]
    until(lambda: running.client.get("/v1/jobs", params={"batch_id": batch_id, "status": "in_progress"}).json()["data"])

    report = erasure(running, running.client.delete(f"/v1/batches/{batch_id}"))

    assert (report["counts"]["jobs"], report["counts"]["batches"]) == (20, 1)
    assert report["counts"]["idempotency_keys"] == 1
    assert traces(running) == []
    assert not running.client.get("/v1/jobs", params={"batch_id": batch_id}).json()["data"]
    assert not running.database.execute(sa.select(batches.c.id).where(batches.c.id == batch_id))
    assert paths_of_rows(running) == set(objects(running))


LARGE = 600
"""More than one step of an erasure."""


@pytest.fixture
def large(own: Stack) -> Stack:
    """A project with many cancelled jobs, each with an object, and with what belongs to the project itself."""
    storage = Storage(own.settings)
    new_jobs = [a_job(prompt=f"{MARKER} {number}") for number in range(LARGE)]
    own.database.execute(submits.submit(*new_jobs))
    own.database.execute(verbs.cancel_jobs(LARGE))
    file = NewFile(new_file_id(), DEFAULT_PROJECT, "user_data", MARKER, len(MARKER))
    for key in (*(f"jobs/{job.id}/lease/0.png" for job in new_jobs), file.storage_key):
        storage.put(key, MARKER.encode(), "image/png")
    own.database.execute(record(file))
    endpoint = endpoints.create(DEFAULT_PROJECT, MARKER, f"https://{MARKER}.test/", ["job.completed"], new_secret())
    own.database.execute(endpoint)
    return own


def erase_command(stack: Stack, *options: str) -> Process:
    return Process("erase", [sys.executable, "-m", "cli.main", "erase", *options, "--json"], stack.environment)


def test_an_erasure_that_is_killed_in_the_middle_is_continued(large: Stack) -> None:
    with large.database.transaction() as connection:
        last_job = sa.select(jobs.c.id).order_by(jobs.c.id.desc()).limit(1).with_for_update()
        connection.execute(last_job)
        with erase_command(large, "--project", DEFAULT_PROJECT, "--yes") as command:
            waits = sa.text(
                "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' "
                "AND application_name = 'safelight-erase'"
            )
            until(lambda: large.database.execute(waits))
            command.kill()
        connection.rollback()
    remaining = large.count()
    assert 0 < remaining < LARGE
    assert len(objects(large)) < remaining + 5

    eraser = Eraser(large.settings)
    for _ in eraser.erase_all():
        pass
    eraser.close()

    assert traces(large) == []
    (row,) = large.database.execute(sa.select(erasures.c.counts, erasures.c.finished_at))
    assert (row.counts["jobs"], row.counts["files"], row.counts["webhook_endpoints"]) == (LARGE, 1, 1)
    assert row.finished_at is not None
    assert (large.count(), objects(large)) == (0, [])


def test_the_command_erases_without_a_sweep_and_prints_what_went(own: Stack) -> None:
    """The call is unanswered: Redis has a hash of its request, and the database that of the request to a provider."""
    own.api()
    other_project = a_project(own.database, "other")
    for project in ("proj_default", other_project):
        own.database.execute(
            sa.insert(idempotency_keys).values(
                project_id=project, key=MARKER, fingerprint=b"x", response={"prompt": MARKER},
                expires_at=sa.func.now() + sa.text("interval '1 day'"),
            )
        )  # fmt: skip
    fields = {"prompt": MARKER, "size": "64x64", "model": "elsewhere", "stream": True}
    with own.client.stream("POST", "/v1/images/generations", json=fields):
        until(lambda: len(call_keys(own)) == 2)
        (job,) = own.client.get("/v1/jobs").json()["data"]
        own.client.post(f"/v1/jobs/{job['id']}/cancel")
        call = {"id": "call_1", "project_id": "proj_default", "job_id": job["id"], "attempt": 1, "worker": "w"}
        call |= {"lease": uuid4(), "queue": "q", "model": "m", "n": 1, "request_hash": MARKER.encode()}
        own.database.execute(sa.insert(provider_calls).values(call | {"provider_request_id": MARKER}))
        with erase_command(own, "--job", job["id"]) as command:
            assert command.wait() == 0, command.output()
        counts = json.loads(command.output().splitlines()[-1])
        assert call_keys(own) == []
        assert own.count(provider_calls) == 1  # what was paid for outlives its job
    with erase_command(own, "--project", "default", "--yes") as command:
        assert command.wait() == 0, command.output()

    assert counts == dict.fromkeys(counts, 0) | {"jobs": 1, "provider_calls": 1}
    assert own.count(provider_calls) == 0
    assert [row.project_id for row in own.database.execute(sa.select(idempotency_keys))] == [other_project]
    with erase_command(own, "--job", "x", "--user", "y") as command:
        assert command.wait() == 1
    assert "exactly one of --job, --batch and --user" in command.output()
