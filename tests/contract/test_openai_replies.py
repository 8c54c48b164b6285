"""What OpenAI's answers mean, status by status and header by header. Over real connections: `tests/faults`."""

import base64
import io
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from typing import Any

import httpx2
import openai
import pytest
from PIL import Image

from core.catalog import Model
from core.generation_errors import ModelUnavailable
from core.parameters.job import Quality
from core.settings import Settings
from core.status import CallOutcome
from tests.image_requests import image_request, with_changes
from worker.generators import build_remote, openai_replies
from worker.generators.openai_replies import Options, max_bytes

REQUEST = httpx2.Request("POST", "https://api.openai.com/v1/images/generations")
PRICES = Options.model_validate({"usd_text_input": 5.0, "usd_image_input": 8.0, "usd_output": 30.0})


def refusal(status: int, headers: dict[str, str] | None = None, **error: Any) -> openai.APIStatusError:
    response = httpx2.Response(status, headers=headers, json={"error": error}, request=REQUEST)
    return openai.APIStatusError("refused", response=response, body=error)


def image(mode: str = "RGB", size: tuple[int, int] = (8, 8), kind: str = "PNG") -> str:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, kind)
    return base64.b64encode(buffer.getvalue()).decode()


def answer(headers: dict[str, str] | None = None, **fields: Any) -> httpx2.Response:
    return httpx2.Response(200, headers=headers, content=json.dumps(fields).encode(), request=REQUEST)


@pytest.mark.parametrize(
    ("status", "code", "outcome", "ours"),
    [
        (400, "moderation_blocked", "refused", "content_policy_violation"),
        (400, "content_policy_violation", "refused", "content_policy_violation"),
        (400, "invalid_value", "refused", "provider_refused"),
        (400, "billing_hard_limit_reached", "failed", "provider_insufficient_quota"),
        (401, "invalid_api_key", "failed", "provider_authentication"),
        (403, "unsupported_country", "failed", "provider_authentication"),
        (404, "model_not_found", "refused", "provider_refused"),
        (307, None, "refused", "provider_refused"),
        (408, None, "failed", "provider_unavailable"),
        (409, None, "failed", "provider_unavailable"),
        (413, None, "refused", "provider_refused"),
        (429, "rate_limit_exceeded", "limited", "provider_rate_limited"),
        (429, "insufficient_quota", "failed", "provider_insufficient_quota"),
        (500, "server_error", "failed", "provider_unavailable"),
        (502, None, "unknown", "provider_outcome_unknown"),
        (503, "overloaded", "failed", "provider_unavailable"),
        (504, None, "unknown", "provider_outcome_unknown"),
        (520, None, "unknown", "provider_outcome_unknown"),
        (524, None, "unknown", "provider_outcome_unknown"),
    ],
)
def test_a_status_says_whether_an_image_was_generated(status: int, code: str | None, outcome: str, ours: str) -> None:
    reply = openai_replies.of_refusal(refusal(status, {"x-request-id": "req_7"}, code=code, message="no"))

    assert reply.error is not None
    assert (reply.outcome, reply.error.code, reply.http_status, reply.request_id) == (outcome, ours, status, "req_7")


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (httpx2.ConnectError("refused"), "failed"),
        (httpx2.ConnectTimeout("late"), "failed"),
        (httpx2.ReadError("reset"), "unknown"),
        (httpx2.WriteError("reset"), "unknown"),
        (httpx2.ReadTimeout("late"), "unknown"),
        (httpx2.RemoteProtocolError("cut"), "unknown"),
        (openai_replies.AnswerTooLarge("large"), "unreadable"),
    ],
)
def test_the_outcome_is_unknown_when_a_connection_breaks_after_sending(error: Exception, outcome: str) -> None:
    broken = openai.APIConnectionError(request=REQUEST)
    broken.__cause__ = error

    assert openai_replies.of_broken_connection(broken).outcome == outcome


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "20"}, 20),
        ({"retry-after": "300"}, 300),
        ({"retry-after": "999999"}, 3600),
        ({"retry-after": "soon"}, 10),
        ({"retry-after": "-5"}, 10),
        ({}, 10),
        ({"x-ratelimit-remaining-images": "0", "x-ratelimit-reset-images": "6m0s"}, 360),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "120ms"}, 0.12),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1h2m3.5s"}, 3600),
        ({"x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "40s"}, 10),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "whenever"}, 10),
    ],
)
def test_a_429_says_how_long_to_wait(headers: dict[str, str], seconds: float) -> None:
    wait = openai_replies.of_refusal(refusal(429, headers, code="rate_limit_exceeded")).wait

    assert wait == timedelta(seconds=seconds)


def test_a_date_to_wait_for_is_read_by_our_clock() -> None:
    until = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    wait = openai_replies.of_refusal(refusal(429, {"retry-after": until})).wait

    assert wait is not None
    assert timedelta(seconds=90) < wait <= timedelta(seconds=100)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 429, 500, 502, 503])
def test_the_account_of_the_operator_is_never_named(status: int, caplog: pytest.LogCaptureFixture) -> None:
    message = (
        "Rate limit for gpt-image-1 in organization Acme (org-Ab12Cd), project proj_Zq81, key sk-pro****9f (req_8f2a)"
    )
    with caplog.at_level("WARNING"):
        reply = openai_replies.of_refusal(refusal(status, {"x-request-id": "req_8f2a"}, message=message))

    assert reply.error is not None
    assert not [word for word in ("Acme", "org-", "proj_", "sk-", "req_") if word in reply.error.message]
    assert "org-Ab12Cd" in caplog.text


def test_the_address_of_a_proxy_is_never_named() -> None:
    broken = openai.APIConnectionError(request=REQUEST)
    broken.__cause__ = httpx2.ConnectError("proxy.corp.example:3128 refused")

    reply = openai_replies.of_broken_connection(broken)

    assert reply.error is not None
    assert reply.error.message == "OpenAI cannot be reached (ConnectError)."


def test_a_key_is_never_quoted() -> None:
    message = "Incorrect API key provided: sk-secr********cret."
    reply = openai_replies.of_refusal(refusal(401, code="invalid_api_key", message=message))

    assert reply.error is not None
    assert "sk-secr" not in reply.error.message


def test_images_come_opaque_or_transparent_with_what_they_cost() -> None:
    usage = {"input_tokens_details": {"text_tokens": 100, "image_tokens": 1000}, "output_tokens": 4160}
    came = answer(data=[{"b64_json": image("RGBA")}, {"b64_json": image("L", kind="WEBP")}], usage=usage)

    reply = openai_replies.of_answer(came, "gpt-image-2.5-flare", 2, PRICES)

    assert reply.outcome is CallOutcome.SUCCEEDED
    assert [(pixels.mode, pixels.size) for pixels in reply.images] == [("RGBA", (8, 8)), ("RGB", (8, 8))]
    assert reply.cost_usd == Decimal("0.133300")  # (100 * 5 + 1000 * 8 + 4160 * 30) / 1e6
    assert reply.receipt["cost_usd"] == 0.1333


def test_without_prices_or_a_known_usage_there_is_no_cost() -> None:
    came = answer(data=[{"b64_json": image()}], usage={"output_tokens": "many"})

    assert openai_replies.of_answer(came, "m", 1, PRICES).cost_usd is None
    assert openai_replies.of_answer(came, "m", 1, Options()).outcome is CallOutcome.SUCCEEDED


@pytest.mark.parametrize(
    "fields",
    [
        {"data": None},
        {"data": [{"url": "https://example.com/1.png"}]},
        {"data": [{"b64_json": None}]},
        {"data": [{"b64_json": ""}]},
        {"data": [{"b64_json": image(kind="GIF")}]},
        {"data": [], "usage": "much"},
        {},
    ],
)
def test_an_answer_without_an_image_cannot_be_read(fields: dict[str, Any]) -> None:
    reply = openai_replies.of_answer(answer(**fields), "m", 1, PRICES)

    assert reply.outcome is CallOutcome.UNREADABLE
    assert reply.error is not None
    assert reply.error.code == "provider_answer_unreadable"


@pytest.mark.parametrize(("n", "count"), [(1, 1), (2, 2), (3, 2)])
def test_the_images_of_an_answer_are_used_if_others_are_missing_broken_or_too_many(n: int, count: int) -> None:
    data = [{"b64_json": image()}, {"b64_json": "****"}, {"b64_json": image()}]

    reply = openai_replies.of_answer(answer(data=data), "m", n, PRICES)

    assert (reply.outcome, len(reply.images)) == (CallOutcome.SUCCEEDED, count)


@pytest.mark.parametrize(("quality", "parameter"), [("auto", "medium"), ("high", "high")])
def test_a_request_that_names_no_quality_has_the_catalogues(quality: Quality, parameter: str) -> None:
    options = Options(quality="medium")
    request = image_request("a cat", side=1024, seed=0, steps=1, guidance_scale=0.0, quality=quality)

    assert options.parameters(request) == {"quality": parameter, "moderation": "auto"}
    assert options.parameters(with_changes(request, operation="edit")) == {"quality": parameter}


def test_the_largest_honest_answer_fits() -> None:
    request = image_request("a cat", side=1024, seed=0, steps=1, guidance_scale=0.0)
    noise = Image.effect_noise((1024, 1024), 100).convert("RGBA")
    buffer = io.BytesIO()
    noise.save(buffer, "PNG", compress_level=0)

    assert len(base64.b64encode(buffer.getvalue())) * 3 < max_bytes([request] * 3)


def test_a_worker_without_a_key_or_with_a_wrong_option_says_so() -> None:
    model = Model(id="m", generator="openai_images", microbatch_size=1)
    with pytest.raises(ModelUnavailable, match="SAFELIGHT_OPENAI_API_KEY"):
        build_remote(model, Settings())
    with pytest.raises(ModelUnavailable, match="quality"):
        build_remote(
            model.model_copy(update={"options": {"quality": "best"}}),
            Settings.model_validate({"openai_api_key": "sk-test"}),
        )
