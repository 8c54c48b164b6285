"""Whether claims must count the running jobs of projects and keys (`core.running_limits`)."""

import time

from core import running_limits
from core.db import Database
from core.settings import Settings

MAX_AGE_SECONDS = 2.0
"""How old the answer may be. The first limit that is set has its effect after this time."""


class RunningLimits:
    """Whether any project or key has a limit of running jobs."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._default = settings.limit_running_jobs
        self._database = database
        self._is_any_set = False
        self._read_at = float("-inf")

    @property
    def default(self) -> int | None:
        """The limit of projects that have none of their own."""
        return self._default

    def is_any_set(self) -> bool:
        """Whether claims must take the lock and count. Asks the database once in MAX_AGE_SECONDS."""
        if self._default is not None:
            return True
        if time.monotonic() - self._read_at > MAX_AGE_SECONDS:
            self._is_any_set = bool(self._database.execute(running_limits.first_with_limit()))
            self._read_at = time.monotonic()
        return self._is_any_set
