"""Uploads that break off, or come all at once: bounded in number and bytes, and nothing is left of them."""

import os
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import pytest

from core.temporary_files import use_directory
from tests.edge.wire import connect, request
from tests.processes import Process
from tests.stack import Stack
from tests.waiting import PATIENCE, until

HEAD = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
FORM = "Content-Type: multipart/form-data; boundary=x"


def temporary_files(process: Process, directory: Path) -> list[str]:
    """The files without a name that a process has open in a directory."""
    links = [link for link in Path(f"/proc/{process.pid}/fd").iterdir() if link.exists() or link.is_symlink()]
    targets = []
    for link in links:
        try:
            targets.append(str(link.readlink()))
        except FileNotFoundError:  # closed in the meantime
            continue
    return [target for target in targets if target.startswith(str(directory)) and target.endswith("(deleted)")]


def upload(port: int, content: bytes) -> httpx.Response:
    return httpx.post(
        f"http://127.0.0.1:{port}/v1/files",
        data={"purpose": "user_data"},
        files={"file": ("a", content)},
        timeout=PATIENCE,
    )


def test_uploads_are_on_disk_and_nothing_is_left_when_they_break_off(
    small_api: tuple[int, Process], safelight: Stack
) -> None:
    port, process = small_api
    directory = safelight.directory / "uploads"
    with ExitStack() as exits:
        for _ in range(3):
            client = exits.enter_context(closing(connect(port)))
            client.sendall(request("POST", "/v1/files", FORM, "Content-Length: 9000000", body=HEAD + bytes(2_000_000)))
        until(lambda: len(temporary_files(process, directory)) == 3)

        refusal = upload(port, b"x")

    assert (refusal.status_code, refusal.json()["error"]["code"]) == (429, "too_many_uploads")
    assert refusal.headers["retry-after"] == "1"
    until(lambda: not temporary_files(process, directory))
    assert list(directory.iterdir()) == []
    assert upload(port, bytes(2_000_000)).status_code == 200


def test_uploads_share_a_number_of_bytes(small_api: tuple[int, Process]) -> None:
    port, _ = small_api

    refusal = upload(port, bytes(9_000_000))

    assert (refusal.status_code, refusal.json()["error"]["code"]) == (503, "uploads_full")
    assert upload(port, bytes(7_000_000)).status_code == 200


def test_what_a_killed_process_left_is_deleted_at_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)  # `use_directory` sets it for this process
    directory = tmp_path / "uploads"
    directory.mkdir()
    for name, age in (("old", 7200), ("new", 0)):
        (directory / name).touch()
        os.utime(directory / name, (time.time() - age, time.time() - age))

    use_directory(tmp_path)

    assert [path.name for path in directory.iterdir()] == ["new"]
    assert tempfile.gettempdir() == str(directory)


def test_without_a_directory_on_disk_the_log_says_where_uploads_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    (tmp_path / "uploads").touch()

    use_directory(tmp_path)

    assert "uploads cannot be written (File exists)" in caplog.text
