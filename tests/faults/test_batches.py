"""A batch comes in once or not at all, whatever happens to the API.

Test 41 of the fault catalogue is here: `SAFELIGHT_TEST_ROUNDS=50` kills fifty times. How its lines are counted is in
`test_batches_counts.py`, the batch processor's deaths in `test_batches_processor_killed.py`. What was found is printed
(`pytest -s`).
"""

import json
import os
import random
import threading
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
from tests.faults.test_webhooks import until as until_so
from tests.images import upload
from tests.processes import PATIENCE, Process
from tests.stack import Stack, body
from tests.story.test_batches import jsonl, numbered, submit, until

ROUNDS = int(os.environ.get("SAFELIGHT_TEST_ROUNDS", "4"))
LINES = 10_000
MAX_OPEN = 3
CHANCE = random.Random()  # noqa: S311 - moments, no secrets

_numbers = count(1)


@dataclass
class Post:
    """A POST of a batch under a key, from a thread of its own; its body can be held back after the first half."""

    stack: Stack
    said: dict[str, Any]
    key: str
    is_held: bool = False
    is_half_sent: threading.Event = field(default_factory=threading.Event)
    may_go_on: threading.Event = field(default_factory=threading.Event)

    def send(self) -> httpx.Response:
        headers = {"content-type": "application/json", "idempotency-key": self.key}
        url = f"{self.stack.url}/v1/batches"
        return httpx.post(url, content=self._chunks(), headers=headers, timeout=PATIENCE)

    def _chunks(self) -> Iterator[bytes]:
        raw = json.dumps(self.said).encode()
        yield raw[: len(raw) // 2]
        self.is_half_sent.set()
        if self.is_held:
            self.may_go_on.wait(PATIENCE)
        yield raw[len(raw) // 2 :]


def while_it_is_sent(post: Post, _seconds: float) -> None:
    post.is_half_sent.wait(PATIENCE)


def while_it_is_inserted(post: Post, _seconds: float) -> None:
    """At some row of the COPY, or just after; a file's batch, which is one row, waits for a lock meanwhile."""
    if "prompts" not in post.said:
        until_so(lambda: state_of(post) == "within")
        return
    row = CHANCE.randrange(1, LINES)
    copying = sa.text(
        "SELECT 1 FROM pg_stat_progress_copy WHERE datname = current_database() AND tuples_processed >= :row"
    ).bindparams(row=row)
    until_so(lambda: bool(post.stack.database.execute(copying)) or state_of(post) == "after")


def once_it_is_kept(post: Post, _seconds: float) -> None:
    until_so(lambda: state_of(post) == "after")


def whenever(_post: Post, seconds: float) -> None:
    threading.Event().wait(CHANCE.uniform(0, seconds))


Moment = Callable[[Post, float], None]
MOMENTS: list[tuple[Moment, str]] = [
    (while_it_is_inserted, "prompts"),
    (once_it_is_kept, "prompts"),
    (while_it_is_sent, "file"),
    (while_it_is_inserted, "file"),
    (once_it_is_kept, "file"),
    (while_it_is_sent, "prompts"),
    (whenever, "prompts"),
    (whenever, "file"),
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
def keys_locked(stack: Stack, *, wanted: bool) -> Iterator[None]:
    """Let whoever would write a key wait."""
    with stack.database.transaction() as connection:
        if wanted:
            connection.execute(sa.text("LOCK TABLE idempotency_keys IN SHARE MODE"))
        yield


def kill_at(moment: Moment, api: Process, post: Post, seconds: float) -> tuple[str, bool]:
    """Kill the API there. Returns where its request was by then, and whether its client has the answer."""
    post.is_held = moment is while_it_is_sent
    is_short = moment is while_it_is_inserted and "prompts" not in post.said
    with ThreadPoolExecutor(1) as threads, keys_locked(post.stack, wanted=is_short):
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
    for _ in range(20):
        answer = Post(post.stack, post.said, post.key).send()
        if answer.status_code == 200:
            return body(answer)
        assert answer.status_code in (409, 503), answer.text
    raise AssertionError("no answer after twenty tries")


def test_41_an_api_killed_at_any_moment_makes_a_batch_once(own: Stack) -> None:
    api = own.api()
    content = jsonl(*numbered(LINES, model="elsewhere"))
    file = upload(own, content, "batch.jsonl", purpose="batch")
    doors: dict[str, dict[str, Any]] = {
        "prompts": {"prompts": [f"cat number {n}" for n in range(LINES)], "model": "elsewhere", "size": "64x64"},
        "file": {"input_file_id": file["id"], "endpoint": "/v1/images/generations"},
    }
    seconds = {door: Post(own, said, door).send().elapsed.total_seconds() for door, said in doors.items()}

    found: dict[str, Counter[str]] = {door: Counter() for door in doors}
    made: list[tuple[str, str]] = []
    for number in range(ROUNDS):
        moment, door = MOMENTS[number % len(MOMENTS)]
        post = Post(own, doors[door], f"key-{number}")
        where, has_answer = kill_at(moment, api, post, seconds[door] * 1.1)
        api = own.api()
        batch = until_answered(post)
        assert until_answered(post) == batch
        found[door][f"{where}, answered" if has_answer else where] += 1
        made.append((door, batch["id"]))

    assert own.count(batches) == ROUNDS + len(doors)
    own.sweep()
    until_so(lambda: not own.database.execute(sa.select(batches.c.id).where(batches.c.status != "in_progress")))
    for name, batch_id in made:
        first = 1 if name == "prompts" else 0
        names = {f"{'line' if name == 'prompts' else 'request'}-{n + first}" for n in range(LINES)}
        lines = own.database.execute(sa.select(jobs.c.custom_id, jobs.c.batch_index).where(jobs.c.batch_id == batch_id))
        assert len(lines) == LINES
        assert {line.custom_id for line in lines} == names
        assert {line.batch_index for line in lines} == set(range(LINES))
    for name, states in found.items():
        print(f"{name}: {seconds[name]:.2f} s when not killed; killed {dict(sorted(states.items()))}")
    print(f"{ROUNDS} kills, {len({batch for _, batch in made})} batches, {LINES} jobs each, none twice")
    assert {where.partition(",")[0] for states in found.values() for where in states} == {"before", "within", "after"}


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
        until_so(lambda: not open_batches(stack))


def open_batches(stack: Stack) -> int:
    return len(stack.database.execute(sa.select(batches.c.id).where(batches.c.counts.is_(None))))


DOORS: dict[str, dict[str, Any]] = {
    "prompts": {"prompts": ["a cat"], "model": "elsewhere", "size": "64x64"},
    "requests": {"requests": [{"prompt": "a cat", "size": "64x64"}]},
}


@pytest.mark.parametrize("door", DOORS)
def test_one_batch_too_many_is_refused_and_leaves_nothing(bounded: Stack, door: str) -> None:
    said = DOORS[door]
    tables = (batches, jobs, files, idempotency_keys)
    opened = [submit(bounded, **DOORS["requests"])["id"] for _ in range(MAX_OPEN)]
    before = [bounded.count(table) for table in tables]

    refused = bounded.client.post("/v1/batches", json=said, headers={"idempotency-key": f"one-too-many-{door}"})
    after = [bounded.count(table) for table in tables]
    dry = submit(bounded, **said, dry_run=True)
    close_all(bounded)
    again = bounded.client.post("/v1/batches", json=said, headers={"idempotency-key": f"one-too-many-{door}"})
    close_all(bounded)

    assert (refused.status_code, body(refused)["error"]["code"]) == (429, "too_many_batches")
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["x-should-retry"] == "true"
    assert after == before
    assert dry["total"] == 1
    assert again.status_code == 200
    assert body(again)["id"] not in opened


def test_the_limit_is_overshot_by_those_that_come_at_once_alone(bounded: Stack) -> None:
    """They do not wait for each other: at most as many as the API has connections see the same number of batches."""

    def post(_number: int) -> int:
        return httpx.post(f"{bounded.url}/v1/batches", json=DOORS["requests"], timeout=PATIENCE).status_code

    with ThreadPoolExecutor(24) as threads:
        answers = Counter(threads.map(post, range(48)))
    opened = open_batches(bounded)
    close_all(bounded)

    print(f"48 at once, {MAX_OPEN} allowed: {opened} opened, {opened - MAX_OPEN} too many; answers {dict(answers)}")
    assert answers == {200: opened, 429: 48 - opened}
    assert MAX_OPEN <= opened < MAX_OPEN + bounded.settings.database_pool_size


def test_a_file_deleted_before_it_is_read_fails_its_batch(bounded: Stack) -> None:
    whole, gone = (upload(bounded, jsonl(*numbered(3)), "batch.jsonl", purpose="batch") for _ in range(2))
    deleted, lost = (
        submit(bounded, input_file_id=file["id"], endpoint="/v1/images/generations") for file in (whole, gone)
    )
    bounded.client.delete(f"/v1/files/{whole['id']}")
    Path(bounded.directory, "images", "files", gone["id"]).unlink()

    with bounded.apart():
        bounded.sweep()
        failed = [until(bounded, batch["id"]) for batch in (deleted, lost)]

    assert [batch["status"] for batch in failed] == ["failed", "failed"]
    (said,), (of_lost,) = (batch["errors"]["data"] for batch in failed)
    assert (said["line"], said["message"]) == (None, f"The file '{whole['id']}' was deleted or has expired.")
    assert (of_lost["line"], of_lost["message"]) == (None, "The file is gone.")


def test_no_event_tells_of_a_batch_older_than_itself(bounded: Stack) -> None:
    batch = submit(bounded, **DOORS["requests"])
    with ThreadPoolExecutor(1) as threads, bounded.database.transaction() as connection:
        connection.execute(sa.text("LOCK TABLE batch_events IN ACCESS EXCLUSIVE MODE"))
        following = threads.submit(until, bounded, batch["id"])
        asked = "SELECT 1 FROM pg_locks WHERE relation = 'batch_events'::regclass AND NOT granted"
        until_so(lambda: bool(bounded.database.execute(sa.text(asked))))
        connection.execute(core_batches.cancel(DEFAULT_PROJECT, batch["id"]))
        connection.connection.commit()
        last = following.result(PATIENCE)

    assert last["status"] == "cancelled"


def test_a_batch_under_a_key_waits_for_its_turn_in_line(bounded: Stack) -> None:
    """Longer than it would wait for its key: another batch's insert into the same line takes as long as it takes."""
    post = Post(bounded, DOORS["prompts"], "patient")
    waited = (
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory' "
        "AND clock_timestamp() - query_start > interval '2.5 s'"
    )
    with ThreadPoolExecutor(1) as threads, bounded.database.transaction() as connection:
        connection.execute(fairness.lock_flow("nobody", DEFAULT_PROJECT))
        sending = threads.submit(post.send)
        until_so(lambda: sending.done() or bool(bounded.database.execute(sa.text(waited))))
        connection.rollback()
        answer = sending.result(PATIENCE)
    close_all(bounded)

    assert answer.status_code == 200, answer.text
