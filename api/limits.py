"""Limits of callers, and the reservations of what their requests will use (`core/limits.py`)."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial

from api.recent_value import RecentValue
from core import limits
from core.db import AsyncDatabase, AsyncTransaction
from core.errors import SafelightError
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


@dataclass(frozen=True, slots=True)
class SubjectsOfCaller:
    """The project and the key of a caller, if they have limits, by what is limited.

    The key precedes its project where something is counted: what its own limit refuses must not use up that of its
    project, for other keys. quotas: for which a request must reserve what it will use.
    """

    subjects: Sequence[Subject]
    quotas: Sequence[Subject]
    requests: Sequence[Subject]
    images: Sequence[Subject]

    @classmethod
    def of(cls, subjects: Sequence[Subject]) -> "SubjectsOfCaller":
        """Project and key by what their limits are about."""
        return cls(
            subjects,
            [subject for subject in subjects if subject.limits.has_quota],
            [subject for subject in reversed(subjects) if subject.limits.requests_per_minute is not None],
            [subject for subject in reversed(subjects) if subject.limits.images_per_minute is not None],
        )


class CallerLimits:
    """The limits of projects and keys, as Postgres said within the last seconds."""

    def __init__(self, settings: Settings, database: AsyncDatabase) -> None:
        self._settings = settings
        self._database = database
        self._values: dict[tuple[str, str | None], RecentValue[SubjectsOfCaller]] = {}
        self.rates = RequestRates(settings)

    async def _subjects(self, project_id: str, key_id: str | None) -> SubjectsOfCaller:
        value = self._values.get((project_id, key_id))
        if value is None:
            if len(self._values) >= MAX_ENTRIES:
                self._values.clear()
            value = RecentValue(partial(self._read, project_id, key_id), MAX_AGE_SECONDS)
            self._values[project_id, key_id] = value
        return await value.get()

    async def _read(self, project_id: str, key_id: str | None) -> SubjectsOfCaller:
        rows = await self._database.execute(limits.get([project_id, *([] if key_id is None else [key_id])]))
        return SubjectsOfCaller.of(limits.subjects_of(rows, self._settings, project_id, key_id))

    async def subjects(self, project_id: str, key_id: str | None) -> Sequence[Subject]:
        """The project and the key, if they have limits."""
        return (await self._subjects(project_id, key_id)).subjects

    async def quotas(self, project_id: str, key_id: str | None) -> Sequence[Subject]:
        """The project and the key, if they have limits for which a request must reserve what it will use."""
        return (await self._subjects(project_id, key_id)).quotas

    async def count_request(self, project_id: str, key_id: str | None) -> None:
        """Count a request before its body is read. Raises RateLimitExceeded."""
        for subject in (await self._subjects(project_id, key_id)).requests:
            if (per_minute := subject.limits.requests_per_minute) is not None:
                await self._count(subject, "requests", per_minute)

    @asynccontextmanager
    async def counted_images(
        self, project_id: str, key_id: str | None, images: int
    ) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        """Count the images of a job; submit it within the context. Raises RateLimitExceeded.

        A refusal within the context takes the images back: nothing was stored. So does a call of the context's value.
        """
        hits: list[tuple[Subject, int]] = []

        async def take_back() -> None:
            left = [await self.rates.hit(subject.id, per_minute, "images", -images) for subject, per_minute in hits]
            rates = CURRENT_RATES.get()
            if left and rates is not None and not rates["images"].is_exceeded:
                rates["images"] = min(left, key=lambda rate: rate.remaining)

        try:
            for subject in (await self._subjects(project_id, key_id)).images:
                if (per_minute := subject.limits.images_per_minute) is not None:
                    await self._count(subject, "images", per_minute, images)
                    hits.append((subject, per_minute))
            yield take_back
        except SafelightError:
            await take_back()
            raise

    async def _count(self, subject: Subject, unit: str, per_minute: int, number: int = 1) -> None:
        """Count requests or images of a project or key, and note what is left. Raises RateLimitExceeded."""
        rate = await self.rates.hit(subject.id, per_minute, unit, number)
        rates = CURRENT_RATES.get()
        if rates is not None and (rate.is_exceeded or unit not in rates or rate.remaining < rates[unit].remaining):
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
