"""The writes of a response: its head and the first part of its body are one."""

import asyncio
from collections.abc import Iterable

from api.edge.response_writer import ResponseWriter

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"


class Client(asyncio.Transport):
    """A transport that keeps what each write sends."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.has_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.writes.append(b"".join(list_of_data))

    def is_closing(self) -> bool:
        return self.has_closed

    def close(self) -> None:
        self.has_closed = True


def test_a_response_leaves_in_one_write_and_a_head_alone_at_the_next_turn() -> None:
    asyncio.run(_write_a_response_and_a_stream())


async def _write_a_response_and_a_stream() -> None:
    client = Client()
    writer = ResponseWriter(client, asyncio.get_running_loop())
    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    writer.write(HEAD)
    writer.write(b"ok")
    writer.write(b"more")
    assert client.writes == [b"HTTP/1.1 100 Continue\r\n\r\n", HEAD + b"ok", b"more"]

    stream = Client()
    writer = ResponseWriter(stream, asyncio.get_running_loop())
    writer.write(HEAD)
    await asyncio.sleep(0)
    writer.write(b"first")
    writer.write(b"second")
    assert stream.writes == [HEAD, b"first", b"second"]


def test_a_head_that_waits_is_written_before_the_end_and_not_after_it() -> None:
    asyncio.run(_end_a_response_after_its_head())


async def _end_a_response_after_its_head() -> None:
    client = Client()
    writer = ResponseWriter(client, asyncio.get_running_loop())
    writer.write(HEAD)
    writer.close()
    assert (client.writes, client.has_closed) == ([HEAD], True)

    lost = Client()
    writer = ResponseWriter(lost, asyncio.get_running_loop())
    writer.write(HEAD)
    lost.has_closed = True
    await asyncio.sleep(0)
    assert lost.writes == []
