# Made of asynchronous/bound.py by `python clients/generate.py`: do not edit.
"""Models that can call the API."""

from typing import Any

from pydantic import BaseModel, PrivateAttr

from safelight_client.synchronous.transport import Transport


class Bound(BaseModel):
    """A model with methods that call the API. It is made by a client."""

    _transport: Transport = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Note the transport of the client that made this model."""
        if isinstance(context, Transport):
            self._transport = context
