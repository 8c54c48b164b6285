"""A batch's counts add up in every sample, whatever happens to its lines: they fail, expire, are cancelled or retried.

The tests print their figures (`pytest -s`).
"""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import sqlalchemy as sa

from core.tables import batches, jobs
from tests.batches import file_lines, submit_batch, until_batch
from tests.stack import Stack, body
from tests.waiting import PATIENCE, until


@dataclass
class Sampler:
    """Clients that look at a batch again and again, each over its own connection."""

    stack: Stack
    batch_id: str
    samples: list[list[dict[str, Any]]] = field(default_factory=list)

    def look(self, number: int, has_ended: threading.Event) -> None:
        with httpx.Client(base_url=self.stack.url, timeout=PATIENCE) as client:
            while not has_ended.wait(0.003):
                self.samples[number].append(body(client.get(f"/v1/batches/{self.batch_id}")))

    @contextmanager
    def looking(self, clients: int = 4) -> Iterator[None]:
        self.samples = [[] for _ in range(clients)]
        has_ended = threading.Event()
        with ThreadPoolExecutor(clients) as threads:
            looks = [threads.submit(self.look, number, has_ended) for number in range(clients)]
            try:
                yield
            finally:
                has_ended.set()
        for look in looks:
            look.result()

    def check(self) -> None:
        """In every sample the counts add up; what is done stays done."""
        for client_samples in self.samples:
            final_counts = {"completed": 0, "failed": 0, "cancelled": 0, "expired": 0}
            for sample in client_samples:
                counts = dict(sample["request_counts"])
                total = counts.pop("total")
                assert total == sum(counts.values()), sample
                assert all(counts[name] >= before for name, before in final_counts.items()), (final_counts, sample)
                final_counts = {name: counts[name] for name in final_counts}
        statuses = Counter(sample["status"] for client_samples in self.samples for sample in client_samples)
        print(f"{sum(statuses.values())} samples by {len(self.samples)} clients, all add up: {dict(statuses)}")


def test_the_counts_add_up_in_every_sample(safelight: Stack) -> None:
    prompts = ["[fail]" if n % 40 == 7 else f"cat {n}" for n in range(320)]
    batch = submit_batch(safelight, prompts=prompts, size="64x64")
    sampler = Sampler(safelight, batch["id"])
    with sampler.looking():
        final_batch = until_batch(safelight, batch["id"])
    sampler.check()

    second_batch = submit_batch(safelight, prompts=prompts, size="64x64", steps=50, model="slow")
    second = Sampler(safelight, second_batch["id"])
    with second.looking():
        until(lambda: count_running(safelight, second_batch["id"]) > 0)
        safelight.client.post(f"/v1/batches/{second_batch['id']}/cancel")
        cancelled = until_batch(safelight, second_batch["id"])
    second.check()

    assert (final_batch["request_counts"]["completed"], final_batch["request_counts"]["failed"]) == (312, 8)
    assert cancelled["request_counts"]["cancelled"] > 280
    assert all(len(samples) > 3 for samples in (*sampler.samples, *second.samples))


def count_running(stack: Stack, batch_id: str) -> int:
    return int(stack.client.get(f"/v1/batches/{batch_id}").json()["request_counts"]["in_progress"])


def test_what_waits_at_the_end_of_the_window_expires_and_the_rest_is_written(safelight: Stack) -> None:
    batch = submit_batch(safelight, prompts=[f"{n}" for n in range(40)], size="64x64", model="slow", steps=12)
    sampler = Sampler(safelight, batch["id"])
    with sampler.looking():
        until(lambda: count_running(safelight, batch["id"]) > 0)
        for table, is_it in ((jobs, jobs.c.batch_id == batch["id"]), (batches, batches.c.id == batch["id"])):
            safelight.database.execute(sa.update(table).where(is_it).values(expires_at=sa.func.now()))
        final_batch = until_batch(safelight, batch["id"])
    sampler.check()

    counts = final_batch["request_counts"]
    outputs, errors = (file_lines(safelight, final_batch[name]) for name in ("output_file_id", "error_file_id"))
    events = safelight.client.get(f"/v1/batches/{batch['id']}/events").text
    print(f"{counts['completed']} were being drawn and are done, {counts['expired']} had waited and expired")
    assert (final_batch["status"], final_batch["expired_at"] is not None, final_batch["completed_at"]) == (
        "expired",
        True,
        None,
    )
    assert counts["completed"] + counts["expired"] == counts["total"] == 40
    assert counts["completed"] >= 8
    assert (len(outputs), len(errors)) == (counts["completed"], counts["expired"])
    assert {line["error"]["code"] for line in errors} == {"batch_expired"}
    assert {line["response"] for line in errors} == {None}
    assert sorted(line["custom_id"] for line in outputs + errors) == sorted(f"line-{n + 1}" for n in range(40))
    assert events.count("event: batch.expired") == 1


def test_a_line_whose_own_time_is_over_does_not_end_the_batchs(safelight: Stack) -> None:
    batch = submit_batch(safelight, requests=[{"prompt": "a cat"}, {"prompt": "b", "model": "elsewhere"}], size="64x64")
    until_batch(safelight, batch["id"], "in_progress")
    late = sa.update(jobs).where(jobs.c.batch_id == batch["id"], jobs.c.model == "elsewhere")
    safelight.database.execute(late.values(expires_at=sa.func.now()))
    final_batch = until_batch(safelight, batch["id"])

    assert (final_batch["status"], final_batch["request_counts"]["expired"]) == ("completed", 1)


def test_lines_that_go_their_own_way_are_counted_all_the_same(safelight: Stack) -> None:
    requests = [{"custom_id": f"r{n}", "prompt": f"{n}", "model": "slow", "steps": 15} for n in range(34)]
    requests[0] = {"custom_id": "r0", "prompt": "a cat", "priority": 5}
    requests[1] = {"custom_id": "r1", "prompt": "[refuse]", "priority": 5, "size": "128x128"}
    batch = submit_batch(safelight, requests=requests, size="64x64")
    sampler = Sampler(safelight, batch["id"])
    with sampler.looking():
        until(lambda: by_status(safelight, batch["id"]) >= {"completed", "failed", "in_progress", "queued"})
        first, failed_job = (job_of(safelight, batch["id"], name) for name in ("r0", "r1"))
        deletion = safelight.client.delete(f"/v1/jobs/{first['id']}")
        deleted_failed = safelight.client.delete(f"/v1/jobs/{failed_job['id']}")
        queued_job = job_of(safelight, batch["id"], "r33")
        unready = safelight.client.delete(f"/v1/jobs/{queued_job['id']}")
        running_job = next(job for job in jobs_of(safelight, batch["id"]) if job["status"] == "in_progress")
        for job in (queued_job, running_job):
            safelight.client.post(f"/v1/jobs/{job['id']}/cancel")
        retried = safelight.client.post(f"/v1/jobs/{failed_job['id']}/retry")
        final_batch = until_batch(safelight, batch["id"])
    sampler.check()
    after = safelight.client.delete(f"/v1/jobs/{first['id']}")

    assert (queued_job["status"], running_job["status"]) == ("queued", "in_progress")
    for answer in (deletion, deleted_failed):
        assert (answer.status_code, body(answer)["error"]["code"]) == (409, "batch_not_final")
    assert (unready.status_code, body(unready)["error"]["code"]) == (409, "job_not_final")
    assert (retried.status_code, body(retried)["batch_id"]) == (202, None)
    counts = {name: number for name, number in final_batch["request_counts"].items() if number}
    assert counts == {"total": 34, "completed": 31, "failed": 1, "cancelled": 2}
    assert final_batch["status"] == "completed"
    assert len(file_lines(safelight, final_batch["output_file_id"])) == 31
    errors = {line["custom_id"]: line["error"] for line in file_lines(safelight, final_batch["error_file_id"])}
    assert set(errors) == {"r1", "r33", running_job["custom_id"]}
    assert errors["r33"]["code"] == "batch_cancelled"
    assert after.status_code == 200
    assert safelight.client.get(f"/v1/batches/{batch['id']}").json()["request_counts"] == final_batch["request_counts"]


def jobs_of(stack: Stack, batch_id: str) -> list[dict[str, Any]]:
    data: list[dict[str, Any]] = stack.client.get(f"/v1/jobs?batch_id={batch_id}&limit=100").json()["data"]
    return data


def by_status(stack: Stack, batch_id: str) -> set[str]:
    return {job["status"] for job in jobs_of(stack, batch_id)}


def job_of(stack: Stack, batch_id: str, custom_id: str) -> dict[str, Any]:
    return next(job for job in jobs_of(stack, batch_id) if job["custom_id"] == custom_id)
