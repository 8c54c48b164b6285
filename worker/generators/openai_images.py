"""Images from OpenAI's Images API, or from a compatible one: one request per job, sent once.

The SDK's own retries are off, because each would be billed. `worker/generation/provider.py` decides whether a job is
tried again, from the outcome that `openai_replies` reports. Each request has a new connection: the server may close
an idle connection just when a request is written to it, and then nobody knows whether the request was read.
"""

import asyncio
import hashlib
import io
import json
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any, Final

import httpx2
from openai import APIConnectionError, APIError, APIStatusError, AsyncOpenAI
from PIL import Image, ImageChops
from pydantic import ValidationError

from core.catalog import Model
from core.generation import ImageRequest, Reply, Show
from core.generation_errors import ModelUnavailable, ProviderOutcomeUnknown
from core.settings import Settings
from core.status import CallOutcome
from worker.generators import openai_replies, openai_streams
from worker.generators.openai_replies import AnswerTooLarge, Options

CONNECT_SECONDS: Final = 10.0


class OpenAIImages:
    """Generates images with one model of the Images API; `source` of its catalogue entry is OpenAI's name for it."""

    def __init__(self, model: Model, settings: Settings) -> None:
        if settings.openai_api_key is None:
            raise ModelUnavailable(f"The model {model.id} needs SAFELIGHT_OPENAI_API_KEY, which this worker lacks.")
        try:
            self._options = Options.model_validate(model.options)
        except ValidationError as error:
            first = error.errors()[0]
            raise ModelUnavailable(f"The catalogue's options of {model.id}: {first['loc']}: {first['msg']}.") from error
        self._model = model
        self._key = settings.openai_api_key.get_secret_value()
        self._base_url = settings.openai_base_url
        self._timeout = settings.openai_timeout
        self._verify = httpx2.create_ssl_context()  # shared, because reading the certificates takes 20 ms

    @property
    def timeout(self) -> timedelta:
        """The maximum duration of a call."""
        return self._timeout

    def fingerprint(self, requests: Sequence[ImageRequest]) -> bytes:
        """SHA-256 of the parameters and the images."""
        digest = hashlib.sha256(json.dumps(self._parameters(requests), sort_keys=True).encode())
        for image in (requests[0].image, *requests[0].reference_images, requests[0].mask):
            if image is not None:
                digest.update(image.tobytes())
        return digest.digest()

    def send(self, requests: Sequence[ImageRequest], call_id: str, show: Show) -> Reply:
        """Send one request; see `core.generation.RemoteGenerator`."""
        try:
            return asyncio.run(self._send(requests, call_id, show))
        except TimeoutError:
            seconds = self._timeout.total_seconds()
            return Reply(CallOutcome.UNKNOWN, error=ProviderOutcomeUnknown(f"No answer within {seconds:g} s."))
        except APIStatusError as error:
            return openai_replies.of_refusal(error)
        except APIConnectionError as error:
            return openai_replies.of_broken_connection(error)
        except APIError as error:
            return openai_streams.of_error_event(error)

    async def _send(self, requests: Sequence[ImageRequest], call_id: str, show: Show) -> Reply:
        """Send the request and read the whole answer within the maximum duration of a call."""
        request, parameters = requests[0], self._parameters(requests)
        model = parameters["model"]
        # One timeout for the whole call: the transport's own timeouts begin again with every byte.
        async with asyncio.timeout(self._timeout.total_seconds()), self._client(requests, call_id) as client:
            if request.image is not None:
                images = (request.image, *request.reference_images)
                files = [(f"image{index}.png", _png(image), "image/png") for index, image in enumerate(images)]
                parameters["image"] = files if len(files) > 1 else files[0]
            if request.mask is not None:
                parameters["mask"] = ("mask.png", _png(_transparent_where_white(request.mask)), "image/png")
            if request.parameters.partial_images:
                calls = client.images
                stream: Any = await (calls.generate if request.image is None else calls.edit)(**parameters)
                return await openai_streams.of_stream(stream, model, self._options, show)
            raw = client.images.with_raw_response
            answer: Any = await (raw.generate if request.image is None else raw.edit)(**parameters)
            return openai_replies.of_answer(answer.http_response, model, len(requests), self._options)

    def _parameters(self, requests: Sequence[ImageRequest]) -> dict[str, Any]:
        request, partial_images = requests[0], requests[0].parameters.partial_images
        return {
            "model": self._model.source or self._model.id,
            "prompt": request.prompt,
            "n": len(requests),
            "size": f"{request.width}x{request.height}",
            "background": request.parameters.background or "opaque",
            "output_format": "png",
            **self._options.parameters(request),
            **({"stream": True, "partial_images": partial_images} if partial_images else {}),
        }

    def _client(self, requests: Sequence[ImageRequest], call_id: str) -> AsyncOpenAI:
        max_bytes = openai_replies.max_bytes(requests)

        async def limit_size(response: httpx2.Response) -> None:
            if response.headers.get("content-encoding", "identity") != "identity":
                raise AnswerTooLarge("The answer is compressed, so that its size is not known.")
            response.stream = _LimitedStream(response.stream, max_bytes)

        total = self._timeout.total_seconds()
        return AsyncOpenAI(
            api_key=self._key,
            base_url=self._base_url,
            max_retries=0,
            timeout=httpx2.Timeout(total, connect=min(total, CONNECT_SECONDS)),
            default_headers={"Accept-Encoding": "identity", "X-Client-Request-Id": call_id},
            http_client=httpx2.AsyncClient(
                timeout=httpx2.Timeout(total, connect=min(total, CONNECT_SECONDS)),
                verify=self._verify,
                limits=httpx2.Limits(max_connections=1, max_keepalive_connections=0),
                follow_redirects=False,
                event_hooks={"response": [limit_size]},
            ),
        )


class _LimitedStream(httpx2.AsyncByteStream):
    """The body of an answer; raises AnswerTooLarge when it exceeds a number of bytes."""

    def __init__(self, inner: object, max_bytes: int) -> None:
        assert isinstance(inner, httpx2.AsyncByteStream)  # noqa: S101 - an AsyncClient makes no other
        self._inner = inner
        self._max_bytes = max_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        byte_count = 0
        async for chunk in self._inner:
            byte_count += len(chunk)
            if byte_count > self._max_bytes:
                raise AnswerTooLarge(f"The answer has more than {self._max_bytes} bytes.")
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _transparent_where_white(mask: Image.Image) -> Image.Image:
    """OpenAI's form of our mask: transparent where ours is white, where an edit may change the image."""
    image = Image.new("RGBA", mask.size)
    image.putalpha(ImageChops.invert(mask))
    return image
