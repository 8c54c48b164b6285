"""APIs on the database of the shared stack, with settings of their own. Each runs for the tests of this folder."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.processes import Process, python
from tests.stack import Stack, free_port

SMALL = {"SAFELIGHT_MAX_PROJECT_UPLOADS": "3", "SAFELIGHT_MAX_UPLOAD_BYTES": str(8 * 2**20)}
FEW_FILES = (
    "import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (500, 500)); "
    "os.execv(sys.executable, [sys.executable, '-m', 'api'])"
)


PROXIED = {
    "SAFELIGHT_HOST": "::",
    "SAFELIGHT_PUBLIC_URL": "https://images.example.com/art",
    "SAFELIGHT_CORS_ORIGINS": "https://app.example.com",
}
LOCAL = {"SAFELIGHT_TRUSTED_PROXIES": "192.0.2.1", "SAFELIGHT_CORS_ORIGINS": "https://app.example.com, *"}


@contextmanager
def running(safelight: Stack, command: list[str], settings: dict[str, str]) -> Iterator[tuple[int, Process]]:
    port = free_port()
    environment = safelight.environment | {"SAFELIGHT_PORT": str(port)} | settings
    with Process("api", command, environment) as process:
        process.until_says("Uvicorn running")
        yield port, process


@pytest.fixture(scope="package")
def small_api(safelight: Stack) -> Iterator[tuple[int, Process]]:
    """The port and process of an API that may open 500 files, and reads few uploads at once."""
    with running(safelight, python("-c", FEW_FILES), SMALL) as api:
        yield api


@pytest.fixture(scope="package")
def proxied(safelight: Stack) -> Iterator[int]:
    """The port of an API with a public URL, so that keys are on. Pages of one origin may call it."""
    with running(safelight, python("-m", "api"), PROXIED) as (port, _):
        yield port


@pytest.fixture(scope="package")
def local_api(safelight: Stack) -> Iterator[tuple[int, Process]]:
    """The port and process of an API without keys that trusts no proxy here. Pages: one listed origin and `*`."""
    with running(safelight, python("-m", "api"), LOCAL) as api:
        yield api
