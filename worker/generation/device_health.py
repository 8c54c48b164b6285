"""Whether the device of this worker is broken: it has failed twice in a row under different jobs.

Such a worker would take and fail half of all jobs. So it gives its jobs back uncounted, leaves with an exit code of
its own, and its supervisor starts it again. A single failure may be the fault of the job: `core/device_failures.py`.
"""

import logging
import os
import signal
import socket
from collections.abc import Collection
from hashlib import sha256

from core.settings import Settings

log = logging.getLogger(__name__)

EXIT_DEVICE_FAILED = 71
"""Exit code of a worker whose device is broken: sysexits' EX_OSERR."""


class DeviceHealth:
    """The last failures of a worker's device. Used by the thread that holds the device."""

    def __init__(self, settings: Settings) -> None:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        self.device = f"{socket.gethostname()}/{settings.device}" + ("" if visible is None else f":{visible}")
        """Names the device for operators, also after a restart of the worker."""
        self.device_id = sha256(self.device.encode()).hexdigest()[:12]
        """Names it in the events of jobs, whose owners may not learn the name of a host."""
        self.is_broken = False
        self._last_jobs: frozenset[str] = frozenset()

    def record_success(self) -> None:
        """Note that the device has generated an image or an error of the request."""
        self._last_jobs = frozenset()

    def record_failure(self, job_ids: Collection[str], reason: str) -> None:
        """Note that the device failed under these jobs."""
        self.is_broken = bool(self._last_jobs) and not frozenset(job_ids) <= self._last_jobs
        log.error("device %s failed under %s: %s", self.device, ", ".join(sorted(job_ids)), reason)
        self._last_jobs |= frozenset(job_ids)
        if self.is_broken:
            log.critical("worker leaves: exit_code=%d device=%s reason=%r", EXIT_DEVICE_FAILED, self.device, reason)


def leave() -> None:
    """Begin the warm shutdown of this process, as its supervisor would; `app.py` sets the exit code."""
    os.kill(os.getpid(), signal.SIGTERM)
