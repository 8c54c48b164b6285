"""Several API processes on one port: both serve, one that is killed is replaced, and all end together."""

import os
import signal
from pathlib import Path

import httpx
import pytest

from tests.processes import Process, python
from tests.samples import read_samples
from tests.stack import Stack, free_port
from tests.waiting import until

ACCEPTED = 'safelight_jobs_accepted_total{model="elsewhere",source="request"}'


def children(process: Process) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def test_api_processes_share_a_port_and_their_metrics(safelight: Stack) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = safelight.environment | {"SAFELIGHT_PORT": str(port), "SAFELIGHT_API_PROCESSES": "2"}

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

        os.kill(first, signal.SIGKILL)
        submit()
        until(lambda: process.output().count("Uvicorn running") == 3)
        assert first not in children(process)
        assert second in children(process)
        assert read_samples(httpx.get(f"{url}/metrics").text)[ACCEPTED] == 3

        os.kill(process.pid, signal.SIGTERM)
        assert process.wait() == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(url)
    assert not list(safelight.settings.data_dir.glob("api-metrics-*"))
