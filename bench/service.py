"""One Safelight to measure, and the references beside it: real servers from a new directory, gone when it is left.

Postgres keeps its promises of durability, API and worker run with the command lines of `safelight up` and the default
settings. Only the catalogue is the benchmark's own.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import httpx
import psycopg
import redis
from psycopg.rows import dict_row

from bench.references import CREATE_TABLE
from cli import database
from cli.environment import ROOT, server_environment
from cli.local import processes
from cli.local.child import Child
from cli.local.embedded import EmbeddedPostgres, EmbeddedValkey
from cli.local.ports import free_port
from core.catalog import Model, load_catalog
from core.settings import Settings

START_SECONDS = 240.0  # several programs that import torch start at once
DONE_SECONDS = 600.0

CATALOG = """
default = "fake"

[[models]]
id = "fake"
generator = "fake"
sizes = ["64x64"]
steps = { default = 4, min = 1, max = 100 }
microbatch_size = 8
seconds_per_image = 0.001

[[models]]
id = "unheard"  # in a queue that no worker serves: what it costs to accept a job, and nothing else
generator = "fake"
queue = "unheard"
sizes = ["64x64"]
seconds_per_image = 0.001

[[models]]
id = "busy"  # a device that takes 0.3 s for a micro-batch
generator = "fake"
sizes = ["64x64"]
steps = { default = 10, min = 1, max = 100 }
microbatch_size = 8
seconds_per_image = 0.0375
options = { step_seconds = 0.03 }
"""


class Service:
    """A running Safelight, and the bare references on the same servers.

    sweeps: whether the sweep and the batch processor of batches run too. catalog: TOML. workers: how many processes
    serve the queue `local`. settings: environment variables of our servers, such as SAFELIGHT_API_PROCESSES.
    """

    def __init__(
        self,
        directory: Path,
        *,
        sweeps: bool = False,
        catalog: str = CATALOG,
        workers: int = 1,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self._catalog = catalog
        self._sweeps = sweeps
        self._workers = workers
        self._extra = settings or {}
        self._children: dict[str, Child] = {}
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as exits:
            self._start(exits)
            self._exits = exits.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def _start(self, exits: ExitStack) -> None:
        postgres = exits.enter_context(EmbeddedPostgres(self.directory / "postgres"))
        valkey = exits.enter_context(EmbeddedValkey(self.directory / "valkey"))
        catalog = self.directory / "catalog.toml"
        catalog.write_text(self._catalog)
        self.settings = Settings(
            port=free_port(),
            data_dir=self.directory,
            catalog=catalog,
            database_url=postgres.url,
            redis_url=valkey.url,
        )
        database.upgrade(self.settings)
        self._exits = exits
        self.database = exits.enter_context(psycopg.connect(postgres.url, autocommit=True, row_factory=dict_row))
        self.database.execute(CREATE_TABLE)
        self.redis = exits.enter_context(redis.Redis.from_url(valkey.url))
        references = self.settings.model_copy(update={"port": free_port()})
        self.url, self.reference_url = self.settings.base_url, references.base_url
        self.client = exits.enter_context(httpx.Client(base_url=self.url, timeout=120))
        api = self.run("api", processes.api())
        for number in range(self._workers):
            name = f"local{number}-"  # Celery's name of the process, which must not be another's
            self.run(f"worker{number or ''}", in_place_of("local-", name, processes.worker(["local"])))
        if self._sweeps:
            self.run("sweep", processes.sweep())
        references_process = self.run("references", bare_server(references))
        self.run(
            "celery",
            in_place_of("worker.generation.app", "bench.references:celery_app", processes.worker(["celery"])),
        )
        for child, url in ((api, self.url), (references_process, self.reference_url)):
            until_answers(child, f"{url}/healthz")

    def run(self, name: str, command: list[str], environment: Mapping[str, str] | None = None) -> Child:
        """Start a server with our settings and these environment variables. It stops at the end of the `with` block."""
        child = Child(
            name,
            command,
            log=self.directory / f"{name}.log",
            environment={**self._environment(), **(environment or {})},
            directory=ROOT,
        )
        self._exits.callback(child.stop)
        child.start()
        self._children[name] = child
        return child

    def pid(self, name: str) -> int:
        """The process of one of our servers: api, worker, sweep."""
        return self._children[name].pid

    def _environment(self) -> Mapping[str, str]:
        mine = {"SAFELIGHT_PORT": str(self.settings.port), "SAFELIGHT_LOG_LEVEL": "warning"}
        outside = {name: value for name, value in server_environment(self.settings).items() if name not in os.environ}
        return {**os.environ, **outside, **mine, **self._extra}

    def model(self, model_id: str) -> Model:
        """An entry of the benchmark's catalogue."""
        return load_catalog(self.settings.catalog_path).model(model_id)

    def query(self, statement: str, *values: object) -> list[dict[str, Any]]:
        """Query the database."""
        return self.database.execute(statement, values).fetchall()

    def clear(self) -> None:
        """Delete all jobs, so that every round begins with the same database."""
        self.database.execute("TRUNCATE jobs, batches, idempotency_keys, reference_jobs CASCADE")

    def until_done(self) -> None:
        """Wait until no job waits or runs. The figures come from the database's times."""
        until(lambda: not self.query(UNFINISHED), DONE_SECONDS, "all jobs to be done")


UNFINISHED = "SELECT 1 FROM jobs WHERE status IN ('queued', 'in_progress') AND queue = 'local' LIMIT 1"


def bare_server(settings: Settings) -> list[str]:
    """The bare application on plain uvicorn."""
    return [
        *(sys.executable, "-m", "uvicorn", "bench.references:create_app", "--factory"),
        *("--host", settings.host, "--port", str(settings.port)),
        *("--log-level", "warning", "--no-access-log"),
    ]


def in_place_of(ours: str, theirs: str, command: list[str]) -> list[str]:
    """The command line of one of our servers, for a reference: the same flags, another application."""
    return [part.replace(ours, theirs) for part in command]


def until_answers(server: Child, url: str) -> None:
    """Wait until a server answers. Raises RuntimeError with the last line of its output if it has ended."""

    def serves() -> bool:
        if not server.is_running:
            raise RuntimeError(f"{server.name} ended: {server.read_last_line()}")
        try:
            return httpx.get(url).is_success
        except httpx.TransportError:
            return False

    until(serves, START_SECONDS, f"{server.name} to answer")


def until(condition: Callable[[], bool], patience: float, purpose: str) -> None:
    """Poll until a condition is true. Raises TimeoutError."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {patience:g} s for {purpose}")
        time.sleep(0.05)  # a server that starts tells nobody when it is ready; nothing is measured meanwhile
