# Made of asynchronous/catalog.py by `python clients/generate.py`: do not edit.
"""The models that a Safelight offers."""

from collections.abc import Sequence

from safelight_client import models
from safelight_client.paths import path_of
from safelight_client.synchronous.transport import Transport


class Models:
    """The API's calls for models."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> Sequence[models.ModelObject]:
        """All models and their aliases, with their sizes, steps and operations."""
        return (self._transport.fetch(models.ModelList, "GET", "/v1/models")).data

    def retrieve(self, name: str) -> models.ModelObject:
        """A model, by its name or an alias. Raises NotFound."""
        return self._transport.fetch(models.ModelObject, "GET", path_of("models", name))
