"""An upgrade without a stop: the database is migrated while the previous version's API, worker and sweep run."""

import io
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

import migrations
from cli.local.embedded import EmbeddedPostgres, EmbeddedValkey
from core.status import FINAL
from core.tables import job_events
from tests.processes import Process, python
from tests.stack import CATALOG, Stack, body, free_port
from tests.waiting import PATIENCE

PREVIOUS = "ac258a1"
"""The last commit of the previous version; its migrations end at PREVIOUS_REVISION."""

PREVIOUS_REVISION = "0011"
JOBS_BEFORE = 5000
MEANWHILE = 30
"""Jobs submitted before the upgrade begins and again after it has ended, by who submits without a pause."""

QUEUED = 20


def unpack_previous_version(directory: Path) -> None:
    """Write the previous version's files, or fail with what is missing."""
    root = Path(migrations.__file__).parent.parent
    requirement = f"The upgrade test needs git and this repository's history back to commit {PREVIOUS}"
    assert shutil.which("git"), f"{requirement}: install git."
    archive = subprocess.run(["git", "-C", root, "archive", "--format=tar", PREVIOUS], capture_output=True)
    reason = archive.stderr.decode()
    assert archive.returncode == 0, f"{requirement}: fetch it (git fetch --unshallow). Git says: {reason}"
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(directory, filter="data")


NEW_KEYS = ("quality_steps", "styles", "controls", "hires")
"""Keys of the catalogue that the previous version does not know."""


class PreviousVersion:
    """Processes of the previous version, with the database, Redis and storage of a stack of this one."""

    def __init__(self, source: Path, stack: Stack, exits: ExitStack) -> None:
        self._source, self._exits = source, exits
        catalog = stack.directory / "previous_catalog.toml"
        lines = CATALOG.replace("microbatch_size", "microbatch").splitlines()
        catalog.write_text("\n".join(line for line in lines if not line.startswith(NEW_KEYS)))
        self._port = free_port()
        self._environment = stack.environment | {
            "SAFELIGHT_CATALOG": str(catalog),
            "SAFELIGHT_PORT": str(self._port),
            "PYTHONPATH": str(source),
        }
        self.client = exits.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{self._port}", timeout=PATIENCE))

    def start(self, name: str, *arguments: str) -> Process:
        command = python(*arguments)
        return self._exits.enter_context(Process(name, command, self._environment, directory=self._source))

    def migrate(self) -> None:
        process = self.start("migrate", "-c", "import migrations; migrations.upgrade()")
        assert process.wait() == 0, process.output()

    def api(self) -> Process:
        process = self.start(
            "previous api", "-m", "uvicorn", "api.app:create_app", "--factory", "--port", str(self._port)
        )
        process.until_says("Uvicorn running")
        return process

    def worker(self) -> Process:
        process = self.start(
            "previous worker", "-m", "celery", "-A", "worker.app", "worker", "-Q", "local", "--pool=threads",
            "--concurrency=2", "--without-mingle", "--without-gossip", "-n", "previous@%h",
        )  # fmt: skip
        process.until_says("ready.")
        return process

    def sweep(self) -> Process:
        process = self.start("previous sweep", "-m", "worker.sweep")
        process.until_says("sweeping every")
        return process

    def submit(self) -> str:
        answer = self.client.post("/v1/jobs", json={"prompt": "a cat", "size": "64x64"})
        assert answer.status_code == 202, answer.text
        return str(body(answer)["id"])


class Submitter:
    """Submits jobs without a pause until it is stopped. Whatever fails, fails the test."""

    def __init__(self, submit: Callable[[], str]) -> None:
        self.job_ids: list[str] = []
        self._submit = submit
        self._stopped = False
        self._error: BaseException | None = None
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stopped:
                job_id = self._submit()
                with self._news:
                    self.job_ids.append(job_id)
                    self._news.notify_all()
        except BaseException as error:
            with self._news:
                self._error = error
                self._news.notify_all()

    def wait_for(self, more: int) -> None:
        with self._news:
            enough = len(self.job_ids) + more
            assert self._news.wait_for(lambda: self._error or len(self.job_ids) >= enough, PATIENCE)
        self._raise()

    def stop(self) -> None:
        self._stopped = True
        self._thread.join(PATIENCE)
        self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error


@pytest.fixture
def upgrading(directory: Path, postgres: EmbeddedPostgres) -> Iterator[tuple[Stack, PreviousVersion]]:
    """A stack of this version and processes of the previous one, on a database of the previous one with jobs in it."""
    source = directory / "previous"
    source.mkdir()
    unpack_previous_version(source)
    place = directory / "upgrading"
    with (
        EmbeddedValkey(place / "valkey") as valkey,
        Stack(place, postgres.create_database("upgrading"), valkey.url) as stack,
        ExitStack() as exits,
    ):
        previous = PreviousVersion(source, stack, exits)
        previous.migrate()
        stack.database.execute(sa.text(COMPLETED_JOBS))
        yield stack, previous


COMPLETED_JOBS = f"""
INSERT INTO jobs (id, project_id, status, operation, model, prompt, n, size, steps, guidance_scale, seed,
    output_format, queue, batch_key, microbatch, cost, fair_rank, max_attempts, expires_at, finished_at)
SELECT 'job_' || lpad(i::text, 26, '0'), 'proj_default', 'completed', 'generation', 'fake', 'a cat', 1, '64x64', 5, 5,
    i, 'png', 'local', 'fake', 8, 1, i, 3, now() + interval '1 day', now()
FROM generate_series(1, {JOBS_BEFORE}) i
"""  # noqa: S608 - our own number


def test_jobs_flow_while_the_database_is_upgraded_under_the_previous_version(
    upgrading: tuple[Stack, PreviousVersion],
) -> None:
    stack, previous = upgrading
    processes = {"api": previous.api(), "worker": previous.worker(), "sweep": previous.sweep()}
    assert revision_of(stack) == PREVIOUS_REVISION

    submitter = Submitter(previous.submit)
    try:
        submitter.wait_for(MEANWHILE)
        migrations.upgrade(database_url=stack.environment["SAFELIGHT_DATABASE_URL"])
        submitter.wait_for(MEANWHILE)
    finally:
        submitter.stop()
    assert revision_of(stack) == migrations.newest()
    assert_completed(stack, submitter.job_ids, previous.client)

    # The API first: the previous version's worker runs what the new API submits.
    stack.api()
    assert_completed(stack, [stack.submit()["id"] for _ in range(QUEUED)], stack.client)

    # Then the rest: the new worker finishes what the previous API submitted.
    assert processes["worker"].terminate() == 0, processes["worker"].output()
    waiting = [previous.submit() for _ in range(QUEUED)]
    for name in ("api", "sweep"):
        processes[name].terminate()
    stack.worker()
    stack.sweep()
    assert_completed(stack, waiting, stack.client)

    for process in processes.values():
        for sign in ("Traceback", "ERROR", "CRITICAL"):
            assert sign not in process.output(), process.output()


def revision_of(stack: Stack) -> str:
    return str(stack.database.execute(sa.text("SELECT version_num FROM alembic_version"))[0][0])


def assert_completed(stack: Stack, job_ids: list[str], client: httpx.Client) -> None:
    """Each job completes, and has one final event."""
    for job_id in job_ids:
        found: dict[str, Any] = {"finished_at": None}
        for _ in range(5):
            found = body(client.get(f"/v1/jobs/{job_id}", params={"wait": 20}))
            if found["finished_at"] is not None:
                break
        assert (found["status"], found["attempts"], len(found["images"])) == ("completed", 1, 1)
    finals = [f"job.{status}" for status in FINAL]
    counts = (
        sa.select(job_events.c.job_id, sa.func.count().label("finals"))
        .where(job_events.c.job_id.in_(job_ids), job_events.c.type.in_(finals))
        .group_by(job_events.c.job_id)
    )
    assert {row.job_id: row.finals for row in stack.database.execute(counts)} == dict.fromkeys(job_ids, 1)
