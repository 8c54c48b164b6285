"""Checker processes: they read what the API itself would read, have limits, and are replaced when they die."""

import asyncio
import json
import os
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from core.batches.body import read_body
from core.batches.checker import MAX_BYTES, NICENESS
from core.batches.checkers import MAX_WAITING, Checkers, Source
from core.batches.dry_run import DryRun, Totals
from core.batches.requests import BatchRequest
from core.catalog import parse_catalog
from core.errors import InternalError, InvalidParameter, NotFound, StorageUnavailable
from core.estimates import Estimates
from core.limit_errors import TooManyUploads
from core.parameters.image_source import ImageSource
from tests.stack import CATALOG, settings_of
from tests.waiting import PATIENCE, until

BODY = json.dumps({"requests": [{"custom_id": "a", "prompt": "cat"}, {"prompt": "dog", "seed": 7}]}).encode()

REQUEST = BatchRequest(input_file_id="file-1", endpoint="/v1/jobs")


@pytest.fixture(scope="module")
def checkers() -> Iterator[Checkers]:
    pool = Checkers(settings_of({}))
    yield pool
    pool.close()


def processes() -> list[psutil.Process]:
    children = psutil.Process().children()
    running = [child for child in children if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in running if "core.batches.checker" in child.cmdline()]


def check(checkers: Checkers, chunks: Iterable[bytes]) -> Totals:
    dry_run = DryRun(parse_catalog(CATALOG, Path("catalog.toml")), Estimates(), "p", "a.jsonl", REQUEST)
    return asyncio.run(checkers.check("p", dry_run, Source(lambda: chunks, check_images)))


def check_images(sources: Mapping[str, ImageSource], new: Sequence[str]) -> bool:
    assert not new
    if sources["image"].file_id == "file-1":
        raise InvalidParameter("image: no such file.", param="image.file_id")
    return sources["image"].file_id == "file-2"


def line(**fields: Any) -> bytes:
    body = {"prompt": "cat", "size": "64x64", **fields}
    request = {"custom_id": str(fields), "method": "POST", "url": "/v1/jobs", "body": body}
    return json.dumps(request).encode() + b"\n"


def test_a_body_is_read_as_by_the_api(checkers: Checkers) -> None:
    body = asyncio.run(checkers.read_body("p", BODY))

    assert body == read_body(BODY)
    assert body.request.requests == [{}]
    assert [json.loads(text)["custom_id"] for text in (body.lines or b"").splitlines()] == ["a", "line-2"]


def test_an_error_keeps_its_class_and_field(checkers: Checkers) -> None:
    with pytest.raises(InvalidParameter, match="n should be a valid integer") as refusal:
        asyncio.run(checkers.read_body("p", b'{"prompts": ["a"], "n": "2"}'))

    assert refusal.value.param == "n"


def test_lines_are_validated_with_the_images_of_the_parent(checkers: Checkers) -> None:
    images = [line(operation="edit", image={"file_id": f"file-{n}"}) for n in (1, 2, 3)]

    totals = check(checkers, [line(n=2)[:20], line(n=2)[20:], *images, line(size="1x1")])

    assert (totals.total, totals.models, totals.images) == (5, {"fake": 3}, {"fake": 4})
    assert [(error["line"], error["param"]) for error in totals.errors] == [(2, "image.file_id"), (5, "size")]


def test_a_file_that_cannot_be_read_is_an_error_of_this_call_only(checkers: Checkers) -> None:
    def chunks(error: Exception) -> Iterator[bytes]:
        yield line()
        raise error

    assert [error["message"] for error in check(checkers, chunks(NotFound("It is gone."))).errors] == ["It is gone."]
    for error in (StorageUnavailable, TooManyUploads):
        with pytest.raises(error):
            check(checkers, chunks(error("Try again.")))
    assert check(checkers, [line()]).errors == []


def test_a_fault_of_ours_is_no_fault_of_the_batch(checkers: Checkers, caplog: pytest.LogCaptureFixture) -> None:
    broken: Any = None
    dry_run = DryRun(broken, Estimates(), "p", "a.jsonl", REQUEST)
    with pytest.raises(InternalError):
        asyncio.run(checkers.check("p", dry_run, Source(lambda: [line(prompt="a secret")], check_images)))

    assert "AttributeError" in caplog.text
    assert "dry_run.py" in caplog.text
    assert "secret" not in caplog.text
    assert check(checkers, [line()]).total == 1


def test_a_project_has_few_bodies_that_wait(checkers: Checkers) -> None:
    may_end = threading.Event()

    def chunks() -> Iterator[bytes]:
        assert may_end.wait(PATIENCE)
        yield line()

    async def check_many() -> Sequence[object]:
        catalog = parse_catalog(CATALOG, Path("catalog.toml"))
        dry_run = DryRun(catalog, Estimates(), "p", "a.jsonl", REQUEST)
        first = asyncio.create_task(checkers.check("p", dry_run, Source(chunks, check_images)))
        further = [asyncio.create_task(checkers.read_body("p", BODY)) for _ in range(MAX_WAITING + 1)]
        with pytest.raises(TooManyUploads):
            await further[-1]
        may_end.set()
        return [*await asyncio.gather(first, *further[:-1])]

    assert len(asyncio.run(check_many())) == MAX_WAITING + 1


def test_a_process_has_limits_and_is_replaced_when_it_dies(checkers: Checkers) -> None:
    check(checkers, [line()])
    (process,) = processes()
    soft, hard = process.rlimit(psutil.RLIMIT_AS)

    assert MAX_BYTES < soft == hard < MAX_BYTES + 2**31
    assert process.nice() == min(os.nice(0) + NICENESS, 19)
    process.send_signal(signal.SIGKILL)
    until(lambda: process.status() == psutil.STATUS_ZOMBIE)
    assert check(checkers, [line()]).total == 1
    (new_process,) = processes()
    checkers.close()
    assert not new_process.is_running()
