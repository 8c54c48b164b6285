"""A whole Safelight for tests: database, notifier, API, workers and sweep, all real, with short times."""

import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import httpx
import sqlalchemy as sa

import migrations
from core.db import Database
from core.settings import Settings
from core.tables import jobs
from tests.processes import Process, python
from tests.waiting import FACTOR, PATIENCE

CATALOG = """
default = "fake"

[[models]]
id = "fake"
generator = "fake"
aliases = [
  "dall-e-2", "dall-e-3",
  "gpt-image-1", "gpt-image-1-mini", "gpt-image-1.5", "gpt-image-2", "chatgpt-image-latest",
]
operations = ["generation", "edit", "variation"]
sizes = ["64x64", "128x128", "256x256"]
steps = { default = 5, min = 1, max = 1000 }
microbatch_size = 8
seconds_per_image = 0.01
options = { faults = true }
hires = { max_scale = 2.0, strength = 0.5 }
controls = [{ type = "canny", source = "canny" }, { type = "depth", source = "depth", weight = 0.5 }]

[[models]]
id = "slow"
generator = "fake"
operations = ["generation", "edit"]
strength = 0.5
sizes = ["64x64"]
steps = { default = 40, min = 1, max = 1000 }
quality_steps = { low = 2, medium = 3 }
styles = { vivid = { prompt_suffix = ", vivid", guidance_scale = 7.0 } }
microbatch_size = 8
seconds_per_image = 4.0
options = { step_seconds = 0.1, faults = true }

[[models]]
id = "elsewhere"
generator = "fake"
operations = ["generation", "edit", "variation"]
queue = "nobody"
sizes = ["64x64"]
"""

TIMES = {
    "SAFELIGHT_LEASE": str(4 * FACTOR),
    "SAFELIGHT_HEARTBEAT": str(1 * FACTOR),
    "SAFELIGHT_SWEEP": "0.5",
    "SAFELIGHT_POLL": "1",
    "SAFELIGHT_BATCH_POLL": "0.25",
    "SAFELIGHT_CANCEL_CHECK": "0.1",
    "SAFELIGHT_RETRY_DELAY": "0.1",
    "SAFELIGHT_STORAGE_RETRY": "1",
    "SAFELIGHT_STALL_TIMEOUT": str(5 * FACTOR),
    "SAFELIGHT_DRAIN_TIMEOUT": str(10 * FACTOR),
    "SAFELIGHT_WEBHOOK_POLL": "0.1",
    "SAFELIGHT_EGRESS_ALLOW": "127.0.0.1",
}
"""The proportions of the defaults, scaled down so that a lost lease is noticed within seconds."""


class Stack:
    """One Safelight. Close it, and every process it started is gone.

    database_url: what the test connects with. SAFELIGHT_DATABASE_URL in `settings`: another role for the processes.
    """

    def __init__(self, directory: Path, database_url: str, redis_url: str, **settings: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.port = free_port()
        catalog = directory / "catalog.toml"
        catalog.write_text(CATALOG)
        self.environment = {
            **TIMES,
            "SAFELIGHT_DATABASE_URL": database_url,
            "SAFELIGHT_REDIS_URL": redis_url,
            "SAFELIGHT_DATA_DIR": str(directory),
            "SAFELIGHT_CATALOG": str(catalog),
            "SAFELIGHT_PORT": str(self.port),
            **settings,
        }
        self._exits = ExitStack()
        self._processes: list[Process] = []
        self.settings = settings_of(self.environment)
        owner = self.settings.model_copy(update={"database_url": database_url})
        self.database = Database(owner, name="test")
        self._exits.callback(self.database.close)
        self.client = self._exits.enter_context(httpx.Client(base_url=self.url, timeout=PATIENCE))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # The processes

    def api(self, port: int | None = None, **settings: str) -> Process:
        """An API; by default the one that `client` and `url` speak to."""
        environment = self.environment | {"SAFELIGHT_PORT": str(port or self.port)} | settings
        process = self._run("api", python("-m", "api"), environment)
        process.until_says("Uvicorn running")
        return process

    def worker(self, name: str = "worker", queue: str = "local", concurrency: int = 2, **settings: str) -> Process:
        command = python(
            "-m", "celery", "-A", "worker.generation.app", "worker", "-Q", queue,
            "--pool=threads", f"--concurrency={concurrency}",
            "--without-mingle", "--without-gossip", "-n", f"{name}@%h",
        )  # fmt: skip
        process = self._run(name, command, self.environment | settings)
        process.until_says("ready.")
        return process

    def sweep(self, **settings: str) -> Process:
        command = python("-m", "worker.sweep")
        return self._run("sweep", command, self.environment | settings)

    def training(self, **settings: str) -> Process:
        """A worker of fine-tuning jobs."""
        process = self._run("training", python("-m", "worker.training"), self.environment | settings)
        process.until_says("training worker is ready")
        return process

    def deliver(self) -> Process:
        return self._run("deliver", python("-m", "worker.webhooks.deliver"), self.environment)

    def _run(self, name: str, command: list[str], environment: Mapping[str, str]) -> Process:
        process = self._exits.enter_context(Process(name, command, environment))
        self._processes.append(process)
        return process

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Processes that are started in the meantime end with it."""
        outer = self._exits
        with ExitStack() as self._exits:
            yield
        self._exits = outer

    def process(self, name: str) -> Process:
        """The process of this name that was started last."""
        return next(process for process in reversed(self._processes) if process.name == name)

    # What a client does

    def submit(self, prompt: str = "a cat", **fields: Any) -> dict[str, Any]:
        """Post a job and return it."""
        answer = self.client.post("/v1/jobs", json={"prompt": prompt, "size": "64x64", **fields})
        assert answer.status_code == 202, answer.text
        return body(answer)

    def job(self, job_id: str, **query: Any) -> dict[str, Any]:
        answer = self.client.get(f"/v1/jobs/{job_id}", params=query)
        if answer.status_code == 503 and answer.headers["x-should-retry"] == "true":
            # A pooled connection that broke within the last second is found out by its first use: clients try again.
            answer = self.client.get(f"/v1/jobs/{job_id}", params=query)
        assert answer.status_code == 200, answer.text
        return body(answer)

    def final(self, job_id: str) -> dict[str, Any]:
        """The job once it is final."""
        deadline = time.monotonic() + PATIENCE
        while (job := self.job(job_id, wait=20))["finished_at"] is None:
            assert time.monotonic() < deadline, f"{job_id} is still {job['status']}"
        return job

    def events(self, job_id: str, after: int = 0) -> Iterator[tuple[str, dict[str, Any]]]:
        """A job's events as they happen: type and data."""
        headers = {"last-event-id": str(after)}
        with self.client.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as answer:
            kind = ""
            for line in answer.iter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    yield kind, json.loads(value)

    def until(self, job_id: str, kind: str) -> dict[str, Any]:
        """Wait for an event of a job."""
        for happened, data in self.events(job_id):
            if happened == kind:
                return data
        raise AssertionError(f"{job_id} ended without {kind}")

    def image(self, image: Mapping[str, Any]) -> bytes:
        answer = self.client.get(image["url"])
        assert answer.status_code == 200, answer.text
        return answer.content

    # What lies in the database

    def count(self, table: sa.Table = jobs) -> int:
        return int(self.database.execute(sa.select(sa.func.count()).select_from(table))[0][0])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.abandon()
        self._exits.close()


_migrating = threading.Lock()


def settings_of(environment: Mapping[str, str]) -> Settings:
    """The settings that a process with this environment has."""
    names = set(Settings.model_fields)
    fields = {name.removeprefix("SAFELIGHT_").lower(): value for name, value in environment.items()}
    return Settings.model_validate({name: value for name, value in fields.items() if name in names})


def migrate(database_url: str, application_url: str | None = None) -> None:
    """Bring a database to the newest revision."""
    with _migrating:
        migrations.upgrade(database_url=database_url, application_url=application_url)


def body(answer: httpx.Response) -> dict[str, Any]:
    data: dict[str, Any] = answer.json()
    return data


@contextmanager
def closed_port() -> Iterator[int]:
    """A port that refuses connections and that nothing else gets: it is bound, and nobody listens."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
