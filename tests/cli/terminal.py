"""A terminal for tests: runs `safelight` with settings of its own, and reads its output."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from tests.processes import Process
from tests.stack import Stack
from tests.waiting import FACTOR, PATIENCE

SMALL = ("--size", "64x64")

CATALOG = """
default = "fake"

[[models]]
id = "fake"
generator = "fake"
sizes = ["64x64"]
steps = { default = 3, min = 1, max = 1000 }
options = { faults = true }

[[models]]
id = "slow"
generator = "fake"
sizes = ["64x64"]
steps = { default = 100, min = 1, max = 1000 }
options = { step_seconds = 0.1 }
"""


class Terminal:
    """Settings of one Safelight, and the commands given to it."""

    def __init__(self, directory: Path, port: int, **settings: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.data_dir = directory / "data"
        self.url = f"http://127.0.0.1:{port}"
        catalog = directory / "catalog.toml"
        catalog.write_text(CATALOG)
        self.settings: Mapping[str, str] = {
            "SAFELIGHT_CATALOG": str(catalog),
            "SAFELIGHT_DATA_DIR": str(self.data_dir),
            "SAFELIGHT_PORT": str(port),
            "SAFELIGHT_DRAIN_TIMEOUT": str(10 * FACTOR),
            **settings,
        }

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            command(*arguments),
            env={**os.environ, **self.settings, **settings},
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def start(self, *arguments: str, **settings: str) -> Process:
        """Start a command that goes on."""
        return Process(arguments[0], command(*arguments), {**self.settings, **settings})

    def refusal(self, *arguments: str, **settings: str) -> str:
        """The one sentence with which a command refuses."""
        result = self.run(*arguments, **settings)
        assert (result.returncode, result.stdout) == (1, ""), result
        assert result.stderr.count("\n") == 1, result.stderr
        assert result.stderr.startswith("safelight: ")
        return result.stderr.removeprefix("safelight: ").rstrip()


def command(*arguments: str) -> list[str]:
    """A command line of `safelight`."""
    return [sys.executable, "-m", "cli.main", *arguments]


def final_job(url: str) -> dict[str, Any]:
    """The job at a URL once it is final."""
    deadline = time.monotonic() + PATIENCE
    while True:
        job: dict[str, Any] = httpx.get(url, params={"wait": 20}, timeout=PATIENCE).json()
        if job["finished_at"] is not None:
            return job
        assert time.monotonic() < deadline, f"{url} is still {job['status']}"


def jobs_like(safelight: Stack, prompt: str) -> list[dict[str, Any]]:
    jobs = safelight.client.get("/v1/jobs", params={"limit": 100}).json()["data"]
    return [job for job in jobs if job["prompt"] == prompt]


def progress(stderr: str) -> list[str]:
    """The progress lines of the only job."""
    ids = {line.partition(": ")[0] for line in stderr.splitlines()}
    assert len(ids) == 1, stderr
    return [line.partition(": ")[2] for line in stderr.splitlines()]


def read_screen(screen: int) -> str:
    """All that is written to a pseudo-terminal until its writer closes it."""
    output = b""
    with os.fdopen(screen, "rb", buffering=0) as file:
        try:
            while part := file.read(65536):
                output += part
        except OSError:  # Linux's way to say that nobody writes to it any more
            pass
    return output.decode()
