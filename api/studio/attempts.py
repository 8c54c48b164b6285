"""Failed attempts to sign in, by client address: a few a minute in each process.

No key can be guessed, as it holds 256 random bits. This keeps strangers from filling the log and the audit log.
"""

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from core.limit_errors import RateLimitExceeded

PER_MINUTE = 10


class Attempts:
    """Counts failed attempts."""

    def __init__(self, per_minute: int = PER_MINUTE) -> None:
        self._limit = RateLimitItemPerMinute(per_minute)
        self._limiter = FixedWindowRateLimiter(MemoryStorage())

    def check(self, address: str) -> None:
        """Raise RateLimitExceeded if an address has failed too often within a minute."""
        if not self._limiter.test(self._limit, address):
            raise RateLimitExceeded(f"{PER_MINUTE} attempts to sign in failed within a minute; wait a minute.")

    def count(self, address: str) -> None:
        """Count a failed attempt."""
        self._limiter.hit(self._limit, address)
