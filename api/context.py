"""The services that request handlers use, created once at start and passed as an argument."""

from dataclasses import dataclass, replace

from api.callers import Callers
from api.draining_queues import DrainingQueues
from api.edge.sdk_retries import SyncCalls
from api.estimates import EstimateReader
from api.jobs.reader import JobReader
from api.jobs.watcher import JobWatcher
from api.limits import CallerLimits
from api.queue_metrics import QueueMetrics
from api.queue_stats import QueueStats
from api.refusals import RefusedKeys
from api.submission import Submission
from api.threads import Threads
from api.uploads import Uploads
from core.batches.checkers import Checkers
from core.catalog import Catalog
from core.catalog.file import CatalogFile
from core.db import AsyncDatabase
from core.images.decoders import Decoders
from core.redis.job_keys import JobKeys
from core.redis.notifier import AsyncNotifier
from core.redis.pending_requests import PendingRequests
from core.redis.progress import Listener
from core.redis.webui_state import WebuiState
from core.settings import Settings
from core.storage import Storage


@dataclass(frozen=True, slots=True)
class Context:
    """The services of a running API.

    base_url: what links begin with. A request has a context of its own, with the address that its client used; `open`
    makes the one for what belongs to no request.
    """

    settings: Settings
    base_url: str
    catalog_file: CatalogFile
    database: AsyncDatabase
    callers: Callers
    refused_keys: RefusedKeys
    limits: CallerLimits
    submission: Submission
    draining_queues: DrainingQueues
    storage: Storage
    listener: Listener
    job_reader: JobReader
    job_watcher: JobWatcher
    sync_calls: SyncCalls
    notifier: AsyncNotifier
    queue_stats: QueueStats
    estimates: EstimateReader
    threads: Threads
    decoders: Decoders
    checkers: Checkers
    job_keys: JobKeys
    uploads: Uploads
    webui_state: WebuiState
    queue_metrics: QueueMetrics

    @classmethod
    def open(cls, settings: Settings) -> "Context":
        """Create the services. Nothing connects yet, so that the API also starts without Postgres or Redis."""
        database = AsyncDatabase(settings)
        listener = Listener(settings)
        limits = CallerLimits(settings, database)
        catalog_file = CatalogFile(settings)
        queue_stats = QueueStats(database)
        draining_queues = DrainingQueues(database)
        notifier = AsyncNotifier(settings)
        return cls(
            settings=settings,
            base_url=settings.base_url,
            catalog_file=catalog_file,
            database=database,
            callers=Callers(database, settings.max_project_requests),
            refused_keys=RefusedKeys(database),
            limits=limits,
            submission=Submission(database, limits, draining_queues, notifier),
            draining_queues=draining_queues,
            storage=Storage(settings),
            listener=listener,
            job_reader=JobReader(database),
            job_watcher=JobWatcher(database, listener),
            sync_calls=SyncCalls(settings, database, listener, PendingRequests(settings)),
            notifier=notifier,
            queue_stats=queue_stats,
            queue_metrics=QueueMetrics(database, catalog_file),
            estimates=EstimateReader(database, catalog_file, queue_stats),
            threads=Threads(),
            decoders=Decoders(settings),
            checkers=Checkers(settings),
            job_keys=JobKeys(settings),
            uploads=Uploads(settings),
            webui_state=WebuiState(settings),
        )

    @property
    def catalog(self) -> Catalog:
        """The catalogue, as its file is now."""
        return self.catalog_file.current()

    def at(self, base_url: str) -> "Context":
        """The same services, with links that begin with another address. base_url: without a slash at its end."""
        if base_url == self.base_url:
            return self
        return replace(self, base_url=base_url, storage=self.storage.at(base_url))

    async def close(self) -> None:
        """Finish the statements that run and close the connections."""
        self.threads.close()
        self.decoders.close()
        self.checkers.close()
        await self.submission.close()
        await self.sync_calls.close()
        await self.job_watcher.close()
        await self.job_reader.close()
        await self.notifier.close()
        await self.listener.close()
        await self.callers.close()
        await self.refused_keys.close()
        await self.limits.close()
        self.job_keys.close()
        await self.webui_state.close()
        await self.database.close()
