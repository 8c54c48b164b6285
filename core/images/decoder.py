"""The program of a decoder process: `python -m core.images.decoder DESCRIPTOR LIMITS`, started by `decoders.py`.

It imports little, so that it starts fast. It reads requests from the pipe with this file descriptor until the other end
is closed. A request is a JSON header, which names the call, and the bytes of each image; a response is a JSON header
and each new PNG. Nothing is pickled: a file that takes control of this process cannot run code in the process that
started it.
"""

import json
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from core.child_process import READY, end_with_parent, limit_memory
from core.errors import InvalidParameter
from core.images.decode import Limits
from core.images.file_texts import read_texts
from core.images.normalize import normalize
from core.images.preprocess import load_opencv, preprocess_files
from core.images.resizing import enlarge, prepare

BYTES_PER_PIXEL = 24
"""Memory for the pixels of an image, a mask, and copies of them in other modes."""

BASE_BYTES = 256 * 2**20
"""Memory for all other data."""

NICENESS = 5
"""Requests that need no decoder come first when the CPUs are busy: this process gets a third of their time."""


def main() -> None:
    """Serve until the other end of the pipe is closed, or until an image takes too long."""
    descriptor = int(sys.argv[1])
    connection: Connection[bytes, bytes] = Connection(descriptor)
    arguments = json.loads(sys.argv[2])
    limits, seconds = Limits(arguments["bytes"], arguments["pixels"]), arguments["seconds"]
    os.nice(NICENESS)
    if arguments["opencv"]:  # before the limit: its libraries take more address space than an image
        load_opencv()
    limit_memory(BASE_BYTES + BYTES_PER_PIXEL * limits.pixels)
    end_with_parent(descriptor)
    connection.send_bytes(READY)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            _serve(connection, limits, seconds)


def _serve(connection: "Connection[bytes, bytes]", limits: Limits, seconds: float) -> None:
    """Answer one request. Its images are out of memory afterwards."""
    header = json.loads(connection.recv_bytes())
    data = {name: connection.recv_bytes() for name in header["names"]}
    # CPU time, so that a busy machine fails no image. At the end of it the signal ends the process.
    signal.setitimer(signal.ITIMER_PROF, seconds * len(data))
    response, pngs = _respond(data, header, limits)
    signal.setitimer(signal.ITIMER_PROF, 0)
    connection.send_bytes(json.dumps(response).encode())
    for png in pngs:
        connection.send_bytes(png)


def _respond(
    data: Mapping[str, bytes], header: Mapping[str, Any], limits: Limits
) -> tuple[dict[str, Any], list[bytes]]:
    try:
        values, pngs = _call(data, header, limits)
    except InvalidParameter as error:
        return {"message": error.message, "param": error.param}, []
    except MemoryError:
        return {"message": "The image needs too much memory to decode.", "param": next(iter(data))}, []
    return values | {"pngs": list(pngs)}, list(pngs.values())


def _call(
    data: Mapping[str, bytes], header: Mapping[str, Any], limits: Limits
) -> tuple[dict[str, Any], Mapping[str, bytes]]:
    """Make the call that a header names. Returns its values and its PNGs."""
    match header["call"]:
        case "prepare":
            return {}, prepare(data, header["options"], limits)
        case "enlarge":
            return {}, enlarge(data, header["options"], limits)
        case "read_texts":
            return {"texts": read_texts(data, limits)}, {}
        case "preprocess":
            return {}, preprocess_files(data, header["options"], limits)
    result = normalize(data, header["new"], limits)
    return {"is_transparent": result.is_transparent}, result.pngs


if __name__ == "__main__":
    main()
