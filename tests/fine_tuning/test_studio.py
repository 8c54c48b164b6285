"""Fine-tuning in the studio, in a real browser: from images to the model that draws them."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser import BROWSER, browser_page, serious_findings
from tests.contract.pipelines import warnings_of_diffusers
from tests.fine_tuning.files import COLOURS, an_image
from tests.stack import Stack, body
from worker.training.worker import TrainingWorker

pytestmark = [warnings_of_diffusers, pytest.mark.skipif(not BROWSER, reason="chromium is not installed")]


LINE_ERROR = "line 1: image must be a data URL, or the id of a file with purpose vision."


@pytest.fixture(scope="module")
def trainer(safelight: Stack) -> Iterator[TrainingWorker]:
    worker = TrainingWorker(safelight.settings, "studio")
    yield worker
    worker.close()


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser_page() as opened:
        yield opened


def choose(page: Page, *files: tuple[str, bytes]) -> None:
    payload: Any = [{"name": name, "mimeType": "image/png", "buffer": content} for name, content in files]
    page.locator("input[type=file]").set_input_files(payload)


def test_a_person_teaches_a_model_a_word_from_images(safelight: Stack, page: Page, trainer: TrainingWorker) -> None:
    page.goto(safelight.url)
    page.get_by_role("link", name="Fine-tuning").click()
    expect(page.get_by_role("heading", name="No fine-tuning jobs yet")).to_be_visible()
    choose(page, *((f"{colour}.png", an_image(colour)) for colour in COLOURS), ("red.txt", b"a red zorble"))
    expect(page.get_by_role("textbox", name="Description of red.png")).to_have_value("a red zorble")
    expect(page.get_by_role("button", name="Start the training")).to_be_disabled()
    page.get_by_label("A word for it").fill("zorble")
    page.get_by_role("textbox", name="Description of gold.png").fill("a zorble in the sun")
    page.get_by_role("button", name="Remove navy.png").click()
    page.get_by_text("More options").click()
    page.get_by_label("Steps").fill("6")
    page.get_by_label("Rank").fill("64")
    assert serious_findings(page) == []
    page.get_by_role("button", name="Start the training").click()
    page.get_by_role("heading", name="zorble").wait_for()
    expect(page.get_by_text("Checking").first).to_be_visible()
    assert trainer.run_once()  # it reads the file
    expect(page.get_by_text("Queued").first).to_be_visible()
    assert trainer.run_once()
    expect(page.get_by_text("Succeeded").first).to_be_visible()
    expect(page.get_by_role("img", name="Loss: ")).to_be_visible()
    expect(page.get_by_role("region", name="Models").get_by_role("listitem")).to_have_count(3)
    assert serious_findings(page) == []

    page.get_by_role("region", name="Models").get_by_role("link", name="Create with it").first.click()
    expect(page.get_by_label("Model")).to_have_value(models(safelight)[0])
    page.get_by_role("link", name="Models").click()
    page.get_by_role("article", name="ft:").get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("article", name="ft:")).to_have_count(0)


def models(stack: Stack) -> list[str]:
    return [model["id"] for model in body(stack.client.get("/v1/models"))["data"] if model["id"].startswith("ft:")]


def test_a_person_reads_what_is_wrong_and_cancels_a_training(
    safelight: Stack, page: Page, trainer: TrainingWorker
) -> None:
    page.goto(f"{safelight.url}/#/fine-tuning")
    choose(page, ("wrong.jsonl", b'{"text": "no image"}\n'))
    expect(page.get_by_text("wrong.jsonl")).to_be_visible()
    page.get_by_role("button", name="Start the training").click()
    page.get_by_role("region", name="Progress").wait_for()
    assert trainer.run_once()
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_role("region", name="Events").get_by_text(LINE_ERROR, exact=True)).to_be_visible()
    page.keyboard.press("Escape")
    choose(page, *((f"{colour}.png", an_image(colour)) for colour in COLOURS))
    page.get_by_label("A word for it").fill("flag")
    page.get_by_role("button", name="Start the training").click()
    page.get_by_role("button", name="Cancel the training").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel the training").click()
    expect(page.get_by_text("Cancelled", exact=True)).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("listitem").filter(has_text="flag")).to_contain_text("Cancelled")
