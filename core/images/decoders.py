"""Processes that decode input images, with limits of time and memory. Projects share them fairly.

An image comes from a client and may be built to take long or to break a decoder. A thread cannot be stopped, a process
can (`docs/decisions/0018-images-are-decoded-in-processes.md`). The processes start when they are first needed.
"""

import asyncio
import json
import os
import signal
import threading
from collections.abc import Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.child_process import ChildProcess
from core.errors import InvalidParameter
from core.images.decode import Limits
from core.images.normalize import Normalized
from core.images.preprocess import BY_OPENCV, Preprocessing
from core.images.resizing import Enlargement, Preparation
from core.threads import FairThreads

if TYPE_CHECKING:
    from core.settings import Settings

WALL_FACTOR = 3
"""How many times the CPU time an image may take by the clock, while other processes use the CPUs."""

ATTEMPTS = 2
"""A process may also die for another reason than the image."""

_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR")
"""Variables of a decoder process: no keys and no passwords."""


class DecoderTimeout(Exception):
    """The images took too long."""


class DecoderDied(Exception):
    """The process ended while it decoded."""


@dataclass(frozen=True, slots=True)
class Response:
    """What a decoder process responds: values, and PNGs by the names of the images."""

    values: Mapping[str, Any]
    pngs: Mapping[str, bytes]


class Decoders:
    """Decodes images in at most `settings.decoders` processes. Thread-safe.

    A project leaves one of them, and one CPU, to the others.
    """

    def __init__(self, settings: "Settings") -> None:
        self._limits = Limits.from_settings(settings)
        self._seconds = settings.decode_timeout.total_seconds()
        per_project = max(1, min(settings.decoders, os.cpu_count() or 1) - 1)
        self._threads = FairThreads("decode", settings.decoders, per_project)
        self._max_decoders = settings.decoders
        self._lock = threading.Lock()
        self._idle: list[_Decoder] = []
        self._decoders: set[_Decoder] = set()
        self._is_closed = False

    def submit(self, project_id: str, data: Mapping[str, bytes], new: Collection[str]) -> "Future[Normalized]":
        """Check a request's images; see `core.images.normalize`. The future raises InvalidParameter."""
        return self._threads.submit(project_id, self._normalize, data, new)

    async def prepare(self, project_id: str, data: Mapping[str, bytes], options: Preparation) -> Mapping[str, bytes]:
        """The images of an edit in one size; see `core.images.resizing`. Raises InvalidParameter."""
        return (await self._submit(project_id, data, "prepare", options)).pngs

    async def enlarge(self, project_id: str, data: Mapping[str, bytes], options: Enlargement) -> Mapping[str, bytes]:
        """Images in another size; see `core.images.resizing`. Raises InvalidParameter."""
        return (await self._submit(project_id, data, "enlarge", options)).pngs

    async def preprocess(
        self, project_id: str, data: Mapping[str, bytes], options: Preprocessing
    ) -> Mapping[str, bytes]:
        """Control images of images; see `core.images.preprocess`. Raises InvalidParameter."""
        return (await self._submit(project_id, data, "preprocess", options)).pngs

    async def read_texts(self, project_id: str, name: str, content: bytes) -> Mapping[str, str]:
        """The texts of an image file; see `core.images.file_texts`. Raises InvalidParameter."""
        texts: Mapping[str, str] = (await self._submit(project_id, {name: content}, "read_texts", {})).values["texts"]
        return texts

    async def _submit(
        self, project_id: str, data: Mapping[str, bytes], call: str, options: Mapping[str, Any]
    ) -> "Response":
        header = {"call": call, "options": options}
        return await asyncio.wrap_future(self._threads.submit(project_id, self._call, data, header))

    async def normalize(self, project_id: str, data: Mapping[str, bytes], new: Collection[str]) -> Normalized:
        """`submit` for asynchronous code. Raises InvalidParameter."""
        return await asyncio.wrap_future(self.submit(project_id, data, new))

    def close(self) -> None:
        """End the processes."""
        self._threads.close()
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
            for decoder in self._decoders.difference(idle):
                decoder.stop()  # the thread that uses it cleans up
            self._decoders.difference_update(idle)
        for decoder in idle:
            decoder.kill()

    def _normalize(self, data: Mapping[str, bytes], new: Collection[str]) -> Normalized:
        response = self._call(data, {"call": "normalize", "new": list(new)})
        return Normalized(response.values["is_transparent"], response.pngs)

    def _call(self, data: Mapping[str, bytes], header: Mapping[str, Any]) -> "Response":
        for _ in range(ATTEMPTS):
            decoder = self._take(has_opencv=header["call"] == "preprocess" and header["options"]["kind"] in BY_OPENCV)
            try:
                return decoder.call(data, header)
            except DecoderTimeout:
                raise InvalidParameter(
                    f"{' and '.join(data)} took longer than {self._seconds * len(data):g} s to decode. "
                    "Save the file again, as PNG or as a JPEG that is not progressive.",
                    param=next(iter(data)),
                ) from None
            except DecoderDied:
                continue
            finally:
                self._release(decoder)
        raise InvalidParameter(f"{' and '.join(data)} cannot be decoded.", param=next(iter(data)))

    def _take(self, *, has_opencv: bool) -> "_Decoder":
        """A decoder for one call. Those with OpenCV do nothing else, as it leaves them less address space."""
        idle_decoder = None
        with self._lock:
            for decoder in reversed(self._idle):
                if decoder.has_opencv == has_opencv:
                    self._idle.remove(decoder)
                    return decoder
            if self._idle and len(self._decoders) >= self._max_decoders:
                idle_decoder = self._idle.pop(0)
                self._decoders.discard(idle_decoder)
        if idle_decoder is not None:
            idle_decoder.kill()
        decoder = _Decoder(self._limits, self._seconds, has_opencv=has_opencv)
        with self._lock:
            self._decoders.add(decoder)
            is_closed = self._is_closed
        if is_closed:
            self._release(decoder)
            raise RuntimeError("the decoders are closed")
        return decoder

    def _release(self, decoder: "_Decoder") -> None:
        with self._lock:
            if decoder.is_alive and not self._is_closed:
                self._idle.append(decoder)
                return
            self._decoders.discard(decoder)
        decoder.kill()


class _Decoder(ChildProcess):
    """A decoder process, for one call at a time."""

    def __init__(self, limits: Limits, seconds: float, *, has_opencv: bool) -> None:
        arguments = {"bytes": limits.bytes, "pixels": limits.pixels, "seconds": seconds, "opencv": has_opencv}
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        super().__init__("core.images.decoder", [json.dumps(arguments)], environment)
        self._seconds = seconds
        self.has_opencv = has_opencv

    def call(self, data: Mapping[str, bytes], header: Mapping[str, Any]) -> Response:
        """Raises InvalidParameter, DecoderTimeout or DecoderDied; after the last two the process is dead."""
        try:
            self.connection.send_bytes(json.dumps({"names": list(data), **header}).encode())
            for content in data.values():
                self.connection.send_bytes(content)
            if not self.connection.poll(WALL_FACTOR * self._seconds * len(data)):
                self.kill()
                raise DecoderTimeout
            response = json.loads(self.connection.recv_bytes())
            pngs = {name: self.connection.recv_bytes() for name in response.get("pngs", ())}
        except (EOFError, OSError):
            self.kill()
            raise (DecoderTimeout if self.exit_status == -signal.SIGPROF else DecoderDied) from None
        if "message" in response:
            raise InvalidParameter(response["message"], param=response["param"])
        return Response(response, pngs)
