"""Several API processes on one port: both serve, one that is killed is replaced, and all end together."""

import contextlib
import os
import signal
from pathlib import Path

import httpx
import pytest

from api.supervisor import STARTUP_FAILURE
from tests.processes import Process, python
from tests.samples import read_samples
from tests.stack import CATALOG, Stack, free_port
from tests.waiting import until

ACCEPTED = 'safelight_jobs_accepted_total{model="elsewhere",source="request"}'


def children(process: Process) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def test_api_processes_share_a_port_and_their_metrics(safelight: Stack, tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(CATALOG)
    environment = safelight.environment | {
        "SAFELIGHT_PORT": str(port),
        "SAFELIGHT_API_PROCESSES": "2",
        "SAFELIGHT_CATALOG": str(catalog),
    }

    def submit() -> None:
        job = httpx.post(f"{url}/v1/jobs", json={"prompt": "a cat", "model": "elsewhere"}, timeout=30)
        assert job.status_code == 202, job.text

    with Process("api", python("-m", "api"), environment) as process:
        until(lambda: process.output().count("Uvicorn running") == 2)
        first, second = children(process)
        for frozen in (first, second):  # the other one serves
            os.kill(frozen, signal.SIGSTOP)
            submit()
            os.kill(frozen, signal.SIGCONT)
        assert read_samples(httpx.get(f"{url}/metrics").text)[ACCEPTED] == 2

        catalog.write_text("not a catalogue")
        os.kill(first, signal.SIGKILL)
        submit()
        process.until_says("an API process could not start")
        submit()  # the other one keeps the catalogue that it has
        catalog.write_text(CATALOG)
        until(lambda: process.output().count("Uvicorn running") == 3)
        assert first not in children(process)
        assert second in children(process)
        assert read_samples(httpx.get(f"{url}/metrics").text)[ACCEPTED] == 4
        files = (safelight.settings.data_dir / f"api-metrics-{port}").glob("*.db")
        assert {int(file.stem.rpartition("_")[2]) for file in files} == {first, *children(process)}

        os.kill(process.pid, signal.SIGTERM)
        assert process.wait() == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(url)
    assert not list(safelight.settings.data_dir.glob("api-metrics-*"))


@pytest.mark.slow
def test_api_processes_that_cannot_start_end_the_api(safelight: Stack, tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.toml"
    catalog.write_text("not a catalogue")
    environment = {
        "SAFELIGHT_PORT": str(free_port()),
        "SAFELIGHT_API_PROCESSES": "2",
        "SAFELIGHT_CATALOG": str(catalog),
    }

    with Process("api", python("-m", "api"), safelight.environment | environment) as process:
        assert process.wait() == STARTUP_FAILURE
        assert process.output().count("an API process could not start") == 2


@pytest.mark.slow
def test_api_processes_end_whose_supervisor_was_killed_while_they_started(safelight: Stack) -> None:
    environment = {"SAFELIGHT_PORT": str(free_port()), "SAFELIGHT_API_PROCESSES": "2"}

    with Process("api", python("-m", "api"), safelight.environment | environment) as process:
        until(lambda: len(children(process)) == 2)
        try:
            os.kill(process.pid, signal.SIGKILL)
            until(lambda: process.has_ended)  # its output is also that of the processes
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
