"""Webhook endpoints and deliveries. `unwrap` verifies what arrives."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Unpack

from safelight_client import models, requests, webhook_signature
from safelight_client.asynchronous.transport import AsyncTransport
from safelight_client.paths import path_of

TEST_SECONDS = 60.0
"""Maximum wait for the result of a test: the receiver has its own time limit."""


class AsyncWebhooks:
    """The API's calls for webhooks."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    def unwrap(self, body: bytes | str, headers: Mapping[str, str], secret: str | None = None) -> models.Event:
        """Verify a webhook and return its event. See `safelight_client.unwrap`."""
        return webhook_signature.unwrap(body, headers, secret)

    async def create(self, **parameters: Unpack[requests.EndpointRequest]) -> models.EndpointWithSecret:
        """Register an endpoint. Its `signing_secret` is shown only here and by `rotate_secret`."""
        return await self._transport.fetch(
            models.EndpointWithSecret, "POST", "/v1/webhook_endpoints", body=parameters, repeatable=False
        )

    async def retrieve(self, endpoint_id: str) -> models.EndpointObject:
        """An endpoint, without its secret. Raises NotFound."""
        return await self._transport.fetch(models.EndpointObject, "GET", path_of("webhook_endpoints", endpoint_id))

    async def list(self, *, limit: int | None = None) -> AsyncIterator[models.EndpointObject]:
        """All endpoints, page by page."""
        async for endpoint in self._transport.list_items(models.EndpointObject, "/v1/webhook_endpoints", {}, limit):
            yield endpoint

    async def update(self, endpoint_id: str, **changes: Unpack[requests.EndpointChanges]) -> models.EndpointObject:
        """Change an endpoint; `enabled=True` turns it on again after failures."""
        path = path_of("webhook_endpoints", endpoint_id)
        return await self._transport.fetch(models.EndpointObject, "POST", path, body=changes)

    async def delete(self, endpoint_id: str) -> models.EndpointDeleted:
        """Delete an endpoint."""
        return await self._transport.fetch(models.EndpointDeleted, "DELETE", path_of("webhook_endpoints", endpoint_id))

    async def rotate_secret(
        self, endpoint_id: str, *, keep_old_secret_active_for_24_hours: bool = False
    ) -> models.EndpointWithSecret:
        """Replace the secret of an endpoint; returns the endpoint with the new one."""
        return await self._transport.fetch(
            models.EndpointWithSecret,
            "POST",
            f"{path_of('webhook_endpoints', endpoint_id)}/rotate_secret",
            body={"keep_old_secret_active_for_24_hours": keep_old_secret_active_for_24_hours},
            repeatable=False,
        )

    async def test(self, endpoint_id: str, *, event_type: str) -> models.TestResult:
        """Send an example of an event to an endpoint. Raises BadRequest if the receiver does not accept it."""
        return await self._transport.fetch(
            models.TestResult,
            "POST",
            f"{path_of('webhook_endpoints', endpoint_id)}/test",
            body={"event_type": event_type},
            timeout=TEST_SECONDS,
            repeatable=False,
        )

    async def event_types(self) -> Sequence[str]:
        """All types of events that endpoints can receive."""
        return (await self._transport.fetch(models.EventTypeList, "GET", "/v1/webhook_event_types")).data

    async def redeliver_since(self, endpoint_id: str, since: int) -> models.Redelivered:
        """Send all events since a time, in Unix seconds, to an endpoint again; returns their number."""
        path = f"{path_of('webhook_endpoints', endpoint_id)}/redeliver"
        return await self._transport.fetch(models.Redelivered, "POST", path, body={"since": since}, repeatable=False)

    async def deliveries(
        self,
        *,
        endpoint_id: str | None = None,
        job_id: str | None = None,
        batch_id: str | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[models.DeliveryObject]:
        """The deliveries of an endpoint, a job or a batch, newest first, page by page."""
        query = {"webhook_endpoint_id": endpoint_id, "job_id": job_id, "batch_id": batch_id}
        async for delivery in self._transport.list_items(models.DeliveryObject, "/v1/webhook_deliveries", query, limit):
            yield delivery

    async def delivery(self, delivery_id: str) -> models.DeliveryWithAttempts:
        """A delivery with the log of its attempts. Raises NotFound."""
        return await self._transport.fetch(
            models.DeliveryWithAttempts, "GET", path_of("webhook_deliveries", delivery_id)
        )

    async def redeliver(self, delivery_id: str) -> models.DeliveryObject:
        """Send the event of a delivery again."""
        path = f"{path_of('webhook_deliveries', delivery_id)}/redeliver"
        return await self._transport.fetch(models.DeliveryObject, "POST", path, repeatable=False)
