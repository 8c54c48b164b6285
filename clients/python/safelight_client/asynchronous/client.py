"""The client of one Safelight."""

from types import TracebackType
from typing import Any, BinaryIO, Self

import httpx

from safelight_client.asynchronous.batches import AsyncBatches
from safelight_client.asynchronous.catalog import AsyncModels
from safelight_client.asynchronous.files import AsyncFiles
from safelight_client.asynchronous.images import AsyncImages
from safelight_client.asynchronous.jobs import AsyncJobs
from safelight_client.asynchronous.transport import AsyncTransport
from safelight_client.asynchronous.usage import AsyncUsage
from safelight_client.asynchronous.webhooks import AsyncWebhooks
from safelight_client.configuration import RESPONSE_SECONDS, configure
from safelight_client.downloads import Destination
from safelight_client.retries import RETRY_SECONDS, ReportOutage, Retries


class AsyncSafelight:
    """A client of one Safelight. Close it after use, or use it as a context manager.

    base_url: default SAFELIGHT_URL, else http://127.0.0.1:8000. api_key: default SAFELIGHT_API_KEY. timeout: seconds to
    wait for a response. retry_seconds: how long requests are repeated during an outage of the API; 0 for never.
    on_outage: gets the reason when an outage begins. Raises ConfigurationError.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = RESPONSE_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
        on_outage: ReportOutage | None = None,
    ) -> None:
        configuration = configure(base_url, api_key, timeout)
        self.base_url = configuration.url
        http = httpx.AsyncClient(**configuration.http_options)
        self._transport = AsyncTransport(configuration, Retries(self.base_url, retry_seconds, on_outage), http)
        self.jobs = AsyncJobs(self._transport)
        self.images = AsyncImages(self._transport)
        self.batches = AsyncBatches(self._transport)
        self.files = AsyncFiles(self._transport)
        self.models = AsyncModels(self._transport)
        self.webhooks = AsyncWebhooks(self._transport)
        self.usage = AsyncUsage(self._transport)

    async def request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """Call a route that has no method of its own; returns the object in the response.

        options: `body` for JSON, `params` for the query, `headers`, `timeout` in seconds; `repeatable=False` if a
        repetition after a lost connection could have an effect of its own.
        """
        return await self._transport.request(method, path, **options)

    async def download(self, path: str, file: BinaryIO) -> str:
        """Write the content of a route into an open file, from its start; returns the SHA-256 in hexadecimal."""
        destination = Destination(file)
        await self._transport.download(path, destination)
        return destination.sha256

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
