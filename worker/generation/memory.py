"""What a worker learns about memory: how many images fit on its device, and whether it has grown too large itself."""

import logging
import resource
import time
from collections.abc import Hashable, Iterable
from dataclasses import replace

from core.generation import Memory

log = logging.getLogger(__name__)

EXIT_MEMORY = 75
"""Exit code of a worker that has grown too large: sysexits' EX_TEMPFAIL."""

LIMIT_SECONDS = 600.0
"""How long a limit stays. Afterwards one pass tries the full size again, as what took the memory may be gone."""


class ImageLimits:
    """By micro-batch key, how many images fit on the device: learned from running out of memory."""

    def __init__(self) -> None:
        self._limits: dict[str, tuple[int, float]] = {}

    def record(self, microbatch_key: str, images: int) -> None:
        """No more than so many images fit, for now."""
        self._limits[microbatch_key] = images, time.monotonic() + LIMIT_SECONDS

    def current(self) -> dict[str, int]:
        """The limits that still hold."""
        now = time.monotonic()
        self._limits = {key: (images, end) for key, (images, end) in self._limits.items() if end > now}
        return {key: images for key, (images, _) in self._limits.items()}


def has_outgrown(limit: int | None) -> bool:
    """Whether this process takes more than so many resident bytes."""
    if limit is None or (resident := resident_bytes()) <= limit:
        return False
    log.critical(
        "worker leaves: exit_code=%d; it takes %d MB, and may take %d", EXIT_MEMORY, resident >> 20, limit >> 20
    )
    return True


def resident_bytes() -> int:
    """Of this process. Where there is no /proc, its largest size until now."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def total_bytes(memories: Iterable[Memory]) -> int:
    """The bytes of the weights of several models on a device. Components that they share count once."""
    own = 0
    shared: dict[Hashable, int] = {}
    for memory in memories:
        own += memory.weights - sum(memory.shared.values())
        shared |= memory.shared
    return own + sum(shared.values())


def total_ram(memories: Iterable[Memory]) -> int:
    """The bytes in RAM of several models that have left the device."""
    return total_bytes(
        memory if memory.ram is None else replace(memory, weights=memory.ram, shared={}) for memory in memories
    )
