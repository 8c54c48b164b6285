"""A load client in a process of its own: the same HTTP/1.1 request over and over, on kept-alive connections.

    python -m bench.load http://127.0.0.1:8000/v1/jobs --body '{"prompt": "a cat"}' --connections 32 --requests 1000

It reads no more of an answer than status and length, so that the server is the limit. Prints one line of JSON.
"""

import argparse
import asyncio
import json
import re
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from typing import cast
from urllib.parse import SplitResult, urlsplit

import uvloop

from bench.table import quantile

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Load:
    """The result of a run of the client."""

    answers: int
    began_at: float  # seconds since 1970
    seconds: float
    p50: float  # seconds from request to answer
    p99: float
    statuses: dict[str, int]

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.answers / self.seconds


def load(
    url: str, body: str | None = None, *, connections: int, requests: int = 0, seconds: float = 0, expect: int = 200
) -> Load:
    """Run the client in another process, for so many requests or so many seconds. Any other status is an error."""
    command = [
        *(sys.executable, "-m", "bench.load", url, "--connections", str(connections)),
        *("--requests", str(requests), "--seconds", str(seconds), *(() if body is None else ("--body", body))),
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if result.returncode:
        raise RuntimeError(f"The load client failed: {result.stderr.strip()[-500:]}")
    load_result = Load(**json.loads(result.stdout))
    if set(load_result.statuses) != {str(expect)}:
        raise RuntimeError(f"{url} answered {load_result.statuses}, not {expect} alone")
    return load_result


class Budget:
    """How many requests may still be sent, or until when."""

    def __init__(self, requests: int, seconds: float) -> None:
        self._remaining = requests or float("inf")
        self._until = time.perf_counter() + seconds if seconds else float("inf")

    def take(self) -> bool:
        """Whether one more request may be sent."""
        self._remaining -= 1
        return self._remaining >= 0 and time.perf_counter() < self._until


class Connection(asyncio.Protocol):
    """Sends the request, waits for the answer, sends it again, until the budget is used up."""

    def __init__(self, request: bytes, budget: Budget, latencies: list[float], statuses: Counter[str]) -> None:
        self._request = request
        self._budget = budget
        self._latencies = latencies
        self._statuses = statuses
        self._buffer = b""
        self.closed_future = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class is none of asyncio's
        self._next()

    def _next(self) -> None:
        if not self._budget.take():
            self._transport.close()
            self.closed_future.set_result(None)
            return
        self._sent_at = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_ends = self._buffer.find(b"\r\n\r\n")
        if head_ends < 0:
            return
        length = _LENGTH.search(self._buffer, 0, head_ends)
        if length is None:
            raise ValueError("an answer without content-length")
        if len(self._buffer) < head_ends + 4 + int(length[1]):
            return
        self._latencies.append(time.perf_counter() - self._sent_at)
        self._statuses[self._buffer[9:12].decode()] += 1
        self._buffer = b""
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.closed_future.done():
            self.closed_future.set_exception(error or ConnectionError("the server closed the connection"))


def request_bytes(url: SplitResult, body: str | None) -> bytes:
    """The request as it goes over the wire. A password in the URL is sent as an API key."""
    method, content = ("GET", b"") if body is None else ("POST", body.encode())
    path = url.path + (f"?{url.query}" if url.query else "")
    head = f"{method} {path} HTTP/1.1\r\nhost: {url.netloc.rpartition('@')[2]}\r\n"
    if url.password:
        head += f"authorization: Bearer {url.password}\r\n"
    if body is not None:
        head += f"content-type: application/json\r\ncontent-length: {len(content)}\r\n"
    return head.encode() + b"\r\n" + content


async def run(url: str, body: str | None, connections: int, budget: Budget) -> Load:
    """Keep `connections` requests in flight until the budget is used up."""
    parts = urlsplit(url)
    request = request_bytes(parts, body)
    latencies: list[float] = []
    statuses: Counter[str] = Counter()
    loop = asyncio.get_running_loop()
    began_at, began = time.time(), time.perf_counter()
    connections_made = [
        await loop.create_connection(
            lambda: Connection(request, budget, latencies, statuses), parts.hostname or "127.0.0.1", parts.port or 80
        )
        for _ in range(connections)
    ]
    await asyncio.gather(*(connection.closed_future for _, connection in connections_made))
    seconds = time.perf_counter() - began
    return Load(len(latencies), began_at, seconds, quantile(latencies, 0.5), quantile(latencies, 0.99), dict(statuses))


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("url")
    parser.add_argument("--body")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--requests", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0)
    arguments = parser.parse_args()
    if not (arguments.requests or arguments.seconds):
        parser.error("one of --requests and --seconds is required")
    load_result = uvloop.run(
        run(arguments.url, arguments.body, arguments.connections, Budget(arguments.requests, arguments.seconds))
    )
    print(json.dumps(asdict(load_result)))


if __name__ == "__main__":
    main()
