"""Signed image links: valid only as signed, and in time."""

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from core.storage import Storage
from tests.stack import settings_of


def storage(directory: Path, **settings: str) -> Storage:
    return Storage(settings_of({"SAFELIGHT_DATA_DIR": str(directory), **settings}))


def link(store: Storage) -> tuple[int, str]:
    query = parse_qs(urlsplit(store.url("img_1", "jobs/j/l/0.png")).query)
    return int(query["expires"][0]), query["signature"][0]


def test_a_link_is_valid_for_its_image_until_its_time(tmp_path: Path) -> None:
    store = storage(tmp_path)
    expires, signature = link(store)

    assert store.is_signed("img_1", expires, signature)
    assert not store.is_signed("img_2", expires, signature)
    assert not store.is_signed("img_1", expires + 1, signature)
    assert not store.is_signed("img_1", expires, f"é{signature}")


def test_a_link_past_its_time_is_not_valid(tmp_path: Path) -> None:
    store = storage(tmp_path, SAFELIGHT_URL_TTL="0.001")

    assert not store.is_signed("img_1", *link(store))


def test_processes_that_share_a_data_directory_know_each_others_links(tmp_path: Path) -> None:
    assert storage(tmp_path).is_signed("img_1", *link(storage(tmp_path)))


@pytest.mark.parametrize("secret", ["one", "other"])
def test_a_link_signed_with_another_secret_is_not_valid(tmp_path: Path, secret: str) -> None:
    theirs = storage(tmp_path, SAFELIGHT_SECRET_KEY="one" * 11)

    assert storage(tmp_path, SAFELIGHT_SECRET_KEY=secret * 11).is_signed("img_1", *link(theirs)) == (secret == "one")
