"""Models that can call the API."""

from typing import Any

from pydantic import BaseModel, PrivateAttr

from safelight_client.asynchronous.transport import AsyncTransport


class AsyncBound(BaseModel):
    """A model with methods that call the API. It is made by a client."""

    _transport: AsyncTransport = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Note the transport of the client that made this model."""
        if isinstance(context, AsyncTransport):
            self._transport = context
