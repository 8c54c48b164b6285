"""A large file goes through the API and the batch processor in pieces: neither holds it in memory.

`SAFELIGHT_TEST_MEGABYTES=200` takes the largest file that is accepted by default. Figures are printed (`pytest -s`).
"""

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from tests.batches import batch_status, submit_batch
from tests.processes import Process
from tests.stack import Stack
from tests.waiting import PATIENCE, until

MEGABYTES = int(os.environ.get("SAFELIGHT_TEST_MEGABYTES", "48"))
ROOM = 150
"""Megabytes above idle that are allowed, whatever the file's size: storage is read and written 10 MB at a time."""


class Memory:
    """The most memory that a process had, above what it had when the looking began; in megabytes."""

    def __init__(self, process: Process) -> None:
        self._process = psutil.Process(process.pid)
        self.idle = self._read()
        self.max = self.idle

    @property
    def growth(self) -> float:
        return self.max - self.idle

    @contextmanager
    def sampling(self) -> Iterator[None]:
        has_ended = threading.Event()
        thread = threading.Thread(target=self._sample, args=[has_ended])
        thread.start()
        try:
            yield
        finally:
            has_ended.set()
            thread.join()

    def _sample(self, has_ended: threading.Event) -> None:
        while not has_ended.wait(0.01):
            self.max = max(self.max, self._read())

    def _read(self) -> float:
        return float(self._process.memory_info().rss) / 2**20


def a_file(path: Path, megabytes: int, *, lines: int) -> None:
    """Lines of one length that come to so many megabytes. What makes them long is what an owner wrote beside."""
    length = megabytes * 2**20 // lines
    values = {f"key{n}": "x" * 512 for n in range(16)}
    with path.open("wb") as file:
        for number in range(lines):
            body = {"prompt": f"cat {number}", "model": "elsewhere", "size": "64x64", "metadata": values}
            line = {"custom_id": f"{number}", "method": "POST", "url": "/v1/images/generations", "body": body}
            raw = json.dumps(line).encode()
            file.write(raw + b" " * (length - len(raw) - 1) + b"\n")


@pytest.mark.parametrize("lines_a_megabyte", [100, 2], ids=["short lines", "long lines"])
def test_memory_does_not_grow_with_the_file(own: Stack, lines_a_megabyte: int) -> None:
    path = own.directory / "batch.jsonl"
    total = min(MEGABYTES * lines_a_megabyte, 20_000)
    a_file(path, MEGABYTES, lines=total)
    api = own.api()
    small = own.directory / "small.jsonl"
    a_file(small, 1, lines=10)
    upload_file(own, small)  # what is loaded at the first use is no part of the file

    api_memory = Memory(api)
    began = time.monotonic()
    with api_memory.sampling():
        file_id = upload_file(own, path)
    uploading = time.monotonic() - began
    processor = own.sweep()
    processor.until_says("sweeping every")
    warm = submit_batch(own, input_file_id=upload_file(own, small), endpoint="/v1/images/generations")["id"]
    until(lambda: batch_status(own, warm) == "in_progress")
    processor_memory = Memory(processor)
    began = time.monotonic()
    with processor_memory.sampling():
        batch_id = submit_batch(own, input_file_id=file_id, endpoint="/v1/images/generations")["id"]
        until(lambda: batch_status(own, batch_id) == "in_progress")
    reading = time.monotonic() - began

    print(
        f"{path.stat().st_size / 2**20:.0f} MB, {total} lines: "
        f"API +{api_memory.growth:.0f} MB above {api_memory.idle:.0f}, {uploading:.1f} s; "
        f"batch processor +{processor_memory.growth:.0f} MB above {processor_memory.idle:.0f}, {reading:.1f} s"
    )
    assert own.client.get(f"/v1/batches/{batch_id}").json()["request_counts"]["queued"] == total
    assert api_memory.growth < ROOM
    assert processor_memory.growth < ROOM


def upload_file(stack: Stack, path: Path) -> str:
    with path.open("rb") as file:
        form = {"purpose": "batch"}
        answer = httpx.post(f"{stack.url}/v1/files", data=form, files={"file": (path.name, file)}, timeout=PATIENCE)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])
