"""Many models on one device: those that fit stay, the others take turns, and a worker that grows too large leaves."""

import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.local.embedded import EmbeddedValkey
from tests.stack import Stack

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
    jobs = [many.submit(model=MODELS[number % 4])["id"] for number in range(40)]
    with many.apart():
        worker = many.worker(concurrency=1)
        assert {many.final(job)["status"] for job in jobs} == {"completed"}
        log = worker.output()
    on_device: set[str] = set()
    loads: Counter[str] = Counter()
    for name, event in re.findall(r"model (\w) (is loaded|has left)", log):
        (on_device.add if event == "is loaded" else on_device.discard)(name)
        assert len(on_device) <= 3
        loads[name] += event == "is loaded"
    print(f"40 jobs of four models in turn: {loads.total()} loads")
    # In turn, least recently used without patience, each of the ten rounds would load all four.
    assert loads.total() <= 20


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
