"""An object storage that takes connections and never answers costs each job one attempt, and no worker its life."""

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from core.errors import StorageUnavailable
from core.storage import Storage
from tests.stack import Stack, settings_of


@pytest.fixture
def black_hole() -> Iterator[dict[str, str]]:
    """The environment of a process whose S3 never answers."""
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:

        def take() -> None:
            while True:
                try:
                    taken.append(listener.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=take)
        thread.start()
        yield {
            "AWS_ACCESS_KEY_ID": "safelight",
            "AWS_SECRET_ACCESS_KEY": "of-the-test",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{listener.getsockname()[1]}",
            "SAFELIGHT_STORAGE_URL": "s3://safelight/images",
        }
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    for connection in taken:
        connection.close()


@pytest.mark.parametrize(
    "call",
    [
        lambda storage: storage.put("jobs/a/b/0.png", bytes(1000), "image/png"),
        lambda storage: storage.put("jobs/a/b/0.png", bytes(20_000_000), "image/png"),
        lambda storage: storage.write("files/a", iter([bytes(8_000_000)] * 3)),
        lambda storage: storage.get("jobs/a/b/0.png"),
        lambda storage: list(storage.stream("files/a")),
        lambda storage: list(storage.list("jobs/")),
        lambda storage: storage.delete(["jobs/a/b/0.png"]),
    ],
    ids=["put", "put in parts", "write", "get", "stream", "list", "delete"],
)
def test_no_request_hangs_for_longer_than_the_timeout(
    black_hole: dict[str, str], monkeypatch: pytest.MonkeyPatch, call: Callable[[Storage], object]
) -> None:
    for name, value in black_hole.items():
        monkeypatch.setenv(name, value)
    storage = Storage(settings_of(black_hole | {"SAFELIGHT_STORAGE_TIMEOUT": "1"}))

    began = time.monotonic()
    with pytest.raises(StorageUnavailable):
        call(storage)

    assert time.monotonic() - began < 3  # times the timeout


def test_a_storage_that_hangs_costs_each_job_an_attempt_and_no_worker(own: Stack, black_hole: dict[str, str]) -> None:
    own.environment["SAFELIGHT_MAX_ATTEMPTS"] = "1"
    own.api()
    submitted = [own.submit(str(number))["id"] for number in range(3)]
    own.environment |= black_hole | {
        "SAFELIGHT_STORAGE_TIMEOUT": "2",
        "SAFELIGHT_STALL_TIMEOUT": "5",
        "SAFELIGHT_STORAGE_RETRY": "0.1",
    }
    worker = own.worker()

    finals = [own.final(job_id) for job_id in submitted]

    assert {final["error"]["code"] for final in finals} == {"storage_failed"}
    assert {final["attempts"] for final in finals} == {1}
    assert not worker.has_ended
    assert worker.terminate() == 0
