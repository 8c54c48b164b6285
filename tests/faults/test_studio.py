"""The studio says what is down, in words, and goes on by itself when it is back."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from playwright.sync_api import expect

from cli.local.embedded import EmbeddedPostgres, EmbeddedValkey
from tests.browser import BROWSER, browser_page
from tests.object_store import ObjectStore
from tests.stack import Stack, migrate
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not BROWSER, reason="chromium is not installed")]
_numbers = count(1)


@pytest.fixture
def database(directory: Path) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(directory / f"studio_database{next(_numbers)}") as server:
        yield server


@pytest.fixture
def notifier(directory: Path) -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey(directory / f"studio_notifier{next(_numbers)}") as server:
        yield server


def test_the_studio_says_what_is_down_and_goes_on(
    directory: Path, database: EmbeddedPostgres, notifier: EmbeddedValkey
) -> None:
    url = database.create_database("safelight")
    migrate(url)
    with (
        Stack(directory / f"studio{next(_numbers)}", url, notifier.url) as stack,
        browser_page(is_server_down=True) as page,
    ):
        expect.set_options(timeout=PATIENCE * 1000)
        api = stack.api()
        stack.worker()
        page.goto(stack.url)
        banner = page.locator(".banner")
        prompt = page.get_by_role("textbox", name="Prompt", exact=True)

        def generate(text: str) -> None:
            prompt.fill(text)
            prompt.press("Control+Enter")

        generate("before")
        tile = page.locator("a.tile.loaded")
        expect(tile).to_have_count(1)

        notifier.kill()
        generate("without Redis")
        page.reload()
        expect(banner).to_contain_text("Redis is down.")
        expect(tile).to_have_count(2)
        notifier.start()
        expect(banner).not_to_contain_text("Redis is down.")

        database.kill()
        generate("without Postgres")
        expect(banner).to_contain_text("The database is down.")
        expect(page.get_by_role("alert")).to_be_visible()
        database.start()
        expect(banner).not_to_contain_text("The database is down.")
        generate("with Postgres")
        expect(tile).to_have_count(3)

        api.kill()
        generate("without the API")
        expect(banner).to_contain_text("The server does not answer.")
        stack.api()
        expect(banner).not_to_contain_text("The server does not answer.")
        generate("with the API")
        expect(tile).to_have_count(4)


def test_the_studio_says_that_the_image_store_is_down_and_goes_on(
    directory: Path, database: EmbeddedPostgres, notifier: EmbeddedValkey
) -> None:
    url = database.create_database("safelight")
    migrate(url)
    with (
        ObjectStore(directory / f"studio_store{next(_numbers)}") as store,
        Stack(directory / f"studio{next(_numbers)}", url, notifier.url, **store.environment) as stack,
        browser_page(is_server_down=True) as page,
    ):
        expect.set_options(timeout=PATIENCE * 1000)
        stack.api()
        stack.worker()
        page.goto(stack.url)
        banner = page.locator(".banner")
        prompt = page.get_by_role("textbox", name="Prompt", exact=True)
        prompt.fill("before")
        prompt.press("Enter")
        tile = page.locator("a.tile.loaded")
        expect(tile).to_have_count(1)

        store.freeze()
        prompt.fill("without the store")
        prompt.press("Enter")
        page.reload()
        expect(banner).to_contain_text("The image store is down.")
        store.thaw()
        expect(banner).not_to_contain_text("The image store is down.")
        expect(tile).to_have_count(2)
