"""Object storage for image files: a local directory, S3, GCS or Azure, selected by a URL, through obstore.

A key contains the job and the lease (`jobs/<job>/<lease>/<n>.png`), so an object is never overwritten, and the sweep
can identify the objects of attempts that lost their lease. An object is written before its row and deleted before it.
obstore writes atomically: a reader never sees an incomplete object.
"""

import hashlib
import hmac
import logging
import math
import os
import re
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit
from uuid import UUID, uuid4

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import AzureStore, GCSStore, LocalStore, ObjectStore, S3Store, from_url

if TYPE_CHECKING:
    from obstore.store import ClientConfig

from core.errors import NotFound, StorageUnavailable, first_line
from core.settings import Settings
from core.telemetry.metrics import STORAGE_SECONDS

log = logging.getLogger(__name__)

EXTENSIONS = {"png": "png", "webp": "webp", "jpeg": "jpg"}
MEDIA_TYPES = {"png": "image/png", "webp": "image/webp", "jpeg": "image/jpeg"}


MISSING = (NotFoundError, FileNotFoundError)  # a local store raises FileNotFoundError
BROKEN = (BaseError, OSError)
MAX_REQUEST_TIME = timedelta(hours=1)
"""Maximum time of a download, whose reader may be slow. `storage_timeout` limits the pauses of the server."""

UNFINISHED = re.compile(r"#\d+$")
"""The end of the name of an incomplete file, as obstore gives it too."""

_PLAIN_KEY = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9_.-]*/)*[A-Za-z0-9_-][A-Za-z0-9_.-]*")
"""A key that is the name of its file as it is. obstore escapes other characters."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object of a listing."""

    key: str
    bytes: int
    modified_at: datetime


def image_key(job_id: str, lease: UUID, index: int, output_format: str) -> str:
    """The key of image `index` of a job, written under one lease."""
    return f"jobs/{job_id}/{lease.hex}/{index}.{EXTENSIONS[output_format]}"


def image_prefix(job_id: str) -> str:
    """The prefix of all objects of a job, from any attempt."""
    return f"jobs/{job_id}/"


_NUMBERS = count(uuid4().int >> 64)
"""The ends of the names of incomplete files: of no two processes the same."""

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC

_MAX_REMOVALS = 100
"""How often the directory of a new file may vanish before the file is in it."""

_WRITE_SECONDS = STORAGE_SECONDS.labels("write")

STREAM_CHUNK = 2**18
"""Minimum bytes of a chunk of a download. A client that does not read its response leaves one in memory."""


class Storage:
    """Writes, reads, lists and deletes objects. Raises NotFound for a missing object, else StorageUnavailable."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._base_url = settings.base_url
        self._store = _open(settings)
        self._directory = _directory(settings) if isinstance(self._store, LocalStore) else None

    def at(self, base_url: str) -> "Storage":
        """The same store, with links to the API that begin with another address."""
        storage = copy(self)
        storage._base_url = base_url
        return storage

    @property
    def presigns(self) -> bool:
        """Whether image URLs point to the store itself."""
        return self._settings.presign and isinstance(self._store, S3Store | GCSStore | AzureStore)

    def put(self, key: str, data: bytes, media_type: str) -> None:
        """Write an object atomically."""
        try:
            with _WRITE_SECONDS.time():
                if self._directory is not None and _PLAIN_KEY.fullmatch(key):
                    _write_file(f"{self._directory}/{key}", data)
                    return
                # A directory cannot store a media type.
                attributes = {"Content-Type": media_type} if self._directory is None else None
                obstore.put(self._store, key, data, attributes=attributes)
        except BROKEN as error:
            raise _unavailable(f"write {key}", error) from error

    def write(self, key: str, chunks: Iterator[bytes]) -> None:
        """Write an object from chunks, which need not fit into memory and may be read from this storage.

        A failure may leave an incomplete object. No row references it, and the sweep deletes it.
        """
        try:
            with obstore.open_writer(self._store, key) as into:
                for chunk in chunks:
                    into.write(chunk)
        except BROKEN as error:
            raise _unavailable(f"write {key}", error) from error

    async def put_chunks(self, key: str, chunks: AsyncIterator[bytes]) -> None:
        """Write an object atomically from chunks, which need not fit into memory."""
        try:
            await obstore.put_async(self._store, key, chunks)
        except BROKEN as error:
            raise _unavailable(f"write {key}", error) from error

    async def get_async(self, key: str) -> bytes:
        """Read a complete object, for asynchronous code; see `get`."""
        return b"".join([chunk async for chunk in await self.stream_async(key)])

    async def stream_async(self, key: str) -> AsyncIterator[bytes]:
        """Read an object in chunks. NotFound and StorageUnavailable are raised before the first chunk."""
        try:
            with STORAGE_SECONDS.labels("read").time():
                result = await obstore.get_async(self._store, key)
        except MISSING as error:
            raise NotFound("The file no longer exists.") from error
        except BROKEN as error:
            raise _unavailable(f"read {key}", error) from error
        return _chunks(result)

    def get(self, key: str) -> bytes:
        """Read a complete object."""
        try:
            with STORAGE_SECONDS.labels("read").time():
                result = obstore.get(self._store, key)
            return bytes(result.bytes())
        except MISSING as error:
            raise NotFound("The file no longer exists.") from error
        except BROKEN as error:
            raise _unavailable(f"read {key}", error) from error

    def stream(self, key: str) -> Iterator[bytes]:
        """Read an object in chunks, for synchronous code; see `stream_async`."""
        try:
            for chunk in obstore.get(self._store, key):
                yield bytes(chunk)
        except MISSING as error:
            raise NotFound("The file no longer exists.") from error
        except BROKEN as error:
            raise _unavailable(f"read {key}", error) from error

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """All objects with a prefix."""
        try:
            for page in obstore.list(self._store, prefix):
                for meta in page:
                    yield StoredObject(meta["path"], meta["size"], meta["last_modified"])
        except BROKEN as error:
            raise _unavailable(f"list {prefix}", error) from error

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; a missing one is no error."""
        try:
            for key in keys:
                with suppress(*MISSING):
                    obstore.delete(self._store, key)
        except BROKEN as error:
            raise _unavailable("delete", error) from error

    def delete_unfinished(self, before: datetime) -> int:
        """Delete incomplete files that were last written before a time. Returns their number.

        A local directory has them under names that listings omit. Other stores have their own rules for them.
        """
        if self._directory is None:
            return 0
        count = 0
        for path in self._directory.rglob("*#*"):
            with suppress(FileNotFoundError):
                if UNFINISHED.search(path.name) and path.stat().st_mtime < before.timestamp():
                    path.unlink()
                    count += 1
        return count

    async def delete_async(self, key: str) -> None:
        """Delete one object, for asynchronous code; see `delete`."""
        try:
            with suppress(*MISSING):
                await obstore.delete_async(self._store, key)
        except BROKEN as error:
            raise _unavailable(f"delete {key}", error) from error

    async def delete_prefix(self, prefix: str) -> None:
        """Delete all objects with a prefix."""
        try:
            async for page in obstore.list(self._store, prefix):
                for meta in page:
                    with suppress(*MISSING):
                        await obstore.delete_async(self._store, meta["path"])
        except BROKEN as error:
            raise _unavailable(f"delete {prefix}", error) from error

    async def check(self) -> None:
        """Request an object that need not exist. Raises StorageUnavailable if the store does not respond."""
        try:
            with suppress(*MISSING):
                await obstore.head_async(self._store, "health")
        except BROKEN as error:
            raise _unavailable("check the store", error) from error

    def url(self, image_id: str, key: str, ttl: timedelta | None = None) -> str:
        """A link to an image that works without an API key until it expires. Default of `ttl`: `url_ttl`.

        The link is presigned by the store if possible, else it is a URL of the API with an HMAC. It stays the same for
        half of its time, so that clients can use it as a cache key.
        """
        ttl = ttl or self._settings.url_ttl
        if isinstance(self._store, S3Store | GCSStore | AzureStore) and self._settings.presign:
            return obstore.sign(self._store, "GET", key, ttl)
        expires = int((_period(ttl) + 2) * ttl.total_seconds() / 2)
        query = urlencode({"expires": expires, "signature": self._signature(image_id, expires)})
        return f"{self._base_url}/v1/images/{image_id}/content?{query}"

    @property
    def link_period(self) -> int:
        """A number that changes twice while a link is valid: a link of the same number has not expired."""
        return _period(self._settings.url_ttl)

    def is_signed(self, image_id: str, expires: int, signature: str) -> bool:
        """Whether the signature of a URL is valid and has not expired."""
        valid = self._signature(image_id, expires)
        return expires > time.time() and hmac.compare_digest(signature.encode(), valid.encode())

    def _signature(self, image_id: str, expires: int) -> str:
        message = f"GET {image_id} {expires}".encode()
        return hmac.new(self._settings.signing_key, message, hashlib.sha256).hexdigest()


def _period(ttl: timedelta) -> int:
    """The number of halves of `ttl` since 1970."""
    return math.floor(time.time() / (ttl.total_seconds() / 2))


def _unavailable(action: str, error: Exception) -> StorageUnavailable:
    """The error for callers. What the store says names buckets, endpoints and keys, so it goes to the log only."""
    log.warning("the storage is unavailable: could not %s: %s", action, first_line(error))
    return StorageUnavailable()


def _url(settings: Settings) -> str:
    return settings.storage_url or f"file://{(settings.data_dir / 'images').absolute()}"


def _directory(settings: Settings) -> Path:
    """The directory of a local store."""
    return Path(urlsplit(_url(settings)).path)


def _write_file(path: str, data: bytes) -> None:
    """Write a file as obstore does: under another name first. A call of obstore takes some times as long."""
    unfinished = f"{path}#{next(_NUMBERS)}"
    descriptor = _create(unfinished)
    try:
        with open(descriptor, "wb", buffering=0) as file:
            rest = memoryview(data)
            while rest:  # a file system that is nearly full takes a part
                rest = rest[file.write(rest) :]
        os.replace(unfinished, path)
    except OSError:
        with suppress(OSError):
            os.unlink(unfinished)
        raise


def _create(path: str) -> int:
    """Open a new file, in a new directory if need be. A deletion removes directories that it leaves empty."""
    for _ in range(_MAX_REMOVALS):
        with suppress(FileNotFoundError):
            return os.open(path, _NEW_FILE, 0o666)
        with suppress(FileNotFoundError, FileExistsError):  # the latter if it is removed while `makedirs` looks at it
            os.makedirs(os.path.dirname(path), exist_ok=True)
    return os.open(path, _NEW_FILE, 0o666)


def _open(settings: Settings) -> ObjectStore:
    url = _url(settings)
    if urlsplit(url).scheme == "file":
        directory = _directory(settings)
        directory.mkdir(parents=True, exist_ok=True)
        return LocalStore(directory, automatic_cleanup=True)
    limit = settings.storage_timeout
    options: ClientConfig = {
        "timeout": MAX_REQUEST_TIME,
        "connect_timeout": min(timedelta(seconds=3), limit),
        "read_timeout": limit,  # of an upload: from its first byte to the response
        # A store in the internal network often has no TLS. The operator chooses that with the address.
        "allow_http": os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://"),
    }
    # Region, endpoint and credentials come from the usual variables of each cloud (AWS_ENDPOINT_URL, AWS_REGION ...).
    # A failed request is retried for the time that one request may take. obstore's default of three minutes is longer
    # than the maximum time of a worker without progress (`stall_timeout`).
    return from_url(url, client_options=options, retry_config={"max_retries": 10, "retry_timeout": limit})


async def _chunks(result: "obstore.GetResult") -> AsyncIterator[bytes]:
    async for chunk in result.stream(STREAM_CHUNK):
        yield bytes(chunk)
