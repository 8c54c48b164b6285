"""The peers as running servers, and Safelight in the same terms: so many requests, until all images are there."""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.load import load
from bench.processor import seconds_below
from bench.service import DONE_SECONDS, Service, until, until_answers
from bench.submit_to_done import check_files, database_seconds
from cli.local.ports import free_port

PROMPT = "a red fox sleeping in the snow"


LABELS = {
    "textbook": "textbook: FastAPI, Celery, results in Redis",
    "durable": "durable textbook: with a row in Postgres",
    "litserve": "LitServe, which stores no job",
    "bentoml": "BentoML's task",
}


@dataclass(frozen=True, slots=True)
class Run:
    """What some jobs took."""

    rate: float  # images a second, from the first request to the last image
    p99: float  # seconds, of the requests
    processor_ms: float  # of all servers with Postgres and Valkey, per image


@dataclass(frozen=True, slots=True)
class Drawing:
    """What everyone draws: a model of the catalogue and a size."""

    model: str
    size: str

    def environment(self, output: Path) -> Mapping[str, str]:
        """The variables that `bench.peers.drawing` reads."""
        return {"BENCH_MODEL": self.model, "BENCH_SIZE": self.size, "BENCH_OUTPUT": str(output)}


class Peer:
    """One of the peers, started; it stops with the service."""

    def __init__(self, service: Service, name: str, drawing: Drawing) -> None:
        self._output = service.directory / f"{name}-{drawing.model}"
        self._output.mkdir()
        self._port = free_port()
        home = service.directory / f"home-of-bentoml-{drawing.model}"
        bentoml = {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"}
        environment = {**drawing.environment(self._output), **bentoml}
        python = [sys.executable, "-m"]
        address = ["--host", "127.0.0.1", "--port", str(self._port)]
        if name in ("textbook", "durable"):
            module = f"bench.peers.{name}"
            uvicorn = ["uvicorn", f"{module}:app", *address, "--log-level", "warning", "--no-access-log"]
            pool = ["--pool=solo", "--without-mingle", "--without-gossip", "--loglevel=warning"]
            celery = ["celery", "-A", f"{module}:celery_app", "worker", "-Q", name, "-n", f"{name}@%h", *pool]
            service.run(f"{name}-worker", [*python, *celery], environment)
            self._path, self._field, self._status, alive = "/jobs", "prompt", 202, "/openapi.json"
            command = [*python, *uvicorn]
        elif name == "litserve":
            command = [*python, "bench.peers.litserve_server", str(self._port)]
            self._path, self._field, self._status, alive = "/predict", "prompt", 200, "/health"
        else:
            command = [*python, "bentoml", "serve", "bench.peers.bentoml_server:Draw", *address]
            self._path, self._field, self._status, alive = "/draw/submit", "prompts", 200, "/readyz"
        child = service.run(name, command, environment)
        self._url = f"http://127.0.0.1:{self._port}"
        until_answers(child, f"{self._url}{alive}")

    def run(self, jobs: int, connections: int) -> Run:
        """Send so many requests, and wait for as many files."""
        for file in self._output.iterdir():
            file.unlink()
        body = json.dumps({self._field: [PROMPT] if self._field == "prompts" else PROMPT})
        before = seconds_below(os.getpid())
        press = load(f"{self._url}{self._path}", body, connections=connections, requests=jobs, expect=self._status)
        until(lambda: len(self._files()) >= jobs, DONE_SECONDS, "all images of the peer")
        seconds = max(file.stat().st_mtime for file in self._files()) - press.began_at
        return Run(jobs / seconds, press.p99, (seconds_below(os.getpid()) - before) * 1000 / jobs)

    def _files(self) -> list[Path]:
        return list(self._output.glob("*.png"))


def run_singles(service: Service, drawing: Drawing, jobs: int, connections: int) -> Run:
    """Safelight with one POST for each job."""
    service.clear()
    body = f'{{"prompt": "{PROMPT}", "model": "{drawing.model}", "size": "{drawing.size}"}}'
    before = seconds_below(os.getpid())
    press = load(f"{service.url}/v1/jobs", body, connections=connections, requests=jobs, expect=202)
    service.until_done()
    processor = seconds_below(os.getpid()) - before
    rate = jobs / database_seconds(service, jobs)
    check_files(service, jobs)
    return Run(rate, press.p99, processor * 1000 / jobs)


def run_batch(service: Service, drawing: Drawing, jobs: int) -> Run:
    """Safelight with one batch of so many prompts."""
    service.clear()
    prompts = [f"{PROMPT}, number {number}" for number in range(jobs)]
    before = seconds_below(os.getpid())
    fields = {"prompts": prompts, "model": drawing.model, "size": drawing.size}
    response = service.client.post("/v1/batches", json=fields).raise_for_status()
    service.until_done()
    processor = seconds_below(os.getpid()) - before
    # The request's own time counts too. It overlaps with the first jobs, to our disadvantage.
    seconds = database_seconds(service, jobs) + response.elapsed.total_seconds()
    check_files(service, jobs)
    return Run(jobs / seconds, 0.0, processor * 1000 / jobs)
