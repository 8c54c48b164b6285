"""A real browser for tests: Debian's Chromium, driven by Playwright. The errors of its console fail a test."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import axe_playwright_python
from playwright.sync_api import ConsoleMessage, Page, expect, sync_playwright

from tests.waiting import PATIENCE

BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or ""
AXE = Path(axe_playwright_python.__file__).parent / "axe.min.js"
FAILED_CALL = "Failed to load resource"
SERIOUS = ("serious", "critical")
CONTEXT: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}, "locale": "en-GB", "reduced_motion": "reduce"}


@contextmanager
def browser_page(*, is_server_down: bool = False, **options: Any) -> Iterator[Page]:
    """A page without history. After the test, its console must have no errors.

    is_server_down: calls may fail, which a browser also writes to its console. options: of Playwright's context.
    """
    errors: list[str] = []
    expect.set_options(timeout=PATIENCE * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        context = browser.new_context(**{**CONTEXT, **options})
        context.set_default_timeout(PATIENCE * 1000)
        page = context.new_page()
        page.on("console", lambda message: errors.append(_error_text(message)) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(f"{page.url}: {error}"))
        yield page
        browser.close()
    errors = [error for error in errors if not (is_server_down and FAILED_CALL in error)]
    assert errors == [], "errors of the browser's console:\n" + "\n".join(errors)


def _error_text(message: ConsoleMessage) -> str:
    """What the console says, and the address that it is about: a failed call's text does not name it."""
    return f"{message.location.get('url', '')}: {message.text}"


@cache
def _axe() -> str:
    return AXE.read_text("utf-8")


def serious_findings(page: Page) -> list[str]:
    """What axe-core says about the page, as far as it is serious."""
    page.evaluate(_axe())
    result = page.evaluate("() => axe.run()")
    return [
        f"{violation['id']}: {node['html']}"
        for violation in result["violations"]
        if violation["impact"] in SERIOUS
        for node in violation["nodes"]
    ]
