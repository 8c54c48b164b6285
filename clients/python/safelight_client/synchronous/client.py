# Made of asynchronous/client.py by `python clients/generate.py`: do not edit.
"""The client of one Safelight."""

from types import TracebackType
from typing import Any, BinaryIO, Self

import httpx

from safelight_client.configuration import RESPONSE_SECONDS, configure
from safelight_client.downloads import Destination
from safelight_client.retries import RETRY_SECONDS, ReportOutage, Retries
from safelight_client.synchronous.batches import Batches
from safelight_client.synchronous.catalog import Models
from safelight_client.synchronous.files import Files
from safelight_client.synchronous.images import Images
from safelight_client.synchronous.jobs import Jobs
from safelight_client.synchronous.transport import Transport
from safelight_client.synchronous.usage import Usage
from safelight_client.synchronous.webhooks import Webhooks


class Safelight:
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
        http = httpx.Client(**configuration.http_options)
        self._transport = Transport(configuration, Retries(self.base_url, retry_seconds, on_outage), http)
        self.jobs = Jobs(self._transport)
        self.images = Images(self._transport)
        self.batches = Batches(self._transport)
        self.files = Files(self._transport)
        self.models = Models(self._transport)
        self.webhooks = Webhooks(self._transport)
        self.usage = Usage(self._transport)

    def request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """Call a route that has no method of its own; returns the object in the response.

        options: `body` for JSON, `params` for the query, `headers`, `timeout` in seconds; `repeatable=False` if a
        repetition after a lost connection could have an effect of its own.
        """
        return self._transport.request(method, path, **options)

    def download(self, path: str, file: BinaryIO) -> str:
        """Write the content of a route into an open file, from its start; returns the SHA-256 in hexadecimal."""
        destination = Destination(file)
        self._transport.download(path, destination)
        return destination.sha256

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
