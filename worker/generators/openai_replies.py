"""Translates OpenAI's answers into the outcome of a call: success, refusal, limited, failure or unknown.

A text that concerns the operator's account is logged and not quoted: tenants must not see whose account it is.

What matters is whether an image may have been generated, and so billed. It was not if the request was never sent, or if
a status of OpenAI itself says so. A gateway's status (502, 504, 52x) says nothing about the server behind it, nor does
a connection that breaks after the request was sent.
"""

import base64
import io
import logging
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

import httpx2
import openai
from annotated_types import Ge
from openai import APIConnectionError, APIError, APIStatusError
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from core.generation import ImageRequest, Reply
from core.generation_errors import (
    ContentPolicyViolation,
    GenerationError,
    ProviderAnswerUnreadable,
    ProviderAuthentication,
    ProviderOutcomeUnknown,
    ProviderQuotaExhausted,
    ProviderRateLimited,
    ProviderRefused,
    ProviderUnavailable,
)
from core.images import decode
from core.parameters.job import Quality
from core.retry_after import parse_retry_after
from core.status import CallOutcome

log = logging.getLogger(__name__)

NOTHING_SENT: Final = (
    httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol, httpx2.ProxyError,
)  # fmt: skip
GATEWAYS: Final = frozenset({502, 504, *range(520, 528)})
"""Statuses of a gateway that got no valid answer from the server behind it (Cloudflare's are 520 to 527)."""

MODERATION: Final = frozenset({"moderation_blocked", "content_policy_violation"})

MAX_PIXELS: Final = 3840 * 2160 * 2
"""Twice the largest image that OpenAI's models generate."""

USUAL_WAIT: Final = timedelta(seconds=10)
"""After a 429 that does not name a time."""

MAX_WAIT: Final = timedelta(hours=1)

UNREADABLE = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, EOFError, Image.DecompressionBombError,
)  # fmt: skip
"""The exceptions that reading a malformed answer may raise."""

Usd = Annotated[Decimal, Ge(0)]


class AnswerTooLarge(httpx2.RequestError):
    """An answer is larger than the requested images can be."""


class Options(BaseModel):
    """The options of a catalogue entry: quality, moderation, and OpenAI's prices in US dollars per million tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    quality: Quality = Field("auto", description="Of requests that do not set a quality.")
    moderation: Literal["low", "auto"] = "auto"
    usd_text_input: Usd | None = Field(None, description="Tokens of the prompt.")
    usd_image_input: Usd | None = Field(None, description="Tokens of the input images of an edit.")
    usd_output: Usd | None = Field(None, description="Tokens of the generated images.")

    def parameters(self, request: ImageRequest) -> dict[str, str]:
        """The parameters of a request that come from these options. Its own values have precedence."""
        quality = request.parameters.quality
        parameters: dict[str, str] = {"quality": self.quality if quality == "auto" else quality}
        if request.operation != "edit":  # the API has no such parameter for edits
            parameters["moderation"] = request.parameters.moderation_level or self.moderation
        elif request.parameters.input_fidelity is not None:
            parameters["input_fidelity"] = request.parameters.input_fidelity
        return parameters

    def cost(self, usage: Mapping[str, Any]) -> Decimal | None:
        """The cost of a call in US dollars; None without prices, or if the usage is not as documented."""
        if self.usd_text_input is None or self.usd_image_input is None or self.usd_output is None:
            return None
        try:
            details = usage["input_tokens_details"]
            parts = (
                int(details["text_tokens"]) * self.usd_text_input,
                int(details["image_tokens"]) * self.usd_image_input,
                int(usage["output_tokens"]) * self.usd_output,
            )
        except (LookupError, TypeError, ValueError):
            return None
        return (sum(parts, Decimal(0)) / 1_000_000).quantize(Decimal("0.000001"))


def max_bytes(requests: Sequence[ImageRequest]) -> int:
    """An upper bound of a valid answer's size: images without compression, in base64."""
    pixels = requests[0].width * requests[0].height
    return (len(requests) + requests[0].parameters.partial_images) * (pixels * 4 * 4 // 3 + 2**20)


def of_answer(response: httpx2.Response, model: str, n: int, options: Options) -> Reply:
    """The reply for a 200: images if they can be read. It is billed in either case."""
    try:
        body = response.json()
    except UNREADABLE as error:
        return unreadable(response, error)
    return of_body(response, body, model, n, options)


def of_body(response: httpx2.Response, body: Any, model: str, n: int, options: Options) -> Reply:
    """The reply for the JSON of a 200, from a response or from an event of a stream."""
    request_id = response.headers.get("x-request-id")
    usage: dict[str, Any] | None = None
    cost: Decimal | None = None
    try:
        usage = body.get("usage")
        cost = None if usage is None else options.cost(usage)
        images = _readable_images(body["data"], n)
    except UNREADABLE as error:
        return unreadable(response, error, usage if isinstance(usage, dict) else None, cost)
    return Reply(
        CallOutcome.SUCCEEDED,
        images=images,
        http_status=response.status_code,
        request_id=request_id,
        usage=usage,
        cost_usd=cost,
        wait=_until_reset(response.headers),
        receipt={
            "provider": "openai",
            "provider_model": model,
            "provider_request_id": request_id,
            "quality": body.get("quality"),
            **({"background": body["background"]} if body.get("background") == "transparent" else {}),
            "usage": usage,
            "cost_usd": None if cost is None else float(cost),
            "openai": openai.__version__,
        },
    )


def unreadable(
    response: httpx2.Response,
    error: Exception,
    usage: dict[str, Any] | None = None,
    cost: Decimal | None = None,
) -> Reply:
    """The reply for a 200 whose images cannot be read."""
    return Reply(
        CallOutcome.UNREADABLE,
        error=ProviderAnswerUnreadable(f"OpenAI's answer cannot be read: {type(error).__name__}: {short(error)}"),
        http_status=response.status_code,
        request_id=response.headers.get("x-request-id"),
        usage=usage,
        cost_usd=cost,
    )


def of_refusal(error: APIStatusError) -> Reply:
    """The reply for any status but a 2xx."""
    outcome, ours, wait = _meaning(error)
    return Reply(outcome, error=ours, http_status=error.status_code, request_id=error.request_id, wait=wait)


def of_broken_connection(error: APIConnectionError) -> Reply:
    """The reply for a connection that gave no complete answer."""
    cause = error.__cause__ or error
    log.warning("the connection to OpenAI failed: %s: %s", type(cause).__name__, short(cause))
    if isinstance(cause, NOTHING_SENT):
        return Reply(
            CallOutcome.FAILED, error=ProviderUnavailable(f"OpenAI cannot be reached ({type(cause).__name__}).")
        )
    if isinstance(cause, AnswerTooLarge):
        return Reply(CallOutcome.UNREADABLE, error=ProviderAnswerUnreadable(short(cause)))
    return Reply(
        CallOutcome.UNKNOWN,
        error=ProviderOutcomeUnknown(
            f"The connection to OpenAI broke after the request was sent ({type(cause).__name__})."
        ),
    )


def _meaning(error: APIStatusError) -> tuple[CallOutcome, GenerationError, timedelta | None]:
    """Outcome, our error, and how long to wait."""
    status, code, message = error.status_code, error.code or error.type or "", short(error)
    log.warning("OpenAI answered %s to the request %s: %s: %s", status, error.request_id, code, message)
    if code in MODERATION:
        return CallOutcome.REFUSED, ContentPolicyViolation(moderated(error)), None
    if code in ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active"):
        return CallOutcome.FAILED, ProviderQuotaExhausted(), None
    if status == 401:  # OpenAI's message quotes a part of the key
        advice = "OpenAI does not accept the API key: set SAFELIGHT_OPENAI_API_KEY of the workers to a valid one."
        return CallOutcome.FAILED, ProviderAuthentication(advice), None
    if status == 403:
        advice = "The key in SAFELIGHT_OPENAI_API_KEY may not do this at OpenAI; the worker's log has the reason."
        return CallOutcome.FAILED, ProviderAuthentication(advice), None
    wait = _retry_after(error.response.headers)
    if status == 429:
        wait = max(wait or _until_reset(error.response.headers) or USUAL_WAIT, timedelta(0))
        return CallOutcome.LIMITED, ProviderRateLimited(), wait
    if status in GATEWAYS:
        doubt = f"A gateway before OpenAI answered {status}; nobody knows whether an image was generated."
        return CallOutcome.UNKNOWN, ProviderOutcomeUnknown(doubt), wait
    if status >= 500 or status in (408, 409, 425):
        return CallOutcome.FAILED, ProviderUnavailable(f"OpenAI answered {status}."), wait
    return CallOutcome.REFUSED, ProviderRefused(f"OpenAI answered {status}: {message}"), None


def moderated(error: APIError) -> str:
    """The message for a refusal by moderation."""
    return f"OpenAI's moderation refuses it: {short(error)}"


def _readable_images(entries: Sequence[Any], n: int) -> list[Image.Image]:
    """The readable images, at most `n`: all were billed, so those that came are used. Raises if there is none."""
    images: list[Image.Image] = []
    failure: Exception = ValueError("it has no images")
    for entry in entries:
        try:
            images.append(image(entry["b64_json"]))
        except UNREADABLE as error:
            failure = error
    if not images:
        raise failure
    return images[:n]


def image(b64_json: str) -> Image.Image:
    """Decode an image as RGB, or as RGBA if it is transparent, after a check of its size."""
    data = base64.b64decode(b64_json, validate=True)
    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"an image has {image.width} x {image.height} pixels")
        image.load()
        if not image.has_transparency_data:
            return decode.opaque(image)
        colours = image.convert("RGBA")
        is_opaque = colours.getchannel("A").getextrema() == (255, 255)
        return decode.opaque(colours) if is_opaque else colours


def _retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """The wait that `retry-after-ms` or `retry-after` requires."""
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", milliseconds := headers.get("retry-after-ms", "")):
        return min(timedelta(milliseconds=min(float(milliseconds), 1e12)), MAX_WAIT)
    return parse_retry_after(headers.get("retry-after"), longest=MAX_WAIT)


def _until_reset(headers: Mapping[str, str]) -> timedelta | None:
    """How long until every used-up rate limit allows the next call; None if no limit is used up."""
    waits = [
        wait
        for kind in ("requests", "images", "tokens")
        if headers.get(f"x-ratelimit-remaining-{kind}") == "0"
        and (wait := _duration(headers.get(f"x-ratelimit-reset-{kind}", ""))) is not None
    ]
    return min(max(waits), MAX_WAIT) if waits else None


_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def _duration(text: str) -> timedelta | None:
    """OpenAI's durations: `1s`, `6m0s`, `120ms`, `1h2m3.5s`."""
    if not re.fullmatch(r"(\d+(\.\d+)?(ms|h|m|s))+", text):
        return None
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)", text)
    return timedelta(seconds=sum(float(amount) * _UNITS[unit] for amount, unit in parts))


def short(error: BaseException) -> str:
    """An error's message, shortened for a job."""
    message = error.body.get("message") if isinstance(error, APIError) and isinstance(error.body, dict) else None
    return (message if isinstance(message, str) else str(error))[:500]
