"""The studio as a person uses it, in a real browser."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Dialog, Page, Route, expect

from core.scopes import Scope
from tests.batches import submit_batch, until_batch
from tests.browser import BROWSER, browser_page, serious_findings
from tests.factories import a_key
from tests.receiver import Receiver, answering
from tests.stack import Stack, body

pytestmark = pytest.mark.skipif(not BROWSER, reason="chromium is not installed")


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser_page() as opened:
        yield opened


def test_a_person_creates_edits_and_finds_images(safelight: Stack, page: Page) -> None:
    page.goto(safelight.url)
    prompt = page.get_by_role("textbox", name="Prompt", exact=True)
    expect(page.get_by_role("button", name="Generate")).to_be_disabled()
    prompt.fill("a lighthouse in the story of the studio")
    page.get_by_role("radio", name="128x128").check(force=True)
    prompt.press("Enter")
    card = page.get_by_role("article", name="a lighthouse in the story of the studio").first
    card.locator("a.tile.loaded").wait_for()
    assert serious_findings(page) == []
    card.get_by_role("button", name="More like this").click()
    page.get_by_role("article", name="Variation of an image").locator("a.tile.loaded").first.wait_for()

    card.locator("a.tile").click()
    expect(page.get_by_role("heading", name="a lighthouse in the story of the studio")).to_be_visible()
    expect(page.get_by_role("definition").filter(has_text="128x128").first).to_be_visible()
    assert serious_findings(page) == []

    page.get_by_role("link", name="Edit").click()
    canvas = page.get_by_label("Paint the area that may change")
    canvas.click(position={"x": 60, "y": 60})
    page.get_by_label("What should be in the painted area?").fill("a boat of the studio")
    page.keyboard.press("Control+Enter")
    edited = page.get_by_role("article", name="a boat of the studio")
    edited.locator("a.tile.loaded").wait_for()
    jobs = body(safelight.client.get("/v1/jobs", params={"prompt": "boat studio"}))["data"]
    assert [(job["operation"], job["mask"] is not None) for job in jobs] == [("edit", True)]
    assert serious_findings(page) == []

    page.keyboard.press("Escape")
    page.get_by_role("button", name="Delete").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("heading", name="Gallery").wait_for()
    page.get_by_role("searchbox").fill("lighthouse studio")
    expect(page.get_by_role("listitem")).to_have_count(1)
    assert serious_findings(page) == []
    page.get_by_role("listitem").get_by_role("link").click()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_text("Deleted.")).to_be_visible()
    assert body(safelight.client.get("/v1/jobs", params={"prompt": "lighthouse studio"}))["data"] == []


def test_a_person_runs_a_spreadsheet(safelight: Stack, page: Page) -> None:
    def choose(name: str, *lines: str) -> None:
        content = {"name": name, "mimeType": "text/csv", "buffer": "\n".join(lines).encode()}
        page.locator("input[type=file]").set_input_files(content)  # type: ignore[arg-type]  # FilePayload

    page.goto(f"{safelight.url}/#/batches")
    choose("wrong.csv", "prompt,seed,colour", "a cat,1,red", ",2,blue", "a dog,many,")
    expect(page.get_by_role("row").filter(has_text="prompt is required")).to_contain_text("3")
    expect(page.get_by_role("row").filter(has_text="valid integer")).to_contain_text("4")
    expect(page.get_by_role("button", name="Start")).to_be_disabled()
    page.get_by_label("Keep columns that are no parameters").check()
    expect(page.get_by_text("tags: colour")).to_be_visible()
    assert serious_findings(page) == []

    page.get_by_role("button", name="Another file").click()
    choose("long.csv", "prompt", *(f"boat {number}" for number in range(500)))
    page.get_by_label("Model").select_option("slow")
    page.get_by_role("button", name=re.compile("Quality low: about")).click()
    expect(page.get_by_role("button", name=re.compile("Quality low"))).to_have_count(0)
    expect(page.get_by_role("button", name="Start 500 lines")).to_be_enabled()

    page.get_by_role("button", name="Another file").click()
    choose("studio.csv", "prompt,steps", "a boat,5", "a bridge,5", "[refuse] a barn,6")
    page.get_by_role("button", name="Start 3 lines").click()
    page.get_by_role("heading", name="studio.csv").wait_for()
    expect(page.get_by_text("2 completed")).to_be_visible()
    page.get_by_role("button", name="Run 1 failed line again").wait_for()
    expect(page.get_by_role("listitem").filter(has=page.get_by_alt_text("a boat"))).to_have_count(1)
    assert serious_findings(page) == []
    with page.expect_download() as download:
        page.get_by_role("link", name="Manifest (CSV)").click()
    assert download.value.path().read_text("utf-8").count("completed") == 2
    page.get_by_role("radio", name="Without image (1)").check(force=True)
    lines = page.locator(".grid").get_by_role("listitem")
    expect(lines).to_have_count(1)  # the others leave the grid
    expect(lines).to_have_text(re.compile("Failed"))
    page.get_by_role("radio", name="All lines").check(force=True)
    page.get_by_alt_text("a bridge").click()
    page.get_by_role("heading", name="a bridge").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Run 1 failed line again").click()
    expect(page.get_by_text("A new batch runs the lines")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="studio.csv")).to_have_count(2)


def test_a_person_mends_a_webhook(safelight: Stack, page: Page) -> None:
    with Receiver(answering(418, body=b"a teapot")) as receiver:
        page.goto(f"{safelight.url}/#/webhooks")
        page.get_by_role("button", name="New endpoint").click()
        page.get_by_label("URL").fill(receiver.url())
        page.get_by_label("Name").fill("Shop")
        page.get_by_role("button", name="Create the endpoint").click()
        expect(page.get_by_text("whsec_")).to_be_visible()
        page.get_by_role("button", name="I have copied it").click()
        page.get_by_role("button", name="Send a test").click()
        expect(page.get_by_text("It answered 418")).to_be_visible()
        safelight.submit()
        receiver.until(2)
        page.get_by_role("button", name="Refresh").click()
        page.get_by_role("button", name="job.completed").click()
        expect(page.get_by_role("row").filter(has_text="a teapot").first).to_be_visible()  # one for each attempt
        assert serious_findings(page) == []
        receiver.behave = answering(204)
        page.get_by_role("button", name="Send all again").click()
        expect(page.get_by_text("sent again")).to_be_visible()
        receiver.until(3)
        page.get_by_role("button", name="Delete").click()
        page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        expect(page.get_by_text("Deleted.")).to_be_visible()


def test_an_operator_pauses_a_queue_and_the_jobs_say_why_they_wait(safelight: Stack, page: Page) -> None:
    original = safelight.final(safelight.submit("a lamp of the studio")["id"])
    safelight.submit("a job that waits", model="elsewhere", metadata={"story": "studio"})
    for name, words in (("models", "elsewhere"), ("usage", "This session"), ("operator?report=slow", "Operator")):
        page.goto(f"{safelight.url}/#/{name}")
        page.get_by_role("heading", name=words, exact=True).wait_for()
        assert serious_findings(page) == []
    expect(page.get_by_role("row").nth(1)).to_contain_text("job_")

    page.get_by_role("link", name="Now").click()
    page.get_by_role("button", name="Pause: nobody").click()
    page.get_by_role("dialog").get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Resume: nobody").wait_for()
    assert serious_findings(page) == []
    page.get_by_role("link", name="Create").click()
    expect(page.get_by_text(re.compile("waits? for a paused queue"))).to_be_visible()  # also jobs of other tests
    page.get_by_role("link", name="Operator").click()
    page.get_by_role("button", name="Resume: nobody").click()
    page.get_by_role("button", name="Pause: nobody").wait_for()
    worker = body(safelight.client.get("/v1/admin/workers"))["data"][0]
    safelight.client.post(f"/v1/admin/workers/{worker['host']}/pause").raise_for_status()
    page.get_by_role("button", name=f"Resume: {worker['name']}").click()
    page.get_by_role("dialog", name="Resume all workers").get_by_role("button", name="Resume").click()
    page.get_by_role("button", name=f"Pause: {worker['name']}").wait_for()

    page.get_by_role("link", name="Cancel or retry").click()
    page.get_by_label("Tag, such as").fill("story")
    page.get_by_role("button", name="Count the jobs").click()
    expect(page.get_by_role("alert")).to_contain_text("A tag has a key and a value")
    page.get_by_label("Tag, such as").fill("story=studio")
    page.get_by_role("button", name="Count the jobs").click()
    page.get_by_role("button", name="Cancel 1 job").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").last.click()
    expect(page.get_by_text("1 job cancelled.")).to_be_visible()

    page.goto(f"{safelight.url}/#/images/{original['images'][0]['id']}")
    page.get_by_role("button", name="Reproduce").click()
    copy = page.get_by_role("article", name="a lamp of the studio").filter(has_text="Identical to the original")
    copy.locator("a.tile").click()
    expect(page.get_by_role("heading", name="Identical to the original")).to_be_visible()
    assert serious_findings(page) == []


def test_an_operator_who_leaves_a_cancel_amid_its_steps_goes_on_later(safelight: Stack, page: Page) -> None:
    requests = [{"prompt": f"job {number} of a long cancel"} for number in range(501)]
    batch = submit_batch(safelight, requests=requests, size="64x64", model="elsewhere")["id"]
    until_batch(safelight, batch, "in_progress")
    held: list[Route] = []
    dialogs: list[str] = []

    def hold_step(route: Route) -> None:
        if "token" in (route.request.post_data_json or {}):
            held.append(route)
        else:
            route.continue_()

    def leave(dialog: Dialog) -> None:
        dialogs.append(dialog.type)
        dialog.accept()

    def queued() -> int:
        return int(body(safelight.client.get(f"/v1/batches/{batch}"))["request_counts"]["queued"])

    page.goto(f"{safelight.url}/#/operator?report=bulk")
    page.get_by_label("Batch id").fill(batch)
    page.get_by_role("button", name="Count the jobs").click()
    page.get_by_role("button", name="Cancel 501 jobs").click()
    page.route("**/v1/admin/jobs/cancel", hold_step)
    page.get_by_role("dialog").get_by_role("button", name="Cancel").last.click()
    expect(page.get_by_text("Leaving this page stops it")).to_be_visible()
    page.get_by_role("link", name="Gallery").click()
    page.get_by_role("heading", name="Gallery").wait_for()
    with page.expect_response("**/v1/admin/jobs/cancel"):
        held.pop().continue_()
    page.get_by_role("link", name="Operator").click()
    page.get_by_role("link", name="Cancel or retry").click()
    expect(page.get_by_text("500 jobs cancelled.")).to_be_visible()
    expect(page.get_by_text("The run stopped before its end")).to_be_visible()
    assert serious_findings(page) == []
    assert queued() == 1

    page.get_by_role("button", name="Go on").click()
    page.get_by_role("button", name="Stop").wait_for()
    page.once("dialog", leave)
    page.reload()  # as closing the tab
    assert dialogs == ["beforeunload"]
    page.unroute("**/v1/admin/jobs/cancel")
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_text("501 jobs cancelled.")).to_be_visible()
    assert queued() == 0
    page.reload()
    page.get_by_role("button", name="Count the jobs").wait_for()
    expect(page.get_by_text("501 jobs cancelled.")).to_have_count(0)


def test_an_operator_makes_and_revokes_a_key(guarded: Stack, page: Page) -> None:
    page.goto(guarded.url)
    page.get_by_label("API key").fill(a_key(guarded.database, scopes=(Scope.ADMIN, Scope.READ)))
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="Keys").click()
    page.get_by_role("button", name="New key").click()
    page.get_by_label("Name").fill("Shop")
    expect(page.get_by_label("submit")).to_have_count(0)  # the session's own key lacks it
    page.get_by_role("button", name="Create the key").click()
    expect(page.locator("pre.secret")).to_contain_text("sl_")
    page.get_by_role("button", name="I have copied it").click()
    row = page.get_by_role("listitem").filter(has_text="Shop").first
    expect(row).to_contain_text("never used")
    assert serious_findings(page) == []
    row.get_by_role("button", name="Revoke Shop").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(row).to_contain_text("revoked")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API key")).to_be_visible()


def test_a_person_signs_in_reads_an_error_and_changes_the_language(guarded: Stack, page: Page) -> None:
    key = a_key(guarded.database)
    page.goto(guarded.url)
    page.get_by_label("API key").fill(key)
    assert serious_findings(page) == []
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("textbox", name="Prompt", exact=True).fill("a cat")
    page.get_by_role("button", name="Generate").click()
    page.locator("a.tile.loaded").first.wait_for()

    page.get_by_role("button", name="中文").click()
    expect(page.get_by_role("link", name="图库")).to_be_visible()
    expect(page.locator("html")).to_have_attribute("lang", "zh")
    page.get_by_role("button", name="深色主题").click()
    assert serious_findings(page) == []
    page.get_by_role("button", name="退出登录").click()
    expect(page.get_by_label("API 密钥")).to_be_visible()
    assert not re.search(r"safelight_session", str(page.context.cookies()))
