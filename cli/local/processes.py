"""The command lines of our servers, for `safelight up` and for `safelight api | worker | sweep | deliver`."""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from cli.environment import ROOT, server_environment
from core.permissions import make_private
from core.settings import Settings

API_GRACE_SECONDS = 10
"""Time that the API gives open requests when it stops: `GRACE_SECONDS` in `api/edge/server.py`."""


def api() -> list[str]:
    """The API, one process. It reads its settings from the environment."""
    return [sys.executable, "-m", "api"]


def worker(queues: Sequence[str], concurrency: int = 2) -> list[str]:
    """A worker. With two threads, one uses the device while the other encodes and uploads."""
    return [
        *(sys.executable, "-W", "ignore:You're running the worker with superuser privileges", "-m", "celery"),
        *("-A", "worker.generation.app", "worker"),
        *("-Q", ",".join(queues), "-n", f"{'-'.join(queues)}-{os.getpid()}@%h"),
        *("--pool=threads", f"--concurrency={concurrency}"),
        *("--without-mingle", "--without-gossip", "--loglevel=warning"),
    ]


def sweep() -> list[str]:
    """The sweep."""
    return [sys.executable, "-m", "worker.sweep"]


def deliver() -> list[str]:
    """The deliverer of webhooks."""
    return [sys.executable, "-m", "worker.webhooks.deliver"]


def training() -> list[str]:
    """The worker of fine-tuning jobs."""
    return [sys.executable, "-m", "worker.training"]


def exec_server(command: list[str], settings: Settings) -> NoReturn:
    """Replace this process with a server."""
    make_private(settings.data_dir)
    os.chdir(ROOT)
    os.execve(command[0], command, server_environment(settings))  # noqa: S606 - no shell; the command is ours
