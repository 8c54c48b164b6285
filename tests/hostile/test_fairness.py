"""Slow work of one project does not delay another's: an attacker and a neighbour share a Safelight.

The short tests compare orders, not times: the neighbour is served while the attacker's work still waits. Those marked
`hostile` measure how much longer the neighbour waits than on an idle Safelight.
"""

import base64
import json
import signal
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import httpx
import psutil
import pytest
from PIL import Image

from cli.local.embedded import EmbeddedValkey
from tests.factories import a_key, a_project
from tests.images import an_image, data_url, encode
from tests.processes import Process, python
from tests.receiver import Receiver, hang
from tests.stack import Stack, body
from tests.waiting import PATIENCE, until

MAX_RATIO = 3.0
"""How many times as long as on an idle Safelight a neighbour may wait."""

ROUNDS, CALLS = 3, 20
"""How often the neighbour is measured without and with an attack, in turn, and its calls of each kind at a time."""

MAX_GROWTH = 700_000_000
"""Bytes that the API and its decoders may grow by during an attack: some bodies, and two images that are decoded."""

LARGE = "data:image/png;base64," + base64.b64encode(encode(Image.new("1", (8000, 4000)))).decode()
"""An image of 32 megapixels in 5 kB."""

EDIT = {"prompt": "a cat", "model": "elsewhere", "size": "64x64", "operation": "edit"}


@dataclass(frozen=True, slots=True)
class Projects:
    """Two projects of one Safelight."""

    stack: Stack
    attacker: httpx.Client
    neighbour: httpx.Client


@pytest.fixture(scope="module")
def projects(directory: Path, fresh_database: Callable[[], str], valkey: EmbeddedValkey) -> Iterator[Projects]:
    with Stack(directory / "fairness", fresh_database(), valkey.url, SAFELIGHT_AUTH="on") as stack:
        stack.api()
        stack.sweep()
        with client(stack, "attacker") as attacker, client(stack, "neighbour") as neighbour:
            with ThreadPoolExecutor(8) as threads:  # starts the decoders
                list(threads.map(edit, [attacker, neighbour] * 4))
            yield Projects(stack, attacker, neighbour)


def client(stack: Stack, name: str) -> httpx.Client:
    key = a_key(stack.database, a_project(stack.database, name))
    limits = httpx.Limits(max_connections=200)
    headers = {"authorization": f"Bearer {key}"}
    return httpx.Client(base_url=stack.url, headers=headers, timeout=PATIENCE, limits=limits)


def edit(http_client: httpx.Client) -> None:
    answer = http_client.post("/v1/jobs", json=EDIT | {"image": data_url(an_image((512, 512)))})
    assert answer.status_code == 202, answer.text


def read_job(http_client: httpx.Client) -> None:
    assert http_client.get("/v1/jobs", params={"limit": 1}).status_code == 200


def read_batch(http_client: httpx.Client) -> None:
    """A batch of one line, until it was read."""
    batch = submit_lines(http_client, [{"prompt": "a cat", "model": "elsewhere", "size": "64x64"}])
    until(lambda: status(http_client, batch) == "in_progress")
    http_client.post(f"/v1/batches/{batch}/cancel")


def dry_run(http_client: httpx.Client, lines: int = 1) -> None:
    requests = [{"prompt": f"cat {n}", "model": "elsewhere", "size": "64x64"} for n in range(lines)]
    answer = http_client.post("/v1/batches", json={"requests": requests, "dry_run": True})
    assert answer.status_code == 200, answer.text


def submit_lines(http_client: httpx.Client, requests: list[dict[str, Any]]) -> str:
    lines = [
        {"custom_id": f"line {n}", "method": "POST", "url": "/v1/jobs", "body": request}
        for n, request in enumerate(requests)
    ]
    content = "\n".join(map(json.dumps, lines)).encode()
    file = http_client.post("/v1/files", data={"purpose": "batch"}, files={"file": ("a.jsonl", content)})
    assert file.status_code == 200, file.text
    batch = http_client.post("/v1/batches", json={"input_file_id": body(file)["id"], "endpoint": "/v1/jobs"})
    assert batch.status_code == 200, batch.text
    return str(body(batch)["id"])


def status(http_client: httpx.Client, batch_id: str) -> str:
    return str(body(http_client.get(f"/v1/batches/{batch_id}"))["status"])


def large_edit(http_client: httpx.Client) -> None:
    http_client.post("/v1/jobs", json=EDIT | {"image": {"image_url": LARGE}})


def large_batch(http_client: httpx.Client, lines: int = 60) -> str:
    # Each image differs in its metadata, so that none is taken from the cache.
    images = [encode(Image.new("1", (8000, 4000)), dpi=(n + 1, n + 1)) for n in range(lines)]
    urls = ["data:image/png;base64," + base64.b64encode(image).decode() for image in images]
    return submit_lines(http_client, [EDIT | {"image": {"image_url": url}} for url in urls])


@contextmanager
def webhook_endpoint(http_client: httpx.Client) -> Iterator[str]:
    """An endpoint that never responds."""
    with Receiver(hang) as receiver:
        fields = {"name": "slow", "url": receiver.url(), "event_types": ["job.completed"]}
        yield str(body(http_client.post("/v1/webhook_endpoints", json=fields))["id"])


def send_test(endpoint_id: str, http_client: httpx.Client) -> int:
    path = f"/v1/webhook_endpoints/{endpoint_id}/test"
    return http_client.post(path, json={"event_type": "job.completed"}).status_code


# Short tests


def test_a_batch_is_read_while_another_projects_images_are_decoded(projects: Projects) -> None:
    batches = [large_batch(projects.attacker, 20) for _ in range(2)]

    read_batch(projects.neighbour)

    assert [status(projects.attacker, batch) for batch in batches] == ["validating"] * 2
    for batch in batches:
        projects.attacker.post(f"/v1/batches/{batch}/cancel")


def test_an_edit_is_accepted_while_another_projects_images_are_decoded(projects: Projects) -> None:
    with ThreadPoolExecutor(8) as threads:
        edits = [threads.submit(large_edit, projects.attacker) for _ in range(8)]
        edit(projects.neighbour)
        assert not all(future.done() for future in edits)


def test_webhook_tests_delay_nothing_and_have_a_limit(projects: Projects) -> None:
    with ThreadPoolExecutor(40) as threads, webhook_endpoint(projects.attacker) as endpoint_id:
        tests = [threads.submit(send_test, endpoint_id, projects.attacker) for _ in range(40)]
        until(lambda: sum(test.done() for test in tests) == 38)
        edit(projects.neighbour)

        assert [test.result() for test in tests if test.done()] == [429] * 38
    assert sorted({test.result() for test in tests}) == [400, 429]


# Measurements


PROBES: dict[str, Callable[[httpx.Client], None]] = {
    "edit": edit,
    "read a job": read_job,
    "dry run": dry_run,
    "batch of one line": read_batch,
}


@dataclass(frozen=True, slots=True)
class Attack:
    """A request that an attacker repeats in so many threads."""

    threads: int
    path: str
    request: httpx.Request

    @classmethod
    def of(cls, threads: int, path: str, **content: Any) -> Self:
        """An attack with the content of a request of httpx."""
        return cls(threads, path, httpx.Request("POST", f"http://attacker{path}", **content))


@contextmanager
def repeated(attack: Attack, projects: Projects) -> Iterator[None]:
    """Repeat a request in a process of its own."""
    file = projects.stack.directory / "attack"
    file.write_bytes(attack.request.read())
    key = projects.attacker.headers["authorization"].removeprefix("Bearer ")
    arguments = (projects.stack.url, key, str(attack.threads), attack.path, attack.request.headers["content-type"])
    command = python("-m", "tests.hostile.attacker", *arguments, str(file))
    with Process("attacker", command, {}) as process:
        process.until_says("attacks")
        yield
        process.signal(signal.SIGTERM)
        print(process.until_says("requests"))


@contextmanager
def batches_of_large_images(projects: Projects) -> Iterator[None]:
    batches = [large_batch(projects.attacker) for _ in range(8)]
    yield
    assert status(projects.attacker, batches[-1]) == "validating", "the attack lasted as long as the measurement"
    for batch in batches:
        projects.attacker.post(f"/v1/batches/{batch}/cancel")


@contextmanager
def webhook_tests(projects: Projects) -> Iterator[None]:
    with webhook_endpoint(projects.attacker) as endpoint_id:
        attack = Attack.of(2, f"/v1/webhook_endpoints/{endpoint_id}/test", json={"event_type": "job.completed"})
        with repeated(attack, projects):
            yield


def dry_run_of(lines: Sequence[dict[str, Any]]) -> Attack:
    return Attack.of(4, "/v1/batches", json={"requests": lines, "dry_run": True})


def upload_of(path: str, content: bytes, **fields: str) -> Attack:
    return Attack.of(4, path, data=fields, files={"image" if "edits" in path else "file": ("a", content)})


LINE = {"prompt": "a cat", "model": "elsewhere", "size": "64x64"}
JPEG = b"\xff\xd8" + b"\xff" * 20_000_000
REPEATED: dict[str, Callable[[], Attack]] = {
    "edits of large images": lambda: Attack.of(16, "/v1/jobs", json=EDIT | {"image": {"image_url": LARGE}}),
    "slow JPEGs": lambda: upload_of("/v1/images/edits", JPEG, prompt="a cat", model="elsewhere"),
    "uploads of 20 MB": lambda: upload_of("/v1/files", b"x" * 20_000_000, purpose="user_data"),
    "dry runs": lambda: dry_run_of([LINE | {"prompt": f"cat {n}"} for n in range(20_000)]),
    "dry runs of differing lines": lambda: dry_run_of([LINE | {"metadata": {"n": str(n)}} for n in range(20_000)]),
}

ATTACKS: dict[str, Callable[[Projects], Any]] = {
    "batches of large images": batches_of_large_images,
    "webhook tests": webhook_tests,
    **{name: partial(lambda make, projects: repeated(make(), projects), make) for name, make in REPEATED.items()},
}


def p95(call: Callable[[httpx.Client], None], http_client: httpx.Client) -> float:
    """The 95th percentile of a call's time in seconds."""
    times = []
    for _ in range(CALLS):
        began = time.perf_counter()
        call(http_client)
        times.append(time.perf_counter() - began)
    return statistics.quantiles(times, n=20)[-1]


def processes_of(projects: Projects) -> list[psutil.Process]:
    """The processes of the service, with their decoders."""
    own = [psutil.Process(projects.stack.process(name).pid) for name in ("api", "sweep")]
    return own + [child for process in own for child in process.children(recursive=True)]


def memory_of(projects: Projects) -> int:
    return sum(process.memory_info().rss for process in processes_of(projects) if process.is_running())


@pytest.mark.hostile
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_neighbour_waits_hardly_longer_during(projects: Projects, attack: str) -> None:
    pids = {process.pid for process in processes_of(projects)[:2]}
    idle: dict[str, list[float]] = {name: [] for name in PROBES}
    busy: dict[str, list[float]] = {name: [] for name in PROBES}
    memory, growth = memory_of(projects), 0
    for _ in range(ROUNDS):
        for name, call in PROBES.items():
            idle[name].append(p95(call, projects.neighbour))
        with ATTACKS[attack](projects):
            for name, call in PROBES.items():
                busy[name].append(p95(call, projects.neighbour))
                growth = max(growth, memory_of(projects) - memory)
    lost = len(pids - {process.pid for process in processes_of(projects)[:2] if process.is_running()})
    ratios = {}
    for name in PROBES:
        before, during = statistics.median(idle[name]), statistics.median(busy[name])
        ratios[name] = during / before
        print(f"{attack}: {name}: p95 {1000 * before:.0f} ms -> {1000 * during:.0f} ms, {ratios[name]:.1f} times")
    print(f"{attack}: memory +{growth / 1e6:.0f} MB, {lost} processes lost")
    assert max(ratios.values()) <= MAX_RATIO
    assert growth <= MAX_GROWTH
    assert lost == 0
