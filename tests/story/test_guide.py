"""The guide at `/guide`: the documentation as a site, without anything from other servers."""

import re
import subprocess
import sys

import pytest
from playwright.sync_api import expect

from tests.browser import BROWSER, browser_page, serious_findings
from tests.shipping.files import ROOT
from tests.stack import Stack

INLINE = re.compile(r"<script(?![^>]*(?:src=|application/json))|<style|\son\w+=\"|\sstyle=\"")
FOREIGN = re.compile(r"<(?:script|link|img)[^>]*(?:src|href)=\"https?://")


@pytest.fixture(scope="module", autouse=True)
def _guide() -> None:
    """CI has built it already: then nothing is done."""
    subprocess.run([sys.executable, "docs/guide.py"], cwd=ROOT, check=True)


def test_the_guide_is_a_site_without_inline_scripts_or_foreign_files(safelight: Stack) -> None:
    client = safelight.client
    moved = [client.get(path) for path in ("/guide", "/guide/02-jobs", "/guide/files/deploy/nginx-conf")]
    pages = [client.get(f"/guide/{path}") for path in ("", "00-overview/", "model/", "files/deploy/nginx-conf/")]

    assert [answer.headers["location"] for answer in moved] == [f"{answer.request.url.path}/" for answer in moved]
    assert {page.status_code for page in pages} == {200}
    assert all("script-src 'self';" in page.headers["content-security-policy"] for page in pages)
    assert [INLINE.findall(page.text) + FOREIGN.findall(page.text) for page in pages] == [[]] * len(pages)
    assert "<math" in pages[2].text
    assert "proxy_pass" in pages[3].text
    for diagram in re.findall(r'src="(\.\./images/diagrams/[^"#]+)', pages[1].text):
        assert client.get(f"/guide/00-overview/{diagram}").headers["content-type"] == "image/svg+xml"


def test_a_path_that_is_no_page_is_not_found_and_reads_nothing_else(safelight: Stack) -> None:
    answers = [
        safelight.client.get(f"/guide/{path}")
        for path in ("nothing/", "..%2Froutes.py", "%2e%2e/routes.py", "%2Fetc/passwd", "assets")
    ]

    assert {answer.status_code for answer in answers} == {404}
    assert all("APIRouter" not in answer.text and "root:" not in answer.text for answer in answers)
    assert 'href="/guide/02-jobs/"' in answers[0].text


@pytest.mark.slow
@pytest.mark.skipif(not BROWSER, reason="chromium is not installed")
def test_a_reader_searches_the_guide_in_a_browser(safelight: Stack) -> None:
    with browser_page(color_scheme="dark") as page:
        page.goto(safelight.url)
        page.get_by_role("link", name="Documentation").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("Safelight")
        assert serious_findings(page) == []
        page.keyboard.press("Control+k")
        page.keyboard.type("lease token")
        expect(page.get_by_text("10 results")).to_be_visible()
        page.goto(f"{safelight.url}/guide/00-overview/")
        expect(page.locator("img[src*='-dark.svg']")).to_be_visible()
        expect(page.locator("img[src*='-light.svg']")).to_be_hidden()
