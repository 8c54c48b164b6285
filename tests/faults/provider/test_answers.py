"""OpenAI refuses, hangs, breaks off or answers nonsense: every job ends, and none is billed twice."""

import base64
import io
from dataclasses import dataclass

import psutil
import pytest
from PIL import Image

from tests.faults.provider.calls import CALLED, OPENAI, a_worker, row, submit
from tests.openai_stub import DRAWN, KEY, MODEL, WAYS, OpenAIStub
from tests.stack import CATALOG, Stack
from tests.waiting import FACTOR


@dataclass(frozen=True)
class Expected:
    """How a job ends, and how often the provider is asked for it."""

    code: str | None
    requests: int
    failures: int = 0


MATRIX = {
    "busy once": Expected(None, 2),
    "used up": Expected(None, 1),
    "500": Expected("provider_unavailable", 3, 3),
    "500 once": Expected(None, 2, 1),
    "503": Expected("provider_unavailable", 3, 3),
    "408": Expected("provider_unavailable", 3, 3),
    "502": Expected("provider_outcome_unknown", 1, 1),
    "504": Expected("provider_outcome_unknown", 1, 1),
    "moderation": Expected("content_policy_violation", 1, 1),
    "bad request": Expected("provider_refused", 1, 1),
    "401": Expected("provider_authentication", 1, 1),
    "403": Expected("provider_authentication", 1, 1),
    "quota": Expected("provider_insufficient_quota", 1, 1),
    "hang": Expected("provider_outcome_unknown", 1, 1),
    "cut before headers": Expected("provider_outcome_unknown", 1, 1),
    "cut amid body": Expected("provider_outcome_unknown", 1, 1),
    "trickle": Expected("provider_outcome_unknown", 1, 1),
    "flood": Expected("provider_answer_unreadable", 1, 1),
    "no json": Expected("provider_answer_unreadable", 1, 1),
    "no images": Expected("provider_answer_unreadable", 1, 1),
    "no base 64": Expected("provider_answer_unreadable", 1, 1),
    "no image": Expected("provider_answer_unreadable", 1, 1),
    "half": Expected(None, 1),  # and a NUL, which Postgres would refuse
    "bomb": Expected("provider_answer_unreadable", 1, 1),
}


def test_every_answer_ends_a_job_and_is_asked_for_as_often_as_is_safe(service: Stack, openai: OpenAIStub) -> None:
    worker = a_worker(service, concurrency=32, SAFELIGHT_OPENAI_TIMEOUT=str(4 * FACTOR))
    job_ids = {way: submit(service, f"[{way}] a cat") for way in MATRIX}
    companion_ids = [submit(service, f"a dog, number {number}") for number in range(8)]

    finals = {way: service.final(job_id) for way, job_id in job_ids.items()}
    companions = [service.final(job_id) for job_id in companion_ids]
    memory = psutil.Process(worker.pid).memory_info().rss / 2**20

    print(f"\n{'answer':20} {'requests':>8} {'billed':>6}  ends as")
    for way, final in finals.items():
        came = openai.of(f"[{way}] a cat")
        code = None if final["error"] is None else final["error"]["code"]
        billed = sum(openai.by_prompt(request).draws for request in came) if WAYS[way].times is None else 1
        print(f"{way:20} {len(came):8} {billed:6}  {final['status']} {code or ''}")
        outcome = MATRIX[way]
        assert (code, len(came)) == (outcome.code, outcome.requests), (way, final)
        assert billed <= 1, way
        assert row(service, job_ids[way]).failures == outcome.failures, way
    print(f"{len(openai.received)} requests; the worker has {memory:.0f} MB")
    assert [final["status"] for final in companions] == ["completed"] * 8
    assert memory < 300
    assert not worker.has_ended
    calls = service.database.execute(CALLED)
    assert len(calls) == len(openai.received)
    assert all(call.outcome is not None for call in calls)
    first_request, second_request = openai.of("[busy once] a cat")
    assert second_request.at - first_request.at >= 1.0  # the Retry-After
    first, second, third = openai.of("[503] a cat")
    assert min(second.at - first.at, third.at - second.at) >= 1.0
    assert KEY not in worker.output()


def test_an_image_is_generated_as_requested_and_its_call_is_recorded(service: Stack, openai: OpenAIStub) -> None:
    a_worker(service)
    final = service.final(submit(service, "a fox", n=2))

    (call,) = service.database.execute(CALLED)
    (request,) = openai.received
    assert final["status"] == "completed"
    assert request.path == "/v1/images/generations"
    assert request.parameters == {
        "model": MODEL, "prompt": "a fox", "n": 2, "size": "64x64", "background": "opaque", "output_format": "png",
        "quality": "medium", "moderation": "auto",
    }  # fmt: skip
    assert request.headers["x-client-request-id"] == call.id
    assert request.headers["x-stainless-retry-count"] == "0"
    assert (call.outcome, call.http_status, call.n) == ("succeeded", 200, 2)
    assert float(call.cost_usd) == pytest.approx(20 * 5 / 1e6 + 2000 * 30 / 1e6)
    receipt = final["images"][0]["receipt"]
    assert receipt["cost_usd"] == float(call.cost_usd)
    assert receipt["provider_request_id"] == call.provider_request_id == "req_1"
    assert "seed" not in receipt
    assert len(final["images"]) == 2
    assert service.image(final["images"][1]).startswith(b"\x89PNG")


def test_an_edit_sends_the_image_and_a_mask_that_is_transparent_where_it_may_draw(
    service: Stack, openai: OpenAIStub
) -> None:
    def url(pixels: Image.Image) -> dict[str, str]:
        buffer = io.BytesIO()
        pixels.save(buffer, "PNG")
        return {"image_url": f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"}

    a_worker(service)
    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (0, 0, 32, 64))
    image = Image.new("RGB", (64, 64), "green")
    final = service.final(submit(service, "a hat", operation="edit", image=url(image), mask=url(mask)))

    (request,) = openai.received
    mask_sent = Image.open(io.BytesIO(request.files["mask"]))
    assert final["status"] == "completed"
    assert (request.path, request.parameters["prompt"]) == ("/v1/images/edits", "a hat")
    assert Image.open(io.BytesIO(request.files["image"])).size == (64, 64)
    assert [mask_sent.getpixel((0, 0)), mask_sent.getpixel((63, 0))] == [(0, 0, 0, 0), (0, 0, 0, 255)]


def test_a_provider_that_cannot_be_reached_was_not_asked(service: Stack, openai: OpenAIStub) -> None:
    a_worker(service, SAFELIGHT_OPENAI_BASE_URL="http://127.0.0.1:9/v1")  # the discard port: nobody listens

    final = service.final(submit(service, "a cat"))

    assert (final["error"]["code"], final["attempts"]) == ("provider_unavailable", 3)
    assert {call.outcome for call in service.database.execute(CALLED)} == {"failed"}
    assert openai.received == []


def test_a_wrong_key_says_which_setting_to_change(service: Stack, openai: OpenAIStub) -> None:
    worker = a_worker(service, SAFELIGHT_OPENAI_API_KEY="sk-wrong")

    final = service.final(submit(service, "a cat"))

    assert final["error"]["code"] == "provider_authentication"
    assert "SAFELIGHT_OPENAI_API_KEY" in final["error"]["message"]
    assert "sk-wrong" not in worker.output()
    assert len(openai.received) == 1


def test_what_openai_has_no_word_for_is_refused(service: Stack) -> None:
    for field, value in {"seed": 7, "steps": 20, "guidance_scale": 5.0, "negative_prompt": "rain"}.items():
        body = {"prompt": "a cat", "model": MODEL, field: value}
        answer = service.client.post("/v1/jobs", json=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)


def test_a_failed_job_can_be_sent_again_by_its_owner(service: Stack, openai: OpenAIStub) -> None:
    a_worker(service)
    failed_job = service.final(submit(service, "[502] a cat"))
    openai.way = lambda _: DRAWN

    retried_job = service.client.post(f"/v1/jobs/{failed_job['id']}/retry").json()

    assert service.final(retried_job["id"])["status"] == "completed"
    assert len(openai.received) == 2


def test_without_a_key_the_models_are_not_offered(own: Stack) -> None:
    (own.directory / "catalog.toml").write_text(CATALOG + OPENAI)
    own.api()

    models = own.client.get("/v1/models").json()["data"]
    answer = own.client.post("/v1/jobs", json={"prompt": "a cat", "model": MODEL})
    fetched = own.client.get(f"/v1/models/{MODEL}")

    assert MODEL not in {model["id"] for model in models}
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "model_not_found")
    assert "SAFELIGHT_OPENAI_API_KEY" in answer.json()["error"]["message"]
    assert fetched.status_code == 404
    assert "SAFELIGHT_OPENAI_API_KEY" in fetched.json()["error"]["message"]
