"""`make clients`: a page of another origin in a real browser submits a job, follows its events and reads an error."""

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from tests.processes import Process
from tests.stack import Stack, free_port
from tests.waiting import PATIENCE

BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or ""
PAGE = """<!doctype html><script>
const api = "API", json = {"content-type": "application/json"};

async function follow(url) {
  const source = new EventSource(url, {withCredentials: true}), types = [];
  source.addEventListener("job.completed", event => types.push(event.type));
  await new Promise(ended => source.onerror = () => source.readyState === EventSource.CLOSED && ended());
  return types;
}

async function use() {
  const headers = {...json, authorization: "Bearer any", "idempotency-key": "page", "x-stainless-lang": "js"};
  const body = JSON.stringify({prompt: "a cat", size: "64x64"});
  const accepted = await fetch(api + "/v1/jobs", {method: "POST", headers, body});
  const job = await accepted.json();
  const stream = await (await fetch(job.urls.events)).text();
  const final = await (await fetch(job.urls.self)).json();
  const image = await (await fetch(final.images[0].url)).blob();
  const refused = await fetch(api + "/v1/jobs", {method: "POST", headers: json, body: "{"});
  return {
    status: accepted.status, location: accepted.headers.get("location"), id: job.id,
    fetched: [...stream.matchAll(/^event: (.*)$/gm)].map(match => match[1]), sourced: await follow(job.urls.events),
    bytes: image.size, expected_bytes: final.images[0].bytes,
    error: (await refused.json()).error.code, request_id: refused.headers.get("x-request-id"),
  };
}

use().catch(error => ({error: error.name})).then(
  result => fetch("/result", {method: "POST", body: JSON.stringify(result)}));
</script>"""


@contextmanager
def page(port: int, api: str) -> Iterator["Queue[Any]"]:
    """Serve the page on 127.0.0.1. Returns the results that it reports."""
    results: Queue[Any] = Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(PAGE.replace("API", api).encode())

        def do_POST(self) -> None:
            results.put(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield results
    server.shutdown()
    server.server_close()


def browse(url: str, directory: Path, results: "Queue[Any]") -> Any:
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={directory}"]
    with Process("browser", [BROWSER, *options, url], {"HOME": str(directory)}):
        return results.get(timeout=PATIENCE)


@pytest.mark.clients
@pytest.mark.skipif(not BROWSER, reason="chromium is not installed")
def test_a_page_of_a_listed_origin_uses_the_api_in_a_browser(safelight: Stack, tmp_path: Path) -> None:
    api_port, page_port = free_port(), free_port()
    with safelight.apart(), page(page_port, f"http://127.0.0.1:{api_port}") as results:
        safelight.api(api_port, SAFELIGHT_CORS_ORIGINS=f"http://127.0.0.1:{page_port}")
        result = browse(f"http://127.0.0.1:{page_port}/", tmp_path / "listed", results)
        other_result = browse(f"http://localhost:{page_port}/", tmp_path / "other", results)

    assert (result["status"], result["location"]) == (202, f"/v1/jobs/{result['id']}")
    assert result["fetched"][0] == "job.queued"
    assert result["fetched"][-1] == "job.completed"
    assert result["sourced"] == ["job.completed"]  # once: the 204 after the end stops an EventSource
    assert result["bytes"] == result["expected_bytes"]
    assert (result["error"], bool(result["request_id"])) == ("invalid_json", True)
    assert other_result == {"error": "TypeError"}
