"""OpenAI's previews are passed on, and a call whose stream breaks is not repeated."""

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import openai as sdk
import pytest
from PIL import Image

from tests.faults.provider.calls import CALLED, a_worker, row, submit
from tests.images import an_image, encode
from tests.openai_stub import MODEL, OpenAIStub
from tests.stack import Stack
from tests.waiting import FACTOR


@pytest.fixture
def client(service: Stack, openai: OpenAIStub) -> Iterator[sdk.OpenAI]:
    a_worker(service)
    with sdk.OpenAI(base_url=f"{service.url}/v1", api_key="anything") as sdk_client:
        yield sdk_client


def red(event: Any) -> int:
    """How bright an image of the stub is."""
    with Image.open(io.BytesIO(base64.b64decode(event.b64_json))) as image:
        pixel: Any = image.convert("RGB").getpixel((5, 5))
    return int(pixel[0])


def test_previews_come_before_the_image(service: Stack, client: sdk.OpenAI, openai: OpenAIStub) -> None:
    with client.images.generate(
        model=MODEL, prompt="[held] a fox", stream=True, partial_images=3, quality="high"
    ) as stream:
        first = next(stream)
        openai.release()  # only now: the first preview came before the image
        *previews, last = [first, *stream]

    (request,) = openai.received
    assert (request.parameters["stream"], request.parameters["partial_images"]) == (True, 3)
    assert [preview.type for preview in previews] == ["image_generation.partial_image"] * 3
    assert [
        preview.partial_image_index for preview in previews if preview.type == "image_generation.partial_image"
    ] == [0, 1, 2]
    assert [round(red(preview), -1) for preview in previews] == [50, 100, 150]
    assert last.type == "image_generation.completed"
    assert (red(last), last.quality, last.usage.total_tokens) == (200, "high", 1020)
    (call,) = service.database.execute(CALLED)
    assert (call.outcome, call.provider_request_id, call.cost_usd is not None) == ("succeeded", "req_1", True)


def test_an_edit_is_shown_too(client: sdk.OpenAI, openai: OpenAIStub) -> None:
    with client.images.edit(
        model=MODEL, image=encode(an_image()), prompt="a hat", stream=True, partial_images=2
    ) as stream:
        events = list(stream)

    (request,) = openai.received
    assert (request.path, request.parameters["partial_images"]) == ("/v1/images/edits", "2")
    assert [event.type for event in events] == ["image_edit.partial_image"] * 2 + ["image_edit.completed"]


def test_a_jobs_own_events_carry_the_previews(service: Stack, openai: OpenAIStub) -> None:
    a_worker(service)
    job_id = submit(service, "[held] a fox", partial_images=2)

    preview = service.until(job_id, "preview")
    openai.release()

    assert (preview["index"], preview["partial_image_index"], preview["step"], preview["steps"]) == (0, 0, 1, 3)
    assert service.final(job_id)["status"] == "completed"


def test_a_stream_without_previews_is_not_requested_from_openai(client: sdk.OpenAI, openai: OpenAIStub) -> None:
    with client.images.generate(model=MODEL, prompt="a fox", stream=True) as stream:
        (only,) = stream

    assert only.type == "image_generation.completed"
    assert "stream" not in openai.received[0].parameters


def test_previews_of_several_images_are_refused(service: Stack) -> None:
    fields = {"prompt": "a fox", "model": MODEL, "n": 2, "partial_images": 1}
    answer = service.client.post("/v1/jobs", json=fields)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "partial_images")


@dataclass(frozen=True, slots=True)
class End:
    """How a call ended: in the database of calls, and for the job; and how often OpenAI was asked."""

    outcome: str
    code: str | None
    requests: int = 1


UNKNOWN = End("unknown", "provider_outcome_unknown")
UNREADABLE = End("unreadable", "provider_answer_unreadable")
MATRIX = {
    "cut before headers": UNKNOWN,
    "cut amid body": UNKNOWN,
    "stream ends": UNKNOWN,
    "stream fails": UNKNOWN,
    "stream fails flatly": UNKNOWN,
    "stream number": UNKNOWN,
    "stream of previews": UNKNOWN,
    "stream trickles": UNKNOWN,
    "stream floods": UNREADABLE,
    "trickle": End("succeeded", None),  # the image was there before
    "flood": End("succeeded", None),
    "hang": UNKNOWN,
    "502": UNKNOWN,
    "stream refused": End("refused", "content_policy_violation"),
    "moderation": End("refused", "content_policy_violation"),
    "stream no json": UNREADABLE,
    "stream no image": UNREADABLE,
    "stream null": UNREADABLE,
    "no json": UNREADABLE,
    "500": End("failed", "provider_unavailable", requests=3),
    "busy once": End("succeeded", None, requests=2),
}


def test_no_stream_that_broke_is_asked_for_again(service: Stack, openai: OpenAIStub) -> None:
    a_worker(service, concurrency=32, SAFELIGHT_OPENAI_TIMEOUT=str(4 * FACTOR))
    job_ids = {way: submit(service, f"[{way}] a cat", partial_images=2) for way in MATRIX}

    finals = {way: service.final(job_id) for way, job_id in job_ids.items()}

    calls = {call.job_id: call for call in service.database.execute(CALLED)}
    for way, final in finals.items():
        code = None if final["error"] is None else final["error"]["code"]
        end = End(calls[job_ids[way]].outcome, code, len(openai.of(f"[{way}] a cat")))
        print(f"{way:22} {end.requests} requests  {end.outcome:10} {end.code or ''}")
        assert end == MATRIX[way], way
        assert row(service, job_ids[way]).crashes == 0


def test_a_worker_killed_amid_a_stream_leaves_no_call_that_is_repeated(service: Stack, openai: OpenAIStub) -> None:
    victim = a_worker(service, "victim")
    job_id = submit(service, "[held] a cat", partial_images=1)
    service.until(job_id, "preview")

    victim.kill()
    openai.release()
    a_worker(service, "heir")

    assert service.final(job_id)["error"]["code"] == "provider_outcome_unknown"
    assert [call.outcome for call in service.database.execute(CALLED)] == ["abandoned"]
    assert len(openai.received) == 1
