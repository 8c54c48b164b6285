"""Limits of callers, and the reservations of what their requests will use (`core/limits.py`)."""

import time
from collections.abc import Sequence
from contextvars import ContextVar

from core import limits
from core.db import AsyncDatabase, AsyncTransaction
from core.limit_errors import RateLimitExceeded
from core.limits import Amount, Subject
from core.redis.rates import Rate, RequestRates
from core.settings import Settings

CURRENT_RATES: ContextVar[dict[str, Rate] | None] = ContextVar("CURRENT_RATES", default=None)
"""What is left of the limits of the request that is handled, by what is counted: requests, images."""

MAX_AGE_SECONDS = 2.0
"""How old the limits of a caller may be. A change has its effect after this time."""

MAX_ENTRIES = 10_000
"""Callers whose limits are cached."""


class CallerLimits:
    """The limits of projects and keys, as Postgres said within the last seconds."""

    def __init__(self, settings: Settings, database: AsyncDatabase) -> None:
        self._settings = settings
        self._database = database
        self._entries: dict[tuple[str, str | None], tuple[Sequence[Subject], float]] = {}
        self.rates = RequestRates(settings)

    async def subjects(self, project_id: str, key_id: str | None) -> Sequence[Subject]:
        """The project and the key, if they have limits."""
        now = time.monotonic()
        entry = self._entries.get((project_id, key_id))
        if entry is None or now - entry[1] > MAX_AGE_SECONDS:
            rows = await self._database.execute(limits.get([project_id, *([] if key_id is None else [key_id])]))
            if len(self._entries) >= MAX_ENTRIES:
                self._entries.clear()
            subjects = limits.subjects_of(rows, self._settings, project_id, key_id)
            entry = self._entries[project_id, key_id] = (subjects, now)
        return entry[0]

    async def quotas(self, project_id: str, key_id: str | None) -> Sequence[Subject]:
        """Those for which a request must reserve what it will use."""
        return [subject for subject in await self.subjects(project_id, key_id) if subject.limits.has_quota]

    async def count_request(self, project_id: str, key_id: str | None) -> None:
        """Count a request before its body is read. Raises RateLimitExceeded."""
        # The key comes first: what its own limit refuses must not use up that of its project, for other keys.
        for subject in reversed(await self.subjects(project_id, key_id)):
            if (per_minute := subject.limits.requests_per_minute) is not None:
                await self._count(subject, "requests", per_minute)

    async def count_images(self, project_id: str, key_id: str | None, images: int) -> None:
        """Count the images of a job before it is submitted. Raises RateLimitExceeded."""
        for subject in reversed(await self.subjects(project_id, key_id)):  # as `count_request`
            if (per_minute := subject.limits.images_per_minute) is not None:
                await self._count(subject, "images", per_minute, images)

    async def _count(self, subject: Subject, unit: str, per_minute: int, number: int = 1) -> None:
        """Count requests or images of a project or key, and note what is left. Raises RateLimitExceeded."""
        rate = await self.rates.hit(subject.id, per_minute, unit, number)
        rates = CURRENT_RATES.get()
        if rates is not None and (unit not in rates or rate.remaining < rates[unit].remaining):
            rates[unit] = rate
        if rate.is_exceeded:
            owner = "API key" if subject.is_key else "project"
            verb = "send" if unit == "requests" else "order"
            text = f"This {owner} may {verb} {per_minute} {unit} per minute; nothing was stored."
            if number > per_minute:
                text += f" This request alone is for {number}."
            error = RateLimitExceeded(text)
            error.retry_after = max(rate.reset_seconds, 0.1)
            raise error

    async def reserve(self, transaction: AsyncTransaction, project_id: str, key_id: str | None, amount: Amount) -> None:
        """Reserve an amount in the transaction that uses it. Raises TooManyJobs, InsufficientQuota."""
        await reserve(transaction, await self.quotas(project_id, key_id), amount)

    async def close(self) -> None:
        """Close the connections to Redis."""
        await self.rates.close()


async def reserve(transaction: AsyncTransaction, subjects: Sequence[Subject], amount: Amount) -> None:
    """Reserve an amount for subjects. Raises TooManyJobs, InsufficientQuota."""
    steps = limits.reservation(subjects, amount)
    try:
        statement = next(steps)
        while True:
            statement = steps.send(await transaction.execute(statement))
    except StopIteration as end:
        if end.value is not None:
            raise end.value from None
