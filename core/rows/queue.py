"""The rows of queues and their workers; see `core.rows.job`."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.self_test import SelfTest


@dataclass(slots=True)
class QueueStatsRow:
    """How many jobs of a model wait and run, and their estimated device-seconds."""

    model: str
    queued: int
    in_progress: int
    device_seconds: float


@dataclass(frozen=True, slots=True)
class QueueWorkersRow:
    """How many workers serve a queue, and how many of them have loaded their first model."""

    queue: str
    workers: int
    ready_workers: int


@dataclass(slots=True)
class ModelWorkersRow:
    """How many workers have a model in each state.

    bytes: of its weights, the most that a worker measured. reason: of one worker that cannot load it.
    """

    model: str
    loaded_workers: int
    loading_workers: int
    unusable_workers: int
    bytes: int | None
    reason: str | None
    self_tests: Sequence[SelfTest] | None
