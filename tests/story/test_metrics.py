"""What Prometheus reads from the processes after jobs, and who else can read it."""

from collections import defaultdict
from collections.abc import Mapping

import httpx
import pytest
import sqlalchemy as sa

from core.scopes import Scope
from core.tables import jobs
from tests.factories import a_key
from tests.samples import read_samples
from tests.stack import Stack
from tests.story.conftest import METRICS_TOKEN
from tests.waiting import until

FAKE = 'model="fake"'


def api_samples(stack: Stack) -> defaultdict[str, float]:
    response = stack.client.get("/metrics", headers={"authorization": f"Bearer {METRICS_TOKEN}"})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/plain")
    return read_samples(response.text)


def worker_samples(stack: Stack) -> defaultdict[str, float]:
    return read_samples(httpx.get(f"http://127.0.0.1:{stack.settings.metrics_port}/metrics").text)


def increases(before: Mapping[str, float], after: Mapping[str, float], *names: str) -> list[float]:
    return [after.get(name, 0) - before.get(name, 0) for name in names]


def test_one_job_is_counted_by_the_api_and_by_the_worker(guarded: Stack) -> None:
    headers = {"authorization": f"Bearer {a_key(guarded.database)}"}
    api_before, worker_before = api_samples(guarded), worker_samples(guarded)

    request = {"prompt": "a cat", "size": "64x64", "model": "fake", "n": 2}
    job = guarded.client.post("/v1/jobs", json=request, headers=headers).json()
    guarded.client.get(f"/v1/jobs/{job['id']}", params={"wait": 20}, headers=headers)
    guarded.client.get("/v1/jobs/job_unknown", headers=headers)
    finished = f'safelight_jobs_finished_total{{{FAKE},outcome="completed"}}'
    until(lambda: worker_samples(guarded)[finished] > worker_before[finished])

    api_after, worker_after = api_samples(guarded), worker_samples(guarded)
    assert increases(
        api_before,
        api_after,
        f'safelight_jobs_accepted_total{{{FAKE},source="request"}}',
        'safelight_http_request_seconds_count{method="POST",route="/v1/jobs",status="202"}',
        'safelight_http_request_seconds_count{method="GET",route="/v1/jobs/{job_id}",status="404"}',
    ) == [1, 1, 1]
    assert increases(
        worker_before,
        worker_after,
        f"safelight_jobs_started_total{{{FAKE}}}",
        finished,
        f"safelight_images_total{{{FAKE}}}",
        f"safelight_microbatch_images_sum{{{FAKE}}}",
        f"safelight_job_wait_seconds_count{{{FAKE}}}",
        f"safelight_job_run_seconds_count{{{FAKE}}}",
        f"safelight_job_seconds_count{{{FAKE}}}",
        'safelight_storage_seconds_count{operation="write"}',
    ) == [1, 1, 2, 2, 1, 1, 1, 2]
    (busy,) = increases(worker_before, worker_after, f"safelight_device_busy_seconds_total{{{FAKE}}}")
    (run,) = increases(worker_before, worker_after, f"safelight_job_run_seconds_sum{{{FAKE}}}")
    assert 0 < busy <= run
    assert job["id"] not in str(api_after) + str(worker_after)
    assert api_after["safelight_event_streams{}"] == 0


def test_the_api_shows_how_many_jobs_wait_in_a_queue(guarded: Stack) -> None:
    headers = {"authorization": f"Bearer {a_key(guarded.database)}"}
    request = {"prompt": "a cat", "size": "64x64", "model": "elsewhere"}
    assert guarded.client.post("/v1/jobs", json=request, headers=headers).status_code == 202
    waiting = sa.select(sa.func.count()).where(jobs.c.queue == "nobody", jobs.c.status == "queued")
    depth = int(guarded.database.execute(waiting)[0][0])

    until(lambda: api_samples(guarded)['safelight_queue_jobs{queue="nobody",status="queued"}'] == depth)

    assert api_samples(guarded)['safelight_queue_oldest_seconds{queue="nobody"}'] > 0


@pytest.mark.parametrize("header", ["", "Bearer wrong-token-of-metrics", f"Basic {METRICS_TOKEN}", "Bearer sl_wrong"])
def test_without_the_token_nobody_reads_the_metrics(guarded: Stack, header: str) -> None:
    response = guarded.client.get("/metrics", headers={"authorization": header})

    assert response.status_code == 401
    assert "safelight_jobs" not in response.text


def test_a_key_reads_the_metrics_only_with_the_scope_admin(guarded: Stack) -> None:
    statuses = [
        guarded.client.get("/metrics", headers={"authorization": f"Bearer {a_key(guarded.database, scopes=[scope])}"})
        for scope in (Scope.READ, Scope.ADMIN)
    ]

    assert [response.status_code for response in statuses] == [403, 200]
    assert guarded.client.get("/v1/jobs", headers={"authorization": f"Bearer {METRICS_TOKEN}"}).status_code == 401
