"""A client that sends bytes, and reads what the server answers to them."""

import json
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tests.waiting import PATIENCE

JOB = json.dumps({"prompt": "a cat", "size": "64x64"}).encode()


@dataclass(frozen=True, slots=True)
class Answer:
    """The first response on a connection."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def error(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.content)["error"]
        return body


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


def exchange(port: int, data: bytes) -> Answer | None:
    """Send bytes and read the first response. None: the server closed the connection without one."""
    with connect(port) as client:
        with suppress(OSError):  # refused before the end
            client.sendall(data)
        return read_answer(client)


def read_answer(client: socket.socket) -> Answer | None:
    received = b""
    while b"\r\n\r\n" not in received:
        if not (data := receive(client)):
            return None
        received += data
    head, _, content = received.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    while len(content) < int(headers.get("content-length", "0")):
        if not (data := receive(client)):
            break
        content += data
    return Answer(int(status_line.split()[1]), headers, content)


def receive(client: socket.socket) -> bytes:
    """What has arrived; empty if the server has closed the connection."""
    try:
        return client.recv(65536)
    except ConnectionResetError:
        return b""


def request(method: str = "GET", target: str = "/healthz", *lines: str, body: bytes | None = None) -> bytes:
    """The bytes of a request. lines: headers, `Host` among them if it should not be 127.0.0.1."""
    if not any(line.lower().startswith("host:") for line in lines):
        lines = ("Host: 127.0.0.1", *lines)
    if body is not None and not any(
        line.lower().startswith(("content-length:", "transfer-encoding:")) for line in lines
    ):
        lines = (*lines, f"Content-Length: {len(body)}")
    return "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode("latin-1") + (body or b"")
