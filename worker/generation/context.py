"""What a worker needs, made once at start: the database, the storage, the notifier, and one device."""

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count

from core.catalog import Catalog, Model
from core.catalog.file import CatalogFile
from core.db import Database
from core.fairness import is_fair_turn
from core.generation import RemoteGenerator
from core.generation_errors import DeviceFailed
from core.redis.notifier import Notifier
from core.redis.progress import Progress
from core.settings import Settings
from core.storage import Storage
from worker import generators
from worker.generation.claim_sizes import ClaimSizes
from worker.generation.content_credentials import ContentCredentials
from worker.generation.device_health import EXIT_DEVICE_FAILED, DeviceHealth, leave
from worker.generation.memory import EXIT_MEMORY, ImageLimits, has_outgrown
from worker.generation.models import Models
from worker.generation.pass_clock import PassClock
from worker.generation.pool_threads import PoolThreads
from worker.generation.running_limits import RunningLimits
from worker.generation.step_publisher import StepPublisher
from worker.moderation.moderator import Moderator

log = logging.getLogger(__name__)

MAX_PAUSE_SECONDS = 20.0


def worker_name() -> str:
    """The name of this process among all workers."""
    return f"{socket.gethostname()}:{os.getpid()}"


class Drain:
    """Whether this worker is stopping, and how long it may still take."""

    def __init__(self) -> None:
        self._has_begun = threading.Event()
        self._deadline = float("inf")

    def begin(self, seconds: float) -> None:
        """Claim nothing more; finish the claimed jobs within so many seconds or requeue them."""
        self._deadline = time.monotonic() + seconds
        self._has_begun.set()

    @property
    def has_begun(self) -> bool:
        """Whether nothing more may be claimed."""
        return self._has_begun.is_set()

    @property
    def is_over(self) -> bool:
        """Whether unfinished jobs must be requeued."""
        return time.monotonic() >= self._deadline

    def wait(self, seconds: float) -> bool:
        """Sleep, but wake at once when the drain begins. Returns whether it has."""
        return self._has_begun.wait(seconds)


@dataclass(slots=True)
class Context:
    """A running worker's services, device and limits."""

    settings: Settings
    catalog_file: CatalogFile
    database: Database
    storage: Storage
    progress: Progress
    notifier: Notifier
    moderator: Moderator
    content_credentials: ContentCredentials | None
    name: str
    health: DeviceHealth
    models: Models
    device: threading.Lock = field(default_factory=threading.Lock)
    """Held while a micro-batch is on the device. Encoding and uploading happen outside it."""
    upload_lock: threading.Lock = field(default_factory=threading.Lock)
    """Held while images are encoded, uploaded and recorded."""
    preparation: threading.Lock = field(default_factory=threading.Lock)
    """Held by the thread that will have the device next, until it has it."""
    pool_threads: PoolThreads = field(default_factory=PoolThreads)
    drain: Drain = field(default_factory=Drain)
    limits: ImageLimits = field(default_factory=ImageLimits)
    claim_sizes: ClaimSizes = field(default_factory=ClaimSizes)
    alone: set[str] = field(default_factory=set)
    """Micro-batch keys whose jobs cannot share a pass: a claim takes one job, so that none waits for the others."""
    exit_code: int = 0
    """Of the process, once it has drained."""
    pass_clock: PassClock = field(init=False)
    running_limits: RunningLimits = field(init=False)
    step_publisher: StepPublisher = field(init=False)
    _remote_generators: dict[str, tuple[Model, RemoteGenerator]] = field(default_factory=dict)
    _pauses: dict[str, float] = field(default_factory=dict)
    _claims: dict[str, Iterator[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.pass_clock = PassClock(self.device)
        self.running_limits = RunningLimits(self.settings, self.database)
        self.step_publisher = StepPublisher(self.progress)

    @classmethod
    def open(
        cls, settings: Settings, moderator: Moderator, content_credentials: ContentCredentials | None = None
    ) -> "Context":
        """Connect a worker to its services. Loads no model and touches no device yet."""
        return cls(
            settings=settings,
            catalog_file=CatalogFile(settings, only_available=False),
            database=Database(settings),
            storage=Storage(settings),
            progress=Progress(settings),
            notifier=Notifier(settings),
            moderator=moderator,
            content_credentials=content_credentials,
            name=worker_name(),
            health=DeviceHealth(settings),
            models=Models(settings),
        )

    @property
    def catalog(self) -> Catalog:
        """The catalogue, as its file is now."""
        return self.catalog_file.current()

    def remote_generator(self, model: Model) -> RemoteGenerator:
        """The generator of a model that a provider runs; no device is needed. Raises ModelUnavailable."""
        entry = self._remote_generators.get(model.id)
        if entry is None or entry[0] != model:  # the catalogue has changed; another thread may make a second one
            entry = self._remote_generators[model.id] = model, generators.build_remote(model, self.settings)
        return entry[1]

    def record_device_failure(self, job_ids: Sequence[str], failure: DeviceFailed) -> None:
        """Note that the device failed under these jobs. If it is broken, stop this worker."""
        self.health.record_failure(job_ids, failure.detail)
        if self.health.is_broken:
            self._leave(EXIT_DEVICE_FAILED)

    def check_memory(self) -> None:
        """Stop this worker if it has grown beyond `max_worker_memory`."""
        if not self.drain.has_begun and has_outgrown(self.settings.max_worker_memory):
            self._leave(EXIT_MEMORY)

    def _leave(self, exit_code: int) -> None:
        """Claim nothing more and end the process, so that its supervisor starts a new one."""
        if not self.drain.has_begun:
            self.exit_code = exit_code
            self.drain.begin(self.settings.drain_timeout.total_seconds())
            leave()

    @property
    def claim_limits(self) -> dict[str, int]:
        """By micro-batch key, how many images one claim may take, where that is not the size of a pass.

        A job with more is taken all the same.
        """
        return self.claim_sizes.current() | self.limits.current() | dict.fromkeys(self.alone, 1)

    def resident_models(self, queue: str) -> Sequence[str]:
        """The loaded models of a queue. Empty if it has no others, so that no choice is left."""
        # A provider's models are never loaded, and its queue is claimed from without the lock of the device.
        names = [model.id for model in self.catalog.models if model.queue == queue and not model.is_remote]
        return [name for name in self.models.resident if name in names] if len(names) > 1 else ()

    def count_claim(self, queue: str) -> bool:
        """Count a micro-batch of a queue. Returns whether its first job is chosen by fair rank alone."""
        return is_fair_turn(next(self._claims.setdefault(queue, count())))

    def pause(self, queue: str, delay: timedelta) -> None:
        """Claim nothing of a queue for a while, as its provider takes no calls.

        Not for longer than MAX_PAUSE_SECONDS, whatever the provider says: another worker may know better by then, and
        the health check takes a worker that does not use the database for dead.
        """
        seconds = min(delay.total_seconds(), MAX_PAUSE_SECONDS)
        self._pauses[queue] = max(self._pauses.get(queue, 0.0), time.monotonic() + seconds)

    def is_paused(self, queue: str) -> bool:
        """Whether nothing of a queue should be claimed now."""
        return time.monotonic() < self._pauses.get(queue, 0.0)
