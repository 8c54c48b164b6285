"""Many models on one device: those that fit stay, the others take turns, and a worker that grows too large leaves."""

import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.local.embedded import EmbeddedValkey
from tests.stack import Stack, body
from tests.waiting import until

BUDGET = 300_000_000
MODELS = ("a", "b", "c", "d")
MODEL = """
[[models]]
id = "{id}"
generator = "fake"
sizes = ["64x64"]
microbatch_size = 4
seconds_per_image = 1.0
options = {{ memory = 100000000 }}
"""


@pytest.fixture(scope="module")
def many(directory: Path, fresh_database: Callable[[], str], valkey: EmbeddedValkey) -> Iterator[Stack]:
    """A Safelight with four models, of which three fit on the device."""
    settings = {"SAFELIGHT_MODEL_MEMORY": str(BUDGET), "SAFELIGHT_MODEL_PATIENCE": "20"}
    with Stack(directory / "many", fresh_database(), valkey.url, **settings) as stack:
        catalog = 'default = "a"\n' + "".join(MODEL.format(id=name) for name in MODELS)
        (stack.directory / "catalog.toml").write_text(catalog)
        stack.api()
        yield stack


def test_models_stay_within_their_memory_and_are_loaded_seldom(many: Stack) -> None:
    # In turn, least recently used without patience, each of the ten rounds would load all four.
    assert run_in_turn(many, 40) <= 20


@pytest.mark.slow
def test_a_thousand_jobs_of_four_models_stay_within_their_memory(many: Stack) -> None:
    assert run_in_turn(many, 1000) <= 250


def run_in_turn(stack: Stack, count: int) -> int:
    """Draw jobs of four models in turn on one worker, and print what it took. Returns how often a model was loaded."""
    jobs = [stack.submit(model=MODELS[number % 4])["id"] for number in range(count)]
    with stack.apart():
        worker = stack.worker(concurrency=1)
        finals = [stack.final(job) for job in jobs]
        log = worker.output()
    assert {job["status"] for job in finals} == {"completed"}
    on_device: set[str] = set()
    loads: Counter[str] = Counter()
    most = 0
    for name, event in re.findall(r"model (\w) (is loaded|has left)", log):
        (on_device.add if event == "is loaded" else on_device.discard)(name)
        most = max(most, len(on_device))
        loads[name] += event == "is loaded"
    assert most <= 3
    waits = sorted(job["started_at"] - finals[0]["started_at"] for job in finals)
    print(
        f"{count} jobs of four models in turn: {loads.total()} loads; at most {most * 100} of {BUDGET // 10**6} MB on "
        f"the device; the last job began {waits[-1]} s after the first"
    )
    return loads.total()


TESTED = """
[[models]]
id = "equal"
generator = "fake"
sizes = ["64x64"]
preload = true
self_test = true

[[models]]
id = "unequal"
generator = "fake"
sizes = ["64x64"]
preload = true
self_test = true
options = { unequal = true }

[[models]]
id = "broken"
generator = "diffusers_local"
source = "./not-there"
"""


def test_models_say_which_workers_have_them_and_what_their_self_test_found(many: Stack) -> None:
    path = many.directory / "catalog.toml"
    before = path.read_text()

    def readiness(name: str) -> dict[str, Any]:
        return dict(body(many.client.get(f"/v1/models/{name}"))["readiness"])

    with many.apart():
        path.write_text(before + TESTED)
        (api,) = [process for process in many._processes if process.name == "api"]
        api.signal(signal.SIGHUP)
        api.until_says("the catalogue was read again: 7 models")
        assert readiness("equal")["state"] == "cold"
        many.worker("tested", concurrency=1)
        until(lambda: readiness("equal")["state"] == "loaded")
        until(lambda: readiness("a")["state"] == "loaded")
        unequal, broken = readiness("unequal"), readiness("broken")
        job = many.final(many.submit(model="unequal", deterministic=True)["id"])
        metrics = many.client.get("/metrics").text

        path.write_text(before)
        api.signal(signal.SIGHUP)
        api.until_says("the catalogue was read again: 4 models")

    assert unequal["self_test"] == {"size": "64x64", "images": 4, "difference": 1}
    assert (unequal["loaded_workers"], unequal["bytes"]) == (1, 0)
    assert (broken["state"], broken["unusable_workers"]) == ("unusable", 1)
    assert "There is no folder" in broken["reason"]
    receipt = job["images"][0]["receipt"]
    assert (receipt["self_test"], receipt["alone"]) == ("4 images of 64x64: differs by up to 1 of 255", True)
    assert 'safelight_model_workers{model="unequal",state="loaded"} 1.0' in metrics
    assert 'safelight_model_workers{model="broken",state="unusable"} 1.0' in metrics


def test_a_worker_that_is_too_large_finishes_its_jobs_and_leaves(many: Stack) -> None:
    with many.apart():
        worker = many.worker("large", SAFELIGHT_MAX_WORKER_MEMORY="1000")
        job = many.final(many.submit(model="a")["id"])

        worker.until_says("worker leaves: exit_code=75")
        assert worker.wait() == 75
    assert job["status"] == "completed"


def test_a_model_is_added_to_processes_that_run_and_a_broken_catalogue_changes_nothing(many: Stack) -> None:
    path = many.directory / "catalog.toml"
    before = path.read_text()
    added = MODEL.format(id="e")
    with many.apart():
        worker = many.worker("following", concurrency=1)
        (api,) = [process for process in many._processes if process.name == "api"]
        path.write_text(before + added)
        for process in (worker, api):
            process.signal(signal.SIGHUP)
            process.until_says("the catalogue was read again: 5 models")
        assert many.final(many.submit(model="e")["id"])["status"] == "completed"

        path.write_text(before + added + added)
        for process in (worker, api):
            process.signal(signal.SIGHUP)
            process.until_says("duplicate names: e")
        assert many.final(many.submit(model="e")["id"])["status"] == "completed"
        path.write_text(before)
