"""A batch is made once or not at all, whatever happens to the API.

`SAFELIGHT_TEST_ROUNDS=50` kills the API fifty times. The counts of a batch are tested in `test_batches_counts.py`, a
batch processor that is killed in `test_batch_processor_killed.py`. The tests print their figures (`pytest -s`).
"""

import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from cli.local.embedded import EmbeddedValkey
from core import fairness
from core.batches import transitions as core_batches
from core.tables import DEFAULT_PROJECT, batches, files, idempotency_keys, jobs
from tests.batches import jsonl, request_lines, submit_batch, until_batch
from tests.images import upload
from tests.processes import Process
from tests.stack import Stack, body
from tests.waiting import PATIENCE, until

ROUNDS = int(os.environ.get("SAFELIGHT_TEST_ROUNDS", "4"))
LINES = 10_000
MAX_OPEN = 3
CHANCE = random.Random()  # noqa: S311 - moments, no secrets

_numbers = count(1)


@dataclass
class Post:
    """A POST of a batch under a key, from a thread of its own; its body can be held back after the first half."""

    stack: Stack
    fields: dict[str, Any]
    key: str
    is_held: bool = False
    is_half_sent: threading.Event = field(default_factory=threading.Event)
    may_go_on: threading.Event = field(default_factory=threading.Event)

    def send(self) -> httpx.Response:
        headers = {"content-type": "application/json", "idempotency-key": self.key}
        url = f"{self.stack.url}/v1/batches"
        return httpx.post(url, content=self._chunks(), headers=headers, timeout=PATIENCE)

    def _chunks(self) -> Iterator[bytes]:
        raw = json.dumps(self.fields).encode()
        yield raw[: len(raw) // 2]
        self.is_half_sent.set()
        if self.is_held:
            self.may_go_on.wait(PATIENCE)
        yield raw[len(raw) // 2 :]


def while_sending(post: Post, _seconds: float) -> None:
    post.is_half_sent.wait(PATIENCE)


def while_inserting(post: Post, _seconds: float) -> None:
    """At some row of the COPY, or just after; a file's batch, which is one row, waits for a lock meanwhile."""
    if "prompts" not in post.fields:
        until(lambda: state_of(post) == "within")
        return
    row = CHANCE.randrange(1, LINES)
    copying = sa.text(
        "SELECT 1 FROM pg_stat_progress_copy WHERE datname = current_database() AND tuples_processed >= :row"
    ).bindparams(row=row)
    until(lambda: bool(post.stack.database.execute(copying)) or state_of(post) == "after")


def after_commit(post: Post, _seconds: float) -> None:
    until(lambda: state_of(post) == "after")


def at_random(_post: Post, seconds: float) -> None:
    threading.Event().wait(CHANCE.uniform(0, seconds))


Moment = Callable[[Post, float], None]
MOMENTS: list[tuple[Moment, str]] = [
    (while_inserting, "prompts"),
    (after_commit, "prompts"),
    (while_sending, "file"),
    (while_inserting, "file"),
    (after_commit, "file"),
    (while_sending, "prompts"),
    (at_random, "prompts"),
    (at_random, "file"),
]


def state_of(post: Post) -> str:
    """Where the API is with a request: before its transaction, within it, or after."""
    if post.stack.database.execute(sa.select(idempotency_keys.c.key).where(idempotency_keys.c.key == post.key)):
        return "after"
    writing = sa.text(
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'safelight-api' "
        "AND backend_xid IS NOT NULL"
    )
    return "within" if post.stack.database.execute(writing) else "before"


@contextmanager
def key_lock(stack: Stack, *, enabled: bool) -> Iterator[None]:
    """Let whoever would write a key wait."""
    with stack.database.transaction() as connection:
        if enabled:
            connection.execute(sa.text("LOCK TABLE idempotency_keys IN SHARE MODE"))
        yield


def kill_at(moment: Moment, api: Process, post: Post, seconds: float) -> tuple[str, bool]:
    """Kill the API there. Returns where its request was by then, and whether its client has the answer."""
    post.is_held = moment is while_sending
    is_short = moment is while_inserting and "prompts" not in post.fields
    with ThreadPoolExecutor(1) as threads, key_lock(post.stack, enabled=is_short):
        sending: Future[httpx.Response] = threads.submit(post.send)
        moment(post, seconds)
        api.freeze()
        where = state_of(post)
        api.kill()
        post.may_go_on.set()
        error = sending.exception(PATIENCE)
    assert error is None or isinstance(error, httpx.TransportError)
    return where, error is None


def until_answered(post: Post) -> dict[str, Any]:
    """What a client does: the same request with the same key, until it has an answer."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        answer = Post(post.stack, post.fields, post.key).send()
        if answer.status_code == 200:
            return body(answer)
        assert answer.status_code in (409, 503), answer.text
    raise AssertionError("no answer in time")


def test_an_api_killed_at_any_moment_makes_a_batch_once(own: Stack) -> None:
    api = own.api()
    content = jsonl(*request_lines(LINES, model="elsewhere"))
    file = upload(own, content, "batch.jsonl", purpose="batch")
    sources: dict[str, dict[str, Any]] = {
        "prompts": {"prompts": [f"cat number {n}" for n in range(LINES)], "model": "elsewhere", "size": "64x64"},
        "file": {"input_file_id": file["id"], "endpoint": "/v1/images/generations"},
    }
    seconds = {source: Post(own, fields, source).send().elapsed.total_seconds() for source, fields in sources.items()}

    outcomes: dict[str, Counter[str]] = {source: Counter() for source in sources}
    batch_ids: list[tuple[str, str]] = []
    for number in range(ROUNDS):
        moment, source = MOMENTS[number % len(MOMENTS)]
        post = Post(own, sources[source], f"key-{number}")
        where, has_answer = kill_at(moment, api, post, seconds[source] * 1.1)
        api = own.api()
        batch = until_answered(post)
        assert until_answered(post) == batch
        outcomes[source][f"{where}, answered" if has_answer else where] += 1
        batch_ids.append((source, batch["id"]))

    assert own.count(batches) == ROUNDS + len(sources)
    own.sweep()
    until(lambda: not own.database.execute(sa.select(batches.c.id).where(batches.c.status != "in_progress")))
    for name, batch_id in batch_ids:
        first = 1 if name == "prompts" else 0
        names = {f"{'line' if name == 'prompts' else 'request'}-{n + first}" for n in range(LINES)}
        lines = own.database.execute(sa.select(jobs.c.custom_id, jobs.c.batch_index).where(jobs.c.batch_id == batch_id))
        assert len(lines) == LINES
        assert {line.custom_id for line in lines} == names
        assert {line.batch_index for line in lines} == set(range(LINES))
    for name, states in outcomes.items():
        print(f"{name}: {seconds[name]:.2f} s when not killed; killed {dict(sorted(states.items()))}")
    print(f"{ROUNDS} kills, {len({batch for _, batch in batch_ids})} batches, {LINES} jobs each, none twice")
    assert {where.partition(",")[0] for states in outcomes.values() for where in states} == {
        "before",
        "within",
        "after",
    }


@pytest.fixture(scope="module")
def bounded(directory: Path, fresh_database: Callable[[], str], valkey: EmbeddedValkey) -> Iterator[Stack]:
    """An API alone, for MAX_OPEN batches: nobody reads them until a test says so."""
    place = directory / f"bounded{next(_numbers)}"
    with Stack(place, fresh_database(), valkey.url, SAFELIGHT_MAX_BATCHES=str(MAX_OPEN)) as stack:
        stack.api()
        yield stack


def close_all(stack: Stack) -> None:
    """Cancel what is open, and let a batch processor see to it; what was not read yet needs none."""
    for batch in stack.client.get("/v1/batches?limit=100").json()["data"]:
        stack.client.post(f"/v1/batches/{batch['id']}/cancel")
    if not open_batches(stack):
        return
    with stack.apart():
        stack.sweep()
        until(lambda: not open_batches(stack))


def open_batches(stack: Stack) -> int:
    return len(stack.database.execute(sa.select(batches.c.id).where(batches.c.counts.is_(None))))


SOURCES: dict[str, dict[str, Any]] = {
    "prompts": {"prompts": ["a cat"], "model": "elsewhere", "size": "64x64"},
    "requests": {"requests": [{"prompt": "a cat", "size": "64x64"}]},
}


@pytest.mark.parametrize("source", SOURCES)
def test_one_batch_too_many_is_refused_and_leaves_nothing(bounded: Stack, source: str) -> None:
    fields = SOURCES[source]
    tables = (batches, jobs, files, idempotency_keys)
    batch_ids = [submit_batch(bounded, **SOURCES["requests"])["id"] for _ in range(MAX_OPEN)]
    before = [bounded.count(table) for table in tables]

    refusal = bounded.client.post("/v1/batches", json=fields, headers={"idempotency-key": f"one-too-many-{source}"})
    after = [bounded.count(table) for table in tables]
    dry = submit_batch(bounded, **fields, dry_run=True)
    close_all(bounded)
    answer = bounded.client.post("/v1/batches", json=fields, headers={"idempotency-key": f"one-too-many-{source}"})
    close_all(bounded)

    assert (refusal.status_code, body(refusal)["error"]["code"]) == (429, "too_many_batches")
    assert int(refusal.headers["retry-after"]) >= 1
    assert refusal.headers["x-should-retry"] == "true"
    assert after == before
    assert dry["total"] == 1
    assert answer.status_code == 200
    assert body(answer)["id"] not in batch_ids


def test_the_limit_is_overshot_by_those_that_come_at_once_alone(bounded: Stack) -> None:
    """They do not wait for each other: at most as many as the API has connections see the same number of batches."""

    def post(_number: int) -> int:
        return httpx.post(f"{bounded.url}/v1/batches", json=SOURCES["requests"], timeout=PATIENCE).status_code

    with ThreadPoolExecutor(24) as threads:
        answers = Counter(threads.map(post, range(48)))
    open_count = open_batches(bounded)
    close_all(bounded)

    print(
        f"48 at once, {MAX_OPEN} allowed: {open_count} opened, "
        f"{open_count - MAX_OPEN} too many; answers {dict(answers)}"
    )
    assert answers == {200: open_count, 429: 48 - open_count}
    assert MAX_OPEN <= open_count < MAX_OPEN + bounded.settings.database_pool_size


def test_a_file_deleted_before_it_is_read_fails_its_batch(bounded: Stack) -> None:
    deleted_file, lost_file = (
        upload(bounded, jsonl(*request_lines(3)), "batch.jsonl", purpose="batch") for _ in range(2)
    )
    first, second = (
        submit_batch(bounded, input_file_id=file["id"], endpoint="/v1/images/generations")
        for file in (deleted_file, lost_file)
    )
    bounded.client.delete(f"/v1/files/{deleted_file['id']}")
    Path(bounded.directory, "images", "files", lost_file["id"]).unlink()

    with bounded.apart():
        bounded.sweep()
        failures = [until_batch(bounded, batch["id"]) for batch in (first, second)]

    assert [batch["status"] for batch in failures] == ["failed", "failed"]
    (error,), (lost_error,) = (batch["errors"]["data"] for batch in failures)
    assert (error["line"], error["message"]) == (None, f"The file '{deleted_file['id']}' was deleted or has expired.")
    assert (lost_error["line"], lost_error["message"]) == (None, "The file no longer exists.")


def test_no_event_shows_a_batch_older_than_itself(bounded: Stack) -> None:
    batch = submit_batch(bounded, **SOURCES["requests"])
    with ThreadPoolExecutor(1) as threads, bounded.database.transaction() as connection:
        connection.execute(sa.text("LOCK TABLE batch_events IN ACCESS EXCLUSIVE MODE"))
        following = threads.submit(until_batch, bounded, batch["id"])
        lock_query = "SELECT 1 FROM pg_locks WHERE relation = 'batch_events'::regclass AND NOT granted"
        until(lambda: bool(bounded.database.execute(sa.text(lock_query))))
        connection.execute(core_batches.cancel(DEFAULT_PROJECT, batch["id"]))
        connection.connection.commit()
        last = following.result(PATIENCE)

    assert last["status"] == "cancelled"


def test_a_batch_under_a_key_waits_for_its_turn_in_line(bounded: Stack) -> None:
    """Longer than it would wait for its key: another batch's insert into the same line takes as long as it takes."""
    post = Post(bounded, SOURCES["prompts"], "patient")
    wait_query = (
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory' "
        "AND clock_timestamp() - query_start > interval '2.5 s'"
    )
    with ThreadPoolExecutor(1) as threads, bounded.database.transaction() as connection:
        connection.execute(fairness.lock_flow("nobody", DEFAULT_PROJECT))
        sending = threads.submit(post.send)
        until(lambda: sending.done() or bool(bounded.database.execute(sa.text(wait_query))))
        connection.rollback()
        answer = sending.result(PATIENCE)
    close_all(bounded)

    assert answer.status_code == 200, answer.text
