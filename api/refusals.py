"""Requests that were refused with a 401, 403 or 429: a line in the log, and counts in the audit log.

A stranger decides how many requests are refused, but not how much is written: of each kind and key one line in ten
seconds, and in the audit log one event a minute for each prefix of a refused key, of MAX_PREFIXES prefixes at most.
"""

import asyncio
import logging
import re
from collections import Counter

from fastapi import Request

from api.credentials import api_key
from api.edge.address import api_path
from api.edge.refusals import refusals
from core import audit, keys
from core.audit import AuditType, NewAuditEvent
from core.db import UNAVAILABLE, AsyncDatabase
from core.errors import SafelightError, first_line

log = logging.getLogger(__name__)

STATUSES = (401, 403, 429)
FIRST_SECONDS = 1.0
INTERVAL_SECONDS = 60.0
MAX_PREFIXES = 20
OTHER = "other"


def log_refusal(request: Request, error: SafelightError) -> None:
    """Log a refusal: its request id, the id of the API key or the prefix of an unknown one, and the client's address.

    `api/errors.py` calls it for every response with one of STATUSES.
    """
    key_id: str | None = getattr(request.scope.get("caller"), "key_id", None)
    refusals.record(
        f"{error.code} {key_id or ''}".rstrip(),
        "%s: %s %s, %s, from %s",
        request.scope.get("request_id", ""),
        request.method,
        api_path(request),
        key_id or f"key {prefix_of(request.headers.get('authorization', ''))}",
        request.client.host if request.client else "unknown",
    )


def prefix_of(authorization: str) -> str:
    """The first characters of a key, as `safelight keys list` shows them; `none` without a key."""
    key = api_key(authorization) or authorization.partition(" ")[2]
    if not key:
        return "none"
    prefix = key[: keys.PREFIX_LENGTH]
    return prefix if re.fullmatch(r"sl_[A-Za-z0-9_-]{6}", prefix) else OTHER


class RefusedKeys:
    """Counts refused keys by prefix, and writes the counts to the audit log."""

    def __init__(self, database: AsyncDatabase) -> None:
        self._database = database
        self._counts: Counter[str] = Counter()
        self._writer: asyncio.Task[None] | None = None

    def count(self, authorization: str) -> None:
        """Count a refused key, by the header that brought it."""
        prefix = prefix_of(authorization)
        self._counts[prefix if prefix in self._counts or len(self._counts) < MAX_PREFIXES else OTHER] += 1
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_regularly())

    async def close(self) -> None:
        """Write the last counts."""
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
        await self._write()

    async def _write_regularly(self) -> None:
        await asyncio.sleep(FIRST_SECONDS)
        while self._counts:
            await self._write()
            await asyncio.sleep(INTERVAL_SECONDS - FIRST_SECONDS)

    async def _write(self) -> None:
        counts, self._counts = self._counts, Counter()
        if not counts:
            return
        events = [
            NewAuditEvent(AuditType.KEY_REFUSED, "none", data={"prefix": prefix, "count": count})
            for prefix, count in counts.items()
        ]
        try:
            await self._database.execute(audit.record(*events))
        except UNAVAILABLE as error:
            self._counts.update(dict(counts.most_common(MAX_PREFIXES)))
            log.warning("refused API keys are not recorded yet: %s", first_line(error))
