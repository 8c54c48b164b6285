"""What a caller of AUTOMATIC1111's API has chosen and runs: its model, and the jobs of its open calls.

The webui has one user, and keeps this in memory. Here it belongs to a caller: an API key or, without keys, a project.
It may be lost: then the catalogue's default model is used, and open calls can no longer be interrupted.
"""

import logging
from collections.abc import Awaitable, Sequence
from datetime import timedelta
from typing import cast

from redis.exceptions import RedisError

from core.errors import NotifierUnavailable
from core.redis.connection import KEY_PREFIX, connect_async
from core.settings import Settings

log = logging.getLogger(__name__)

MODEL_SECONDS = int(timedelta(days=30).total_seconds())
"""How long a choice of a model is stored after it was made or used last."""

MAX_JOBS = 100
"""Open calls of a caller that are stored; the oldest are dropped first."""

_MARGIN_SECONDS = 60
_REDIS_ERRORS = (RedisError, OSError, TimeoutError)


class WebuiState:
    """The states of all callers."""

    def __init__(self, settings: Settings) -> None:
        self._redis = connect_async(settings)
        self._seconds = int(settings.sync_timeout.total_seconds()) + _MARGIN_SECONDS

    async def get_model(self, caller: str) -> str | None:
        """The model that a caller has chosen; None if there is none, or Redis does not answer."""
        try:
            model = cast(bytes | None, await self._redis.getex(_model_key(caller), ex=MODEL_SECONDS))
        except _REDIS_ERRORS as error:
            log.debug("redis does not answer: %s", error)
            return None
        return None if model is None else model.decode()

    async def set_model(self, caller: str, model: str) -> None:
        """Choose a model. Raises NotifierUnavailable."""
        try:
            await self._redis.set(_model_key(caller), model, ex=MODEL_SECONDS)
        except _REDIS_ERRORS:
            raise NotifierUnavailable from None

    async def add_job(self, caller: str, job_id: str) -> None:
        """Record the job of an open call."""
        key = _jobs_key(caller)
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.rpush(key, job_id)
        pipeline.ltrim(key, -MAX_JOBS, -1)
        pipeline.expire(key, self._seconds)
        try:
            await pipeline.execute()
        except _REDIS_ERRORS as error:
            log.debug("redis does not answer: %s", error)

    async def remove_job(self, caller: str, job_id: str) -> None:
        """Remove the job of a call that has ended."""
        try:
            await self._redis.lrem(_jobs_key(caller), 1, job_id)
        except _REDIS_ERRORS as error:
            log.debug("redis does not answer: %s", error)

    async def list_jobs(self, caller: str) -> Sequence[str]:
        """The jobs of a caller's open calls, the oldest first. Raises NotifierUnavailable."""
        try:
            job_ids = await cast(Awaitable[list[bytes]], self._redis.lrange(_jobs_key(caller), 0, -1))
        except _REDIS_ERRORS:
            raise NotifierUnavailable from None
        return [job_id.decode() for job_id in job_ids]

    async def close(self) -> None:
        """Close the connections."""
        try:
            await self._redis.aclose()
        except _REDIS_ERRORS as error:
            log.debug("redis does not answer: %s", error)


def _model_key(caller: str) -> str:
    return f"{KEY_PREFIX}webui:model:{caller}"


def _jobs_key(caller: str) -> str:
    return f"{KEY_PREFIX}webui:jobs:{caller}"
