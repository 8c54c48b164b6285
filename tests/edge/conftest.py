"""APIs on the database of the shared stack, with settings of their own. Each runs for the tests of this folder."""

from collections.abc import Iterator

import pytest

from tests.processes import Process, python
from tests.stack import Stack, free_port

SMALL = {"SAFELIGHT_MAX_PROJECT_UPLOADS": "3", "SAFELIGHT_MAX_UPLOAD_BYTES": str(8 * 2**20)}
FEW_FILES = (
    "import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (500, 500)); "
    "os.execv(sys.executable, [sys.executable, '-m', 'api'])"
)


@pytest.fixture(scope="package")
def small_api(safelight: Stack) -> Iterator[tuple[int, Process]]:
    """The port and process of an API that may open 500 files, and reads few uploads at once."""
    port = free_port()
    environment = safelight.environment | {"SAFELIGHT_PORT": str(port)} | SMALL
    with Process("api", python("-c", FEW_FILES), environment) as process:
        process.until_says("Uvicorn running")
        yield port, process
