"""The keys of jobs in Redis: last step, last preview, and the unanswered call that waits for a job. Deletes them.

They expire after some minutes by themselves; an erasure does not wait for that. It does not need Redis either: what is
not deleted now expires.
"""

import logging
from collections.abc import Sequence
from typing import cast

from redis.exceptions import RedisError

from core.redis.connection import connect
from core.redis.pending_requests import call_key, key_of_call
from core.redis.progress import preview_key, step_key
from core.settings import Settings

log = logging.getLogger(__name__)

_CHUNK = 500


class JobKeys:
    """Deletes the keys of jobs. Never raises."""

    def __init__(self, settings: Settings) -> None:
        self._redis = connect(settings)

    def delete(self, job_ids: Sequence[str]) -> None:
        """Delete all keys of jobs."""
        try:
            for first in range(0, len(job_ids), _CHUNK):
                self._delete(job_ids[first : first + _CHUNK])
        except (RedisError, OSError, TimeoutError) as error:
            log.debug("redis does not answer: %s", error)

    def _delete(self, job_ids: Sequence[str]) -> None:
        keys = [key_of_call(job_id) for job_id in job_ids]
        fingerprints = cast(list[bytes | None], self._redis.mget(keys))
        pipeline = self._redis.pipeline(transaction=False)
        for job_id, fingerprint in zip(job_ids, fingerprints, strict=True):
            if fingerprint is not None:
                pipeline.lrem(call_key(fingerprint.decode()), 0, job_id)
            pipeline.delete(key_of_call(job_id), step_key(job_id), preview_key(job_id))
        pipeline.execute()

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()
