"""The models that a Safelight offers."""

from collections.abc import Sequence

from safelight_client import models
from safelight_client.asynchronous.transport import AsyncTransport
from safelight_client.paths import path_of


class AsyncModels:
    """The API's calls for models."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def list(self) -> Sequence[models.ModelObject]:
        """All models and their aliases, with their sizes, steps and operations."""
        return (await self._transport.fetch(models.ModelList, "GET", "/v1/models")).data

    async def retrieve(self, name: str) -> models.ModelObject:
        """A model, by its name or an alias. Raises NotFound."""
        return await self._transport.fetch(models.ModelObject, "GET", path_of("models", name))
