"""Tells the others that this worker runs: its queues, its device, and which models are loaded.

Every `heartbeat` it renews its row in `workers`, which is valid as long as a lease. So `/readyz`, `safelight doctor`
and queued jobs can say that no worker serves a queue. The answer is what an operator wants of the worker: one that is
paused or drains receives no notifications, and one that drains frees its device.
"""

import logging
import threading
from collections.abc import Callable, Sequence

from core import workers
from core.catalog import Catalog, Model
from core.db import DATABASE_ERROR, Database
from core.errors import first_line
from worker.generation.context import Context

log = logging.getLogger(__name__)


WITHDRAW_SECONDS = 5.0
"""How long a worker that ends waits for the database."""


class Presence:
    """The threads that announce a worker and load its first models."""

    def __init__(self, context: Context, queues: Sequence[str], select_queues: Callable[[bool], None]) -> None:
        """select_queues: begins to receive the notifications of the queues, or stops it."""
        self._context = context
        self._queues = queues
        self._is_ready = False
        self._announcing = threading.Lock()  # "not ready" must not be written after "ready"
        self._state = "running"
        self._checked_catalog: Catalog | None = None
        self._select_queues = select_queues
        # Under a name of its own: the health check takes a worker for dead that no longer uses its own connections.
        # While the first model is loaded, nothing else uses those, so it is announced by them.
        self._database = Database(context.settings, name="safelight-presence")
        self._announcer = threading.Thread(target=self._run, name="presence", daemon=True)
        # Not waited for at the end: a model may come from a hub for minutes.
        self._loader = threading.Thread(target=self._load, name="loader", daemon=True)

    def start(self) -> None:
        """Announce the worker until its drain begins, and load its first model."""
        self._announcer.start()
        self._loader.start()

    def join(self) -> None:
        """Wait until the worker is withdrawn, or until the database has not answered for some seconds."""
        self._announcer.join(WITHDRAW_SECONDS)
        self._database.close()

    def _run(self) -> None:
        while True:
            self._announce()
            if self._is_ready:
                self._check_catalog()
            if self._context.drain.wait(self._context.settings.heartbeat.total_seconds()):
                break
        try:
            self._database.execute(workers.withdraw(self._context.name))
        except DATABASE_ERROR:
            log.warning("this worker could not be withdrawn; its row will expire")

    def _announce(self) -> None:
        with self._announcing:
            is_ready = self._is_ready
            statement = workers.announce(
                self._context.name,
                self._queues,
                is_ready=is_ready,
                length=self._context.settings.lease,
                device=self._context.models.device(),
            )
            try:
                (answer,) = (self._database if is_ready else self._context.database).execute(statement)
            except DATABASE_ERROR as error:
                log.warning("this worker could not be announced: %s", first_line(error))
            else:
                self._follow(answer.state)

    def _follow(self, state: str) -> None:
        """Do what an operator wants. A worker that may claim nothing leaves the notifications to the others."""
        if state != self._state:
            log.info("worker %s is %s", self._context.name, state)
            self._select_queues(state == "running")
            self._state = state
        if state == "draining" and self._is_ready and self._context.device.acquire(blocking=False):
            try:
                self._context.models.unload_all()
            finally:
                self._context.device.release()

    def _check_catalog(self) -> None:
        """Note which models cannot be loaded, each time that the catalogue has changed."""
        catalog = self._context.catalog
        if catalog is not self._checked_catalog:
            self._checked_catalog = catalog
            self._context.models.check(_local_models(catalog, self._queues))

    def _load(self) -> None:
        self._check_catalog()
        for model in _first_models(self._context, self._queues):
            try:
                with self._context.pass_clock.hold_device():
                    self._context.models.get(model)
            except Exception as error:  # whatever it was, a job that needs the model reports it
                log.warning("the model %s is not loaded: %s", model.id, first_line(error))
        self._is_ready = True
        if not self._context.drain.has_begun:
            self._announce()


def _first_models(context: Context, queues: Sequence[str]) -> Sequence[Model]:
    """The models to load at the start: those with `preload`, and last the default or else the first of these queues.

    Empty if a provider has all.
    """
    models = _local_models(context.catalog, queues)
    first = next((model for model in models if model.id == context.catalog.default), models[0] if models else None)
    return [*(model for model in models if model.preload and model is not first), *([] if first is None else [first])]


def _local_models(catalog: Catalog, queues: Sequence[str]) -> Sequence[Model]:
    """The models that a worker of these queues loads."""
    return [model for model in catalog.models if model.queue in queues and not model.is_remote]
