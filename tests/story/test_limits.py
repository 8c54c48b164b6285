"""Limits of projects and keys, and their usage, as a client sees them."""

import asyncio
import csv
import io
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from api.draining_queues import DrainingQueues
from api.limits import CallerLimits
from api.submission import Submission
from cli.local.embedded import EmbeddedValkey
from cli.main import app as command_line
from core import keys, limits
from core.db import AsyncDatabase
from core.limit_errors import InsufficientQuota
from core.redis.notifier import AsyncNotifier
from core.scopes import ALL_SCOPES
from core.tables import images
from core.tables import jobs as jobs_table
from tests.factories import a_job, a_key, a_project
from tests.stack import Stack, body
from tests.waiting import PATIENCE, until

Query = dict[str, str | int | float | bool | Sequence[str | int | float | bool | None] | None]

MAX_PROJECT_REQUESTS = 30

SMALL = {"prompt": "x", "size": "64x64", "model": "elsewhere"}


@pytest.fixture(scope="module")
def service(directory: Path, fresh_database: Callable[[], str], valkey: EmbeddedValkey) -> Iterator[Stack]:
    """A Safelight that requires keys."""
    with Stack(directory / "limits", fresh_database(), valkey.url, SAFELIGHT_AUTH="on") as stack:
        stack.api(SAFELIGHT_MAX_PROJECT_REQUESTS=str(MAX_PROJECT_REQUESTS))
        # A worker notices the first limit of running jobs after two seconds: this one is there when it starts.
        stack.database.execute(limits.change("key_of_nobody", {"running_jobs": 1}))
        stack.worker()
        stack.sweep()
        yield stack


class Tenant:
    """A project with a key and limits of its own."""

    def __init__(self, service: Stack, name: str, of_key: dict[str, float] | None = None, **values: float) -> None:
        self.project_id = a_project(service.database, name)
        self.key = keys.new_key()
        (self.key_id,) = service.database.execute(keys.add(self.key, self.project_id, name, tuple(ALL_SCOPES)))
        for subject_id, of_subject in ((self.project_id, values), (self.key_id, of_key)):
            if of_subject:
                service.database.execute(limits.change(subject_id, of_subject))
        headers = {"authorization": f"Bearer {self.key}"}
        self.client = httpx.Client(base_url=service.url, headers=headers, timeout=PATIENCE)

    def submit(self, **fields: Any) -> httpx.Response:
        return self.client.post("/v1/jobs", json={**SMALL, **fields})


NewTenant = Callable[..., Tenant]


@pytest.fixture
def new_tenant(service: Stack) -> Iterator[NewTenant]:
    """Makes projects with a key."""
    with ExitStack() as exits:

        def make(name: str, **options: Any) -> Tenant:
            tenant = Tenant(service, name, **options)
            exits.enter_context(tenant.client)
            return tenant

        yield make


def error(answer: httpx.Response) -> dict[str, Any]:
    details: dict[str, Any] = body(answer)["error"]
    return details


def test_requests_per_minute_are_counted_and_the_headers_say_how_many_are_left(
    service: Stack, new_tenant: NewTenant
) -> None:
    tenant = new_tenant("brisk", requests_per_minute=3)

    answers = [tenant.submit() for _ in range(4)]

    assert [answer.status_code for answer in answers] == [202, 202, 202, 429]
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["2", "1", "0", "0"]
    assert answers[0].headers["x-ratelimit-limit-requests"] == "3"
    assert answers[0].headers["x-ratelimit-reset-requests"].endswith("s")
    assert error(answers[3])["code"] == "rate_limit_exceeded"
    assert answers[3].headers["x-should-retry"] == "true"
    assert 0 < int(answers[3].headers["retry-after-ms"]) <= 120_000
    assert tenant.client.get("/v1/jobs").status_code == 200  # reading is not limited
    job_id = body(answers[0])["id"]
    assert tenant.client.post(f"/v1/jobs/{job_id}/cancel").status_code == 200


def test_images_per_minute_are_counted_by_their_number_and_shown_in_the_headers_of_openai(
    new_tenant: NewTenant,
) -> None:
    tenant = new_tenant("lavish", images_per_minute=5)

    answers = [tenant.submit(n=n) for n in (3, 4, 2)]
    alone = tenant.submit(n=8)

    assert [answer.status_code for answer in answers] == [202, 429, 202]
    assert [answer.headers["x-ratelimit-remaining-images"] for answer in answers] == ["2", "2", "0"]
    assert answers[0].headers["x-ratelimit-limit-images"] == "5"
    assert "may order 5 images per minute" in error(answers[1])["message"]
    assert "This request alone is for 8" in error(alone)["message"]


def test_a_key_at_its_limit_uses_up_nothing_of_its_project(service: Stack, new_tenant: NewTenant) -> None:
    own = {"images_per_minute": 2, "requests_per_minute": 4}
    tenant = new_tenant("eager", of_key=own, images_per_minute=8, requests_per_minute=8)
    sibling = keys.new_key()
    service.database.execute(keys.add(sibling, tenant.project_id, "sibling", tuple(ALL_SCOPES)))

    refusals = [tenant.submit(n=2).status_code for _ in range(6)]
    tenant.client.headers["authorization"] = f"Bearer {sibling}"
    answer = tenant.submit(n=4)

    assert (refusals, answer.status_code) == ([202, 429, 429, 429, 429, 429], 202)
    assert answer.headers["x-ratelimit-remaining-images"] == "2"
    assert answer.headers["x-ratelimit-remaining-requests"] == "3"


def test_images_are_not_counted_if_another_limit_refuses_them(new_tenant: NewTenant) -> None:
    tenant = new_tenant("refused", of_key={"images_per_minute": 9}, images_per_minute=6, jobs=1)

    def submit(n: int, **headers: str) -> tuple[int, str]:
        answer = tenant.client.post("/v1/jobs", json={**SMALL, "n": n}, headers=headers)
        return answer.status_code, answer.headers["x-ratelimit-remaining-images"]

    assert submit(2) == (202, "4")
    assert submit(2) == (429, "4"), "a job too many"
    assert submit(2, **{"idempotency-key": "one"}) == (429, "4"), "a job too many"
    assert submit(5) == (429, "4"), "too many images for the project: they do not count for the key"


def test_running_jobs_are_limited_and_shown(service: Stack, new_tenant: NewTenant) -> None:
    tenant = new_tenant("steady", running_jobs=1)
    first = body(tenant.submit(model="slow", steps=1000))["id"]
    others = [body(tenant.submit(model="slow", steps=1))["id"] for _ in range(3)]

    def status(job_id: str) -> str:
        return str(body(tenant.client.get(f"/v1/jobs/{job_id}"))["status"])

    until(lambda: status(first) == "in_progress")
    (limit,) = body(tenant.client.get("/v1/organization/limits"))["data"]
    tenant.client.post(f"/v1/jobs/{first}/cancel")
    until(lambda: [status(job_id) for job_id in others] == ["completed"] * 3)

    assert (limit["limits"]["running_jobs"], limit["use"]["running_jobs"]) == (1, 1)
    rows = service.database.execute(sa.select(images.c.receipt).where(images.c.project_id == tenant.project_id))
    assert [row.receipt["microbatch"] for row in rows] == [1, 1, 1]  # without a limit they share a pass


def test_jobs_at_once_are_limited_for_jobs_batches_keys_and_retries(service: Stack, new_tenant: NewTenant) -> None:
    tenant = new_tenant("busy", jobs=3, of_key={"jobs": 2})
    first, second, third = (tenant.submit() for _ in range(3))
    assert (first.status_code, second.status_code, third.status_code) == (202, 202, 429)
    assert (error(third)["code"], third.headers["retry-after"]) == ("too_many_jobs", "5")
    assert "This API key may have 2 jobs queued and running at once: 2 are" in error(third)["message"]

    batch = tenant.client.post("/v1/batches", json={"prompts": ["a", "b"], "model": "elsewhere"})
    with_key = tenant.client.post("/v1/jobs", json=SMALL, headers={"idempotency-key": "one"})
    tenant.client.post(f"/v1/jobs/{body(first)['id']}/cancel")
    retry = tenant.client.post(f"/v1/jobs/{body(first)['id']}/retry")
    again = tenant.submit()

    assert [answer.status_code for answer in (batch, with_key, retry, again)] == [429, 429, 202, 429]
    rows = service.database.execute(sa.select(jobs_table.c.id).where(jobs_table.c.project_id == tenant.project_id))
    assert len(rows) == 3


def test_a_batch_of_requests_that_exceeds_a_limit_fails_with_its_name(service: Stack, new_tenant: NewTenant) -> None:
    tenant = new_tenant("batches", jobs=2)
    requests = [{"prompt": f"{number}", "model": "elsewhere"} for number in range(3)]
    batch_id = body(tenant.client.post("/v1/batches", json={"requests": requests}))["id"]

    until(lambda: body(tenant.client.get(f"/v1/batches/{batch_id}"))["status"] != "validating")

    batch = body(tenant.client.get(f"/v1/batches/{batch_id}"))
    assert (batch["status"], batch["errors"]["data"][0]["code"]) == ("failed", "too_many_jobs")


def test_a_used_quota_is_not_retried_by_the_sdk_and_says_when_it_is_reset(
    service: Stack, new_tenant: NewTenant
) -> None:
    tenant = new_tenant("thrifty", device_seconds_per_day=0.0)
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key=tenant.key) as sdk:
        began = time.monotonic()
        with pytest.raises(openai.RateLimitError) as caught:
            sdk.images.generate(model="slow", prompt="a cat")

    assert time.monotonic() - began < PATIENCE
    assert (caught.value.code, caught.value.type) == ("insufficient_quota", "insufficient_quota")
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert "0 device-seconds a day" in caught.value.message
    assert "00:00 UTC" in caught.value.message


def test_a_job_beyond_a_quota_does_not_refuse_smaller_ones_that_come_with_it(
    service: Stack, new_tenant: NewTenant
) -> None:
    tenant = new_tenant("mixed", device_seconds_per_day=10.0)

    async def submit_at_once(*costs: float) -> Sequence[object]:
        database = AsyncDatabase(service.settings)
        caller_limits, notifier = CallerLimits(service.settings, database), AsyncNotifier(service.settings)
        submission = Submission(database, caller_limits, DrainingQueues(database), notifier)
        jobs = [a_job(project_id=tenant.project_id, queue="nowhere", cost=cost) for cost in costs]
        results = await asyncio.gather(*map(submission.submit, jobs), return_exceptions=True)
        for service_part in (submission, notifier, caller_limits, database):
            await service_part.close()
        return results

    results = asyncio.run(submit_at_once(6.0, 90.0, 100.0, 3.0, 2.0, 0.5))

    assert [isinstance(result, InsufficientQuota) for result in results] == [False, True, True, False, True, False]


def test_an_upload_beyond_the_stored_bytes_is_refused(service: Stack, new_tenant: NewTenant) -> None:
    tenant = new_tenant("full", stored_bytes=10)

    def upload(content: bytes) -> httpx.Response:
        return tenant.client.post("/v1/files", data={"purpose": "user_data"}, files={"file": ("a.txt", content)})

    small, large = upload(b"12345"), upload(b"1234567")

    assert (small.status_code, large.status_code, error(large)["code"]) == (200, 429, "insufficient_quota")
    tenant.client.delete(f"/v1/files/{body(small)['id']}")
    assert upload(b"1234567").status_code == 200


def test_usage_is_shown_by_model_to_its_project_and_to_an_operator(service: Stack, new_tenant: NewTenant) -> None:
    began = int(time.time())
    tenant, reader = new_tenant("user"), new_tenant("operator")
    job_id = body(tenant.submit(model="fake", n=2))["id"]
    assert body(tenant.client.get(f"/v1/jobs/{job_id}", params={"wait": 60}))["status"] == "completed"
    query: Query = {
        "start_time": began,
        "bucket_width": "1d",
        "group_by[]": ["project_id", "model"],
        "project_ids": tenant.project_id,
    }

    page = body(reader.client.get("/v1/organization/usage/images", params=query))
    costs = body(reader.client.get("/v1/organization/costs", params=query))
    text = reader.client.get("/v1/organization/usage/images", params=query, headers={"accept": "text/csv"}).text
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key="x", admin_api_key=tenant.key) as sdk:
        of_sdk = sdk.admin.organization.usage.images(start_time=began, group_by=["model"])

    (result,) = page["data"][0]["results"]
    assert (result["images"], result["num_model_requests"], result["model"]) == (2, 1, "fake")
    assert result["project_id"] == tenant.project_id
    assert costs["data"][0]["results"][0]["amount"] == {"value": 0.0, "currency": "usd"}
    (row,) = csv.DictReader(io.StringIO(text))
    assert (row["project_id"], row["images"]) == (tenant.project_id, "2")
    assert of_sdk.data[0].results
    own = body(tenant.client.get("/v1/organization/limits"))
    assert own == {"object": "list", "data": []}


def test_a_key_without_admin_sees_its_own_project_only(service: Stack, new_tenant: NewTenant) -> None:
    tenant = new_tenant("curious")
    key = a_key(service.database, tenant.project_id)

    query: Query = {"start_time": int(time.time()) - 60, "project_ids": "proj_other", "group_by": "project_id"}
    headers = {"authorization": f"Bearer {key}"}
    page = body(tenant.client.get("/v1/organization/usage/images", params=query, headers=headers))

    assert all(result["project_id"] == tenant.project_id for bucket in page["data"] for result in bucket["results"])


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({}, "start_time"),
        ({"start_time": 0, "bucket_width": "1w"}, "bucket_width"),
        ({"start_time": 0, "group_by[]": "colour"}, "group_by"),
        ({"start_time": 10, "end_time": 5}, "end_time"),
        ({"start_time": 0, "colour": "red"}, "colour"),
    ],
)
def test_a_wrong_query_is_a_400_that_names_the_parameter(
    new_tenant: NewTenant, query: dict[str, Any], param: str
) -> None:
    answer = new_tenant("wrong").client.get("/v1/organization/usage/images", params=query)

    assert (answer.status_code, error(answer)["param"]) == (400, param)


def test_the_command_line_sets_and_shows_limits_and_usage(
    service: Stack, new_tenant: NewTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in service.environment.items():
        monkeypatch.setenv(name, value)
    tenant = new_tenant("by hand")

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(command_line, arguments)
        return result.exit_code, result.output

    code, text = run("projects", "limits", "by hand", "--jobs", "5", "--stored-bytes", "unlimited")
    assert code == 0, text
    assert "jobs                    5" in text
    assert run("projects", "limits", tenant.key_id, "--stored-bytes", "5")[0] == 1
    assert run("projects", "limits", "by hand", "--jobs", "many")[0] == 1
    assert "by hand" in run("projects", "list")[1]
    assert run("usage", "--csv")[1].startswith("start_time,project_id")
    assert "images" in run("usage", "--by", "model")[1]
    until(lambda: body(tenant.client.get("/v1/organization/limits"))["data"])
    (limit,) = body(tenant.client.get("/v1/organization/limits"))["data"]
    assert limit["limits"]["jobs"] == 5


def test_a_project_that_keeps_event_streams_open_leaves_connections_to_others(new_tenant: NewTenant) -> None:
    watcher, other = new_tenant("watcher"), new_tenant("reader")
    job_id = body(watcher.submit())["id"]
    with ExitStack() as exits:
        for _ in range(MAX_PROJECT_REQUESTS):
            stream = exits.enter_context(watcher.client.stream("GET", f"/v1/jobs/{job_id}/events"))
            assert stream.status_code == 200

        refusal = watcher.submit()

        assert (refusal.status_code, error(refusal)["code"]) == (429, "too_many_open_requests")
        assert refusal.headers["retry-after"] == "1"
        assert "30 requests in progress" in error(refusal)["message"]
        assert other.submit().status_code == 202
    until(lambda: watcher.submit().status_code == 202)
