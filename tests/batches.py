"""Batches as tests submit, follow and read them, over HTTP and in the database."""

import json
import time
from typing import Any

import sqlalchemy as sa

from core.status import BATCH_FINAL
from core.tables import batch_events, batches, jobs
from tests.images import upload
from tests.stack import Stack, body
from tests.waiting import PATIENCE

LINE = {"custom_id": "cat", "method": "POST", "url": "/v1/images/generations", "body": {"prompt": "a cat"}}


# What a client does


def jsonl(*lines: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def request_lines(count: int, **fields: Any) -> list[dict[str, Any]]:
    """Lines of OpenAI's shape, each with a prompt of its own."""
    return [
        LINE | {"custom_id": f"request-{n}", "body": {"prompt": f"cat number {n}", "size": "64x64", **fields}}
        for n in range(count)
    ]


def submit_batch(stack: Stack, expected_status: int = 200, **fields: Any) -> dict[str, Any]:
    """Post a batch and return the answer's body."""
    answer = stack.client.post("/v1/batches", json=fields)
    assert answer.status_code == expected_status, answer.text
    return body(answer)


def submit_file(stack: Stack, lines: int, **fields: Any) -> str:
    """Upload a file of so many lines, submit a batch of it, and return the batch's id."""
    file = upload(stack, jsonl(*request_lines(lines, **fields)), "batch.jsonl", purpose="batch")
    return str(submit_batch(stack, input_file_id=file["id"], endpoint="/v1/images/generations")["id"])


def until_batch(stack: Stack, batch_id: str, *statuses: str) -> dict[str, Any]:
    """The batch as the stream shows it in one of these states, by default a final one; its counts always add up."""
    final_statuses = statuses or tuple(map(str, BATCH_FINAL))
    deadline = time.monotonic() + PATIENCE
    with stack.client.stream("GET", f"/v1/batches/{batch_id}/events") as stream:
        for line in stream.iter_lines():
            assert time.monotonic() < deadline, f"{batch_id} was not {final_statuses} in time"
            if not line.startswith("data: "):
                continue
            data = json.loads(line.removeprefix("data: "))
            batch: dict[str, Any] = data["data"]["batch"] if data["object"] == "event" else data
            counts = dict(batch["request_counts"])
            total = counts.pop("total")
            assert sum(counts.values()) == total
            if batch["status"] in final_statuses:
                return batch
    raise AssertionError(f"{batch_id} never was {final_statuses}")


def file_lines(stack: Stack, file_id: str | None) -> list[dict[str, Any]]:
    """The lines of an output file or an error file."""
    assert file_id is not None
    answer = stack.client.get(f"/v1/files/{file_id}/content")
    assert answer.status_code == 200
    return [json.loads(line) for line in answer.content.splitlines()]


# What lies in the database


def batch_row(stack: Stack, batch_id: str) -> sa.Row[Any]:
    (row,) = stack.database.execute(sa.select(batches).where(batches.c.id == batch_id))
    return row


def batch_status(stack: Stack, batch_id: str) -> str:
    return str(batch_row(stack, batch_id).status)


def job_indexes(stack: Stack, batch_id: str) -> list[int]:
    """The index of each job of a batch, in order."""
    rows = stack.database.execute(sa.select(jobs.c.batch_index).where(jobs.c.batch_id == batch_id))
    return sorted(row.batch_index for row in rows)


def batch_event_types(stack: Stack, batch_id: str) -> list[str]:
    """The types of a batch's events without `batch.`, the oldest first."""
    types = sa.select(batch_events.c.type).where(batch_events.c.batch_id == batch_id).order_by(batch_events.c.seq)
    return [row.type.removeprefix("batch.") for row in stack.database.execute(types)]


def expire_jobs(stack: Stack, batch_id: str) -> None:
    """Expire all jobs of a batch that are queued."""
    queued_jobs = sa.update(jobs).where(jobs.c.batch_id == batch_id, jobs.c.status == "queued")
    stack.database.execute(queued_jobs.values(status="expired", finished_at=sa.func.now()))
