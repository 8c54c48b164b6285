"""What a request handler needs, made once at start and handed around: no globals, no look-ups."""

import asyncio
from dataclasses import dataclass, field

from api.queue_stats import QueueStats
from api.sdk_retries import Callers
from api.submission import Submission
from core.catalog import Catalog, load_catalog
from core.db import AsyncDatabase
from core.redis.notifier import AsyncNotifier, Notifier
from core.redis.pending_requests import PendingRequests
from core.redis.progress import Listener
from core.settings import Settings
from core.storage import Storage


@dataclass(frozen=True, slots=True)
class Context:
    """The parts of a running API."""

    settings: Settings
    catalog: Catalog
    database: AsyncDatabase
    submission: Submission
    storage: Storage
    listener: Listener
    callers: Callers
    notifier: AsyncNotifier
    queue_stats: QueueStats
    decoders: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
    """Held while an input image is decoded: each may take some hundred megabytes."""

    dry_runs: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    """Held while a batch is only checked: fifty thousand lines take seconds of the interpreter's time."""

    @classmethod
    def open(cls, settings: Settings) -> "Context":
        """Make the parts. Connects to nothing yet, so that the API starts while Postgres or Redis are away."""
        database = AsyncDatabase(settings)
        listener = Listener(settings)
        return cls(
            settings=settings,
            catalog=load_catalog(settings.catalog_path).offered(settings),
            database=database,
            submission=Submission(database),
            storage=Storage(settings),
            listener=listener,
            callers=Callers(settings, database, listener, PendingRequests(settings)),
            notifier=AsyncNotifier(Notifier(settings).notify),
            queue_stats=QueueStats(database),
        )

    async def close(self) -> None:
        """Finish what is on its way and close the connections."""
        await self.submission.close()
        await self.callers.close()
        await self.notifier.close()
        await self.listener.close()
        await self.database.close()
