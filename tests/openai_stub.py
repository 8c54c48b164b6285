"""OpenAI's Images API as a real server on a port of its own, with every way in which it may fail.

It writes HTTP itself, because some failures end in the middle of a status line. The prompt says in brackets how a
request is answered: `[moderation] a cat`. It uses nothing of Safelight, so that it is an independent record of the
requests that came, and of those that OpenAI would have billed.
"""

import asyncio
import base64
import io
import json
import re
import struct
import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.parser import BytesParser
from typing import Any, Self

from PIL import Image

from tests.waiting import PATIENCE

KEY = "sk-test"
MODEL = "gpt-image-2.5-flare"


@dataclass(frozen=True, slots=True)
class Way:
    """How one request is answered."""

    status: int = 200
    error: Mapping[str, Any] | None = None  # OpenAI's error object
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None  # in place of images
    draws: bool = False  # whether an image is made, and billed
    seconds: float = 0.0  # how long the image takes
    is_held: bool = False  # answer only once the stub is released
    cut_at: str = ""  # close the connection before the "headers" or amid the "body"
    breaks: bytes | None = None  # sent in place of all events after the first of a stream
    trickles: bool = False  # a byte at a time, without end
    floods: bool = False  # a body without an end
    times: int | None = None  # how often; later requests succeed


def error(status: int, code: str, **headers: str) -> Way:
    """An error in OpenAI's shape."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    error_object = {"message": f"The stub says {code}.", "type": kind, "param": None, "code": code}
    return Way(status, error=error_object, headers={name.replace("_", "-"): value for name, value in headers.items()})


def _bomb() -> bytes:
    """A PNG of 30,000 x 30,000 pixels in a few kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = zlib.compress(b"\0" * 2**20, 9)
    head = struct.pack(">IIBBBBB", 30_000, 30_000, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def answer_of(image: bytes) -> bytes:
    """An answer with one image."""
    return json.dumps({"created": 1, "data": [{"b64_json": base64.b64encode(image).decode()}]}).encode()


def _dot() -> bytes:
    """A PNG of one pixel."""
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, "PNG")
    return buffer.getvalue()


def _half() -> bytes:
    """An answer with a broken image and a good one, and a NUL."""
    (good,) = json.loads(answer_of(_dot()))["data"]
    return json.dumps({"data": [{"b64_json": "****"}, good], "quality": "\0"}).encode()


def event(data: Mapping[str, Any]) -> bytes:
    """A server-sent event."""
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()


def error_event(code: str) -> bytes:
    """The event with which a stream fails."""
    kind = "server_error" if code == "server_error" else "invalid_request_error"
    return event({"type": "error", "error": {"message": f"The stub says {code}.", "type": kind, "code": code}})


DRAWN = Way(draws=True)
STREAMED: dict[str, Way] = {
    "stream ends": Way(draws=True, breaks=b""),
    "stream fails": Way(draws=True, breaks=error_event("server_error")),
    "stream fails flatly": Way(draws=True, breaks=event({"type": "error", "code": "server_error", "message": "No."})),
    "stream refused": Way(draws=True, breaks=error_event("moderation_blocked")),
    "stream no json": Way(draws=True, breaks=b"data: {nothing\n\n"),
    "stream no image": Way(draws=True, breaks=event({"type": "image_generation.completed", "b64_json": "****"})),
    "stream null": Way(draws=True, breaks=event({"type": "image_generation.completed"})),
    "stream floods": Way(draws=True, breaks=b"data: ", floods=True),
    "stream trickles": Way(draws=True, breaks=b"", trickles=True),
    "stream number": Way(draws=True, breaks=b"data: 7\n\n"),
    "stream of previews": Way(
        draws=True, breaks=event({"type": "image_generation.partial_image", "b64_json": "****"}) * 50
    ),
}
"""Ways of an answer that is a stream of events."""

WAYS: dict[str, Way] = {
    "held": Way(draws=True, is_held=True),
    "busy": error(429, "rate_limit_exceeded", retry_after_ms="700"),
    "busy once": Way(429, error=error(429, "rate_limit_exceeded").error, headers={"retry-after": "1"}, times=1),
    "used up": Way(draws=True, headers={"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1s"}),
    "500": error(500, "server_error"),
    "500 once": Way(500, error=error(500, "server_error").error, times=1),
    "503": error(503, "overloaded", retry_after="1"),
    "408": error(408, "timeout"),
    "502": Way(502, body=b"<html>Bad gateway</html>", draws=True),
    "504": Way(504, body=b"<html>Gateway timeout</html>", draws=True),
    "moderation": error(400, "moderation_blocked"),
    "bad request": error(400, "invalid_value"),
    "401": error(401, "invalid_api_key"),
    "403": error(403, "model_not_found"),
    "quota": error(429, "insufficient_quota", retry_after="300"),
    "hang": Way(draws=True, seconds=3600.0),
    "cut before headers": Way(draws=True, cut_at="headers"),
    "cut amid body": Way(draws=True, cut_at="body"),
    "trickle": Way(draws=True, trickles=True),
    "flood": Way(draws=True, floods=True),
    "no json": Way(draws=True, body=b"<html>hello</html>"),
    "no images": Way(draws=True, body=b'{"created": 1, "data": []}'),
    "no base 64": Way(draws=True, body=b'{"created": 1, "data": [{"b64_json": "*** not base 64 ***"}]}'),
    "no image": Way(draws=True, body=answer_of(b"\x89PNG\r\n\x1a\n and then something else")),
    "half": Way(
        draws=True,
        body=json.dumps(
            {"data": [{"b64_json": "****"}, json.loads(answer_of(_dot()))["data"][0]], "quality": "\0"}
        ).encode(),
    ),
    "bomb": Way(draws=True, body=answer_of(_bomb())),
}


@dataclass(frozen=True, slots=True)
class Received:
    """One request, as it came."""

    at: float  # time.monotonic
    path: str
    headers: Mapping[str, str]
    parameters: Mapping[str, Any]
    files: Mapping[str, bytes]
    images: Sequence[bytes]  # the files of an edit without its mask, in order

    @property
    def prompt(self) -> str:
        return str(self.parameters["prompt"])


class OpenAIStub:
    """Serves in a thread of its own until its context ends."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.billed = 0
        self.most_at_once = 0
        self.way: Callable[[Received], Way] = self.by_prompt
        self._at_once = 0
        self._news = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._released = asyncio.Event()
        self._start = threading.Event()
        self._thread = threading.Thread(target=self._run, name="openai-stub", daemon=True)
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def of(self, prompt: str) -> list[Received]:
        """The requests with a prompt."""
        return [request for request in self.received if request.prompt == prompt]

    def by_prompt(self, request: Received) -> Way:
        match = re.search(r"\[(.+?)\]", request.prompt)
        way = (WAYS | STREAMED)[match[1]] if match else DRAWN
        if way.times is not None and len(self.of(request.prompt)) > way.times:
            return DRAWN
        return way

    def until(self, number: int) -> None:
        """Wait until so many requests have come."""
        deadline = time.monotonic() + PATIENCE
        with self._news:
            while len(self.received) < number:
                assert self._news.wait(deadline - time.monotonic()), f"{len(self.received)} of {number} requests came"

    def release(self) -> None:
        """Answer the requests that are held, and all later ones."""
        self._loop.call_soon_threadsafe(self._released.set)

    # The server

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(lambda *_: None)  # requests that are open at the end are cut off
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**26))
        self.port = server.sockets[0].getsockname()[1]
        self._start.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await _read_request(reader)
            with self._news:
                self.received.append(request)
                self._at_once += 1
                self.most_at_once = max(self.most_at_once, self._at_once)
                self._news.notify_all()
            way = self.way(request)
            if request.headers.get("authorization") != f"Bearer {KEY}":
                way = WAYS["401"]
            self.billed += way.draws
            await self._answer(request, way, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has gone
        finally:
            self._at_once -= 1
            writer.close()

    async def _answer(self, request: Received, way: Way, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(way.seconds)
        if str(request.parameters.get("stream")).lower() == "true" and way.status == 200 and way.body is None:
            await self._stream(request, way, writer)
            return
        if way.is_held:
            await self._released.wait()
        body = _body(request, way)
        length = 10**12 if way.floods else len(body)
        head = [
            f"HTTP/1.1 {way.status} Whatever",
            "content-type: application/json",
            f"content-length: {length}",
            f"x-request-id: req_{len(self.received)}",
            "connection: close",
            *(f"{name}: {value}" for name, value in way.headers.items()),
        ]
        answer = "\r\n".join(head).encode() + b"\r\n\r\n" + body
        if way.cut_at == "headers":
            return
        if way.cut_at == "body":
            answer = answer[: -len(body) // 2]
        for start in range(0, len(answer), 1) if way.trickles else ():
            writer.write(answer[start : start + 1])
            await writer.drain()
            await asyncio.sleep(0.2)
        writer.write(answer)
        await writer.drain()
        while way.floods:
            writer.write(b" " * 2**16)
            await writer.drain()

    async def _stream(self, request: Received, way: Way, writer: asyncio.StreamWriter) -> None:
        """Previews, then the image; held or broken after the first preview."""
        head = [
            "HTTP/1.1 200 OK",
            "content-type: text/event-stream; charset=utf-8",
            "transfer-encoding: chunked",
            f"x-request-id: req_{len(self.received)}",
            *(f"{name}: {value}" for name, value in way.headers.items()),
        ]
        if way.cut_at != "headers":
            writer.write("\r\n".join(head).encode() + b"\r\n\r\n")
        first, *later_events = _events(request)
        if way.cut_at == "headers":
            return
        await _chunk(writer, first)
        if way.cut_at == "body":
            return
        if way.is_held:
            await self._released.wait()
        await _chunk(writer, b"".join(later_events) if way.breaks is None else way.breaks)
        while way.trickles or way.floods:
            await _chunk(writer, b"x" * 2**16 if way.floods else b": x\n")
            await asyncio.sleep(0.2 * way.trickles)
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._start.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)


async def _read_request(reader: asyncio.StreamReader) -> Received:
    """One complete request."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers["content-length"]))
    parameters: dict[str, Any] = {}
    files: dict[str, bytes] = {}
    images: list[bytes] = []
    if headers["content-type"].startswith("application/json"):
        parameters = json.loads(body)
    else:
        form = BytesParser().parsebytes(b"content-type: " + headers["content-type"].encode() + b"\r\n\r\n" + body)
        for part in form.walk():
            name = part.get_param("name", header="content-disposition")
            content = part.get_payload(decode=True)
            if not isinstance(name, str) or not isinstance(content, bytes):
                continue
            if part.get_filename() is None:
                parameters[name] = content.decode()
            else:
                files[name] = content
                images += [content] if name.startswith("image") else []
    return Received(time.monotonic(), head[0].split(" ")[1], headers, parameters, files, images)


async def _chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Send a chunk of a body."""
    if data:
        writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        await writer.drain()


def _events(request: Received) -> list[bytes]:
    """All events of a stream: each preview is brighter than the one before."""
    answer = json.loads(_body(request, DRAWN))
    name = "image_edit" if request.path.endswith("edits") else "image_generation"
    about = {key: answer[key] for key in ("background", "output_format", "quality", "size")} | {"created_at": 1}
    width, height = (int(side) for side in answer["size"].split("x"))
    events = []
    for number in range(int(request.parameters["partial_images"])):
        buffer = io.BytesIO()
        Image.new("RGB", (width, height), (50 + 50 * number, 20, 10)).save(buffer, "PNG")
        preview = {"b64_json": base64.b64encode(buffer.getvalue()).decode(), "partial_image_index": number}
        events.append(event({"type": f"{name}.partial_image", **about, **preview}))
    last = {"b64_json": answer["data"][0]["b64_json"], "usage": answer["usage"]}
    return [*events, event({"type": f"{name}.completed", **about, **last})]


def _body(request: Received, way: Way) -> bytes:
    if way.error is not None:
        return json.dumps({"error": way.error}).encode()
    if way.body is not None:
        return way.body
    n = int(request.parameters["n"])
    width, height = (int(side) for side in request.parameters["size"].split("x"))
    buffer = io.BytesIO()
    is_transparent = request.parameters.get("background") == "transparent"
    Image.new("RGBA", (width, height), (200, 80, 40, 100 if is_transparent else 255)).save(buffer, "PNG")
    images = [{"b64_json": base64.b64encode(buffer.getvalue()).decode()}] * n
    return json.dumps(
        {
            "created": int(time.time()),
            "background": "transparent" if is_transparent else "opaque",
            "output_format": "png",
            "quality": "medium" if request.parameters["quality"] == "auto" else request.parameters["quality"],
            "size": request.parameters["size"],
            "data": images,
            "usage": {
                "input_tokens": 20,
                "input_tokens_details": {"text_tokens": 20, "image_tokens": 0},
                "output_tokens": 1000 * n,
                "total_tokens": 20 + 1000 * n,
            },
        }
    ).encode()
