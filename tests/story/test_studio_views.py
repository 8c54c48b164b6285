"""Every view of the studio, in both themes and languages, on a desk and on a phone.

SAFELIGHT_TEST_SCREENSHOTS: the directory where screenshots are left to be looked at; without it there are none.
"""

import os
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.batches import submit_batch, until_batch
from tests.browser import BROWSER, browser_page, serious_findings
from tests.receiver import Receiver, answering
from tests.stack import Stack, body

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not BROWSER, reason="chromium is not installed")]

SCREENSHOTS = os.environ.get("SAFELIGHT_TEST_SCREENSHOTS")
PROMPTS = ["A red house by the sea at sunset", "A cat sleeping on a green sofa", "A lighthouse in a storm"]
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "locale": "zh-CN"},
}
IS_READY = """() => {
  const main = document.querySelector("main");
  const isShown = (image) => image.getBoundingClientRect().top < innerHeight;
  const isComplete = [...document.images].every((image) => image.complete || !isShown(image));
  return main.querySelector("h1") && main.innerText.length > 40
    && !main.querySelector("[aria-busy=true]") && isComplete;
}"""
OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def views(safelight: Stack) -> dict[str, str]:
    """A part of the address for each view, with something to see there."""
    client = safelight.client
    jobs = [safelight.submit(prompt, size="256x256", metadata={"campaign": "spring"}) for prompt in PROMPTS]
    image = safelight.final(jobs[0]["id"])["images"][0]["id"]
    copy = safelight.final(body(client.post(f"/v1/jobs/{jobs[0]['id']}/reproduce"))["id"])["images"][0]["id"]
    lines: list[dict[str, Any]] = [
        {"prompt": f"{prompt}, number {number}"} for number in range(20) for prompt in PROMPTS
    ]
    lines[7] = {"prompt": "[refuse] A broken lamp", "steps": 6}
    batch = submit_batch(safelight, requests=lines, size="256x256", metadata={"name": "spring campaign.xlsx"})["id"]
    until_batch(safelight, batch)
    file = body(
        client.post(
            "/v1/files",
            data={"purpose": "batch"},
            files={"file": ("prompts.csv", b"prompt,seed\na cat,1\n,2\na dog,many\n")},
        )
    )
    with Receiver(answering(503, body=b"the receiver is not ready")) as receiver:
        fields = {"name": "Shop", "url": receiver.url(), "event_types": ["job.completed"]}
        endpoint = body(client.post("/v1/webhook_endpoints", json=fields))["id"]
        safelight.final(safelight.submit()["id"])
        receiver.until(1)
    return {
        "create": "",
        "gallery": "gallery?tag=campaign%3Dspring",
        "image": f"images/{image}",
        "reproduction": f"images/{copy}",
        "edit": f"edit/{image}",
        "batches": "batches",
        "new-batch": f"batches/new?file={file['id']}",
        "batch": f"batches/{batch}",
        "webhooks": "webhooks",
        "webhook": f"webhooks/{endpoint}",
        "models": "models",
        "fine-tuning": "fine-tuning",
        "keys": "keys",
        "usage": "usage",
        "operator": "operator",
        "failures": "operator?report=failures",
        "cancel-or-retry": "operator?report=bulk",
        "slowest": "operator?report=slow",
    }


@pytest.mark.parametrize("look", LOOKS)
def test_every_view_is_legible_and_fits(safelight: Stack, views: dict[str, str], look: str) -> None:
    problems: list[str] = []
    with browser_page(**LOOKS[look]) as page:
        page.goto(safelight.url)
        for name, address in views.items():
            page.goto(f"{safelight.url}/#/{address}")
            page.wait_for_function(IS_READY)
            problems += [f"{name}: {finding}" for finding in serious_findings(page)]
            if page.evaluate(OVERFLOW) > 0:
                problems.append(f"{name}: it is wider than the window")
            _keep(page, f"{name}-{look}")
    assert problems == []


def _keep(page: Page, name: str) -> None:
    if SCREENSHOTS:
        page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png")
