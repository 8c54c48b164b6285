"""A moderation endpoint as a real server: OpenAI's `/v1/moderations`, and the URL of a hook at `/hook`.

The prompt says in brackets what the answer is: `[openai: violence]`, `[hook: brand]`, `[hook image: logo]` (only for
generated images), `[openai away]` (the first request is a 500).
"""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CATEGORIES = ("sexual", "violence", "illicit")


class ModerationStub(ThreadingHTTPServer):
    """Answers, and keeps the requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[tuple[str, dict[str, Any]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def hook_stages(self, word: str) -> list[str]:
        """What the hook was asked about the jobs whose prompt has a word."""
        return [body["stage"] for path, body in self.requests if path == "/hook" and word in body["prompt"]]


@contextmanager
def moderation_stub() -> Iterator[ModerationStub]:
    with ModerationStub() as stub:
        thread = threading.Thread(target=stub.serve_forever)
        thread.start()
        yield stub
        stub.shutdown()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: ModerationStub

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        is_repeat = (self.path, body) in self.server.requests
        self.server.requests.append((self.path, body))
        if "[openai away]" in str(body.get("input")) and not is_repeat:
            self._answer(500, {"error": {"message": "no", "type": "server_error"}})
        elif self.path == "/hook":
            self._answer(200, {"categories": self._hook_categories(body)})
        else:
            self._answer(200, {"id": "modr", "model": body["model"], "results": self._results(body["input"])})

    def _hook_categories(self, body: dict[str, Any]) -> list[str]:
        assert ("image" in body) == (body["stage"] != "prompt")
        marker = "hook" if body["stage"] == "prompt" else f"hook {body['stage']}"
        return re.findall(rf"\[{marker}: (\w+)\]", body["prompt"])

    def _results(self, inputs: list[Any]) -> list[dict[str, Any]]:
        if not isinstance(inputs[0], str):
            assert inputs[0]["image_url"]["url"].startswith("data:image/jpeg;base64,")
            inputs = [""]
        results = []
        for text in inputs:
            categories = set(re.findall(r"\[openai: (\w+)\]", text))
            results.append(
                {
                    "flagged": bool(categories),
                    "categories": {name: name in categories for name in CATEGORIES},
                    "category_scores": dict.fromkeys(CATEGORIES, 0.0),
                    "category_applied_input_types": {name: ["text"] for name in CATEGORIES},
                }
            )
        return results

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Print nothing."""
