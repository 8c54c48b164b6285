"""What every storage does alike: a directory, and a real S3 server."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from core.errors import NotFound, StorageUnavailable
from core.storage import Storage, image_key, image_prefix
from tests.object_store import ObjectStore
from tests.stack import settings_of

JOB, LEASE = "job_1", uuid4()


@pytest.fixture(scope="module")
def s3(directory: Path) -> Iterator[ObjectStore]:
    with ObjectStore(directory / "weed") as server:
        yield server


@pytest.fixture(params=["directory", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    settings = {"SAFELIGHT_DATA_DIR": str(tmp_path)}
    if request.param == "s3":
        settings |= request.getfixturevalue("s3").environment
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
    return Storage(settings_of(settings))


async def read_object(storage: Storage, key: str) -> bytes:
    return b"".join([chunk async for chunk in await storage.stream_async(key)])


def test_what_is_put_can_be_read_whole_and_in_a_stream(storage: Storage) -> None:
    key = image_key(JOB, LEASE, 0, "png")
    data = bytes(range(256)) * 5000

    storage.put(key, data, "image/png")

    assert storage.get(key) == data
    assert asyncio.run(read_object(storage, key)) == data


def test_what_is_not_there_is_not_found(storage: Storage) -> None:
    with pytest.raises(NotFound):
        storage.get("jobs/none/0.png")
    with pytest.raises(NotFound):
        asyncio.run(read_object(storage, "jobs/none/0.png"))


def test_a_listing_shows_every_object_under_a_prefix_and_no_other(storage: Storage) -> None:
    keys = [image_key("job_a", LEASE, index, "webp") for index in range(3)]
    for key in (*keys, image_key("job_b", LEASE, 0, "webp")):
        storage.put(key, b"x", "image/webp")

    objects = list(storage.list(image_prefix("job_a")))

    assert sorted(item.key for item in objects) == keys
    assert {item.bytes for item in objects} == {1}


def test_deleting_is_done_once_and_harmless_twice(storage: Storage) -> None:
    keys = [image_key("job_c", LEASE, index, "png") for index in range(2)]
    for key in keys:
        storage.put(key, b"x", "image/png")

    storage.delete(keys)
    storage.delete(keys)
    asyncio.run(storage.delete_prefix(image_prefix("job_c")))

    assert list(storage.list(image_prefix("job_c"))) == []


def test_a_store_that_answers_is_well(storage: Storage) -> None:
    asyncio.run(storage.check())


def test_a_link_of_s3_is_presigned_and_opens_without_a_key(s3: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    storage = Storage(settings_of(s3.environment))
    key = image_key("job_d", LEASE, 0, "png")
    storage.put(key, b"an image", "image/png")

    link = storage.url("img_1", key)
    answer = httpx.get(link)

    assert storage.presigns
    assert link.startswith(s3.environment["AWS_ENDPOINT_URL"])
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, b"an image", "image/png")
    assert httpx.get(link.partition("?")[0]).status_code == 403


def test_a_directory_that_takes_no_file_is_unavailable(tmp_path: Path) -> None:
    storage = Storage(settings_of({"SAFELIGHT_DATA_DIR": str(tmp_path)}))
    (tmp_path / "images" / "jobs").write_text("a file where a directory should be")

    with pytest.raises(StorageUnavailable):
        storage.put(image_key(JOB, LEASE, 0, "png"), b"x", "image/png")


def test_writes_and_deletions_in_one_directory_at_once_all_succeed(tmp_path: Path) -> None:
    storage = Storage(settings_of({"SAFELIGHT_DATA_DIR": str(tmp_path)}))

    def write_and_delete(thread: int) -> None:
        for number in range(200):
            key = f"jobs/job_1/lease/{thread}-{number}.png"
            storage.put(key, b"x", "image/png")
            storage.delete([key])  # and the directories that are empty then

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write_and_delete, range(4)))
