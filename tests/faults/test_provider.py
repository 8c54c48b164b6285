"""OpenAI that refuses, hangs, breaks off or answers nonsense: every job ends, and none is billed twice by us."""

import base64
import io
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy as sa
from PIL import Image

from cli.embedded import EmbeddedValkey
from core.tables import images, job_events, jobs, provider_calls
from tests.openai_stub import DRAWN, KEY, MODEL, WAYS, OpenAIStub, Way, error
from tests.processes import Process
from tests.stack import CATALOG, Stack

OPENAI = f"""
[[models]]
id = "{MODEL}"
generator = "openai_images"
queue = "openai"
operations = ["generation", "edit"]
sizes = ["64x64"]
microbatch = 1
options = {{ quality = "medium", usd_text_input = 5.0, usd_image_input = 8.0, usd_output = 30.0 }}
"""

CALLED = sa.select(provider_calls).order_by(provider_calls.c.started_at)


@pytest.fixture
def openai() -> Iterator[OpenAIStub]:
    with OpenAIStub() as stub:
        yield stub


@pytest.fixture(scope="module")
def running(directory: Path, fresh_database: Callable[[], str], valkey: EmbeddedValkey) -> Iterator[Stack]:
    """A Safelight that offers OpenAI's models; API and sweep run, no worker does yet."""
    with Stack(directory / "openai", fresh_database(), valkey.url) as stack:
        (stack.directory / "catalog.toml").write_text(CATALOG + OPENAI)
        stack.environment |= {
            "SAFELIGHT_OPENAI_API_KEY": KEY,
            "SAFELIGHT_OPENAI_BREAKER_FAILURES": "1000",
            "NO_PROXY": "127.0.0.1",
        }
        stack.api()
        stack.sweep()
        yield stack


@pytest.fixture
def service(running: Stack, openai: OpenAIStub) -> Iterator[Stack]:
    """The same with an empty ledger and an empty shelf, for workers that ask this stub and end with the test."""
    running.database.execute(sa.text("TRUNCATE jobs, files, provider_calls CASCADE"))
    shutil.rmtree(running.directory / "images", ignore_errors=True)
    running.environment["SAFELIGHT_OPENAI_BASE_URL"] = openai.url
    with running.apart():
        yield running


def a_worker(service: Stack, name: str = "remote", concurrency: int = 8, **settings: str) -> Process:
    return service.worker(name, "openai", concurrency, **settings)


def submit(service: Stack, prompt: str, **fields: Any) -> str:
    return str(service.submit(prompt, model=MODEL, **fields)["id"])


def row(service: Stack, job_id: str) -> Any:
    return service.database.execute(sa.select(jobs).where(jobs.c.id == job_id))[0]


def reasons(service: Stack, job_id: str) -> list[str]:
    """Why a job went back to the line, each time."""
    requeued = sa.select(job_events.c.data["reason"].astext).where(
        job_events.c.job_id == job_id, job_events.c.type == "job.requeued"
    )
    return [found[0] for found in service.database.execute(requeued)]


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
    "no pictures": Expected("provider_answer_unreadable", 1, 1),
    "no base 64": Expected("provider_answer_unreadable", 1, 1),
    "no picture": Expected("provider_answer_unreadable", 1, 1),
    "bomb": Expected("provider_answer_unreadable", 1, 1),
}


def test_every_answer_ends_a_job_and_is_asked_for_as_often_as_is_safe(service: Stack, openai: OpenAIStub) -> None:
    worker = a_worker(service, concurrency=32, SAFELIGHT_OPENAI_TIMEOUT="3")
    asked = {way: submit(service, f"[{way}] a cat") for way in MATRIX}
    plain = [submit(service, f"a dog, number {number}") for number in range(8)]

    finals = {way: service.final(job_id) for way, job_id in asked.items()}
    companions = [service.final(job_id) for job_id in plain]
    memory = psutil.Process(worker.pid).memory_info().rss / 2**20

    print(f"\n{'answer':20} {'requests':>8} {'billed':>6}  ends as")
    for way, final in finals.items():
        came = openai.of(f"[{way}] a cat")
        code = None if final["error"] is None else final["error"]["code"]
        billed = sum(openai.by_prompt(request).draws for request in came) if WAYS[way].times is None else 1
        print(f"{way:20} {len(came):8} {billed:6}  {final['status']} {code or ''}")
        expected = MATRIX[way]
        assert (code, len(came)) == (expected.code, expected.requests), (way, final)
        assert billed <= 1, way
        assert row(service, asked[way]).failures == expected.failures, way
    print(f"{len(openai.received)} requests; the worker has {memory:.0f} MB")
    assert [final["status"] for final in companions] == ["completed"] * 8
    assert memory < 300
    assert not worker.has_ended
    calls = service.database.execute(CALLED)
    assert len(calls) == len(openai.received)
    assert all(call.outcome is not None for call in calls)
    once, again = openai.of("[busy once] a cat")
    assert again.at - once.at >= 1.0  # the Retry-After
    first, second, third = openai.of("[503] a cat")
    assert min(second.at - first.at, third.at - second.at) >= 1.0
    assert KEY not in worker.said()


def test_a_picture_is_drawn_as_asked_and_its_call_is_written_down(service: Stack, openai: OpenAIStub) -> None:
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
    assert service.picture(final["images"][1]).startswith(b"\x89PNG")


def test_an_edit_sends_the_picture_and_a_mask_that_is_transparent_where_it_may_draw(
    service: Stack, openai: OpenAIStub
) -> None:
    def url(picture: Image.Image) -> dict[str, str]:
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        return {"image_url": f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"}

    a_worker(service)
    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (0, 0, 32, 64))
    image = Image.new("RGB", (64, 64), "green")
    final = service.final(submit(service, "a hat", operation="edit", image=url(image), mask=url(mask)))

    (request,) = openai.received
    sent = Image.open(io.BytesIO(request.files["mask"]))
    assert final["status"] == "completed"
    assert (request.path, request.parameters["prompt"]) == ("/v1/images/edits", "a hat")
    assert Image.open(io.BytesIO(request.files["image"])).size == (64, 64)
    assert [sent.getpixel((0, 0)), sent.getpixel((63, 0))] == [(0, 0, 0, 0), (0, 0, 0, 255)]


@pytest.mark.parametrize("retry", [False, True])
def test_a_worker_killed_in_mid_call_leaves_no_call_that_is_repeated_unasked(
    service: Stack, openai: OpenAIStub, retry: bool
) -> None:
    count = 32
    victim = a_worker(service, "victim", count)
    asked = [submit(service, f"[held] a cat, number {number}") for number in range(count)]
    openai.until(count)

    victim.kill()
    openai.release()
    a_worker(service, "heir", count, SAFELIGHT_OPENAI_RETRY_UNKNOWN=str(retry))
    finals = [service.final(job_id) for job_id in asked]

    calls = service.database.execute(CALLED)
    print(
        f"\n{count} calls under way at kill -9, retry {retry}: {len(openai.received)} requests, {openai.billed} billed"
    )
    assert [call.outcome for call in calls[:count]] == ["abandoned"] * count
    if retry:
        assert [final["status"] for final in finals] == ["completed"] * count
        assert len(openai.received) == len(calls) == 2 * count
    else:
        assert {final["error"]["code"] for final in finals} == {"provider_outcome_unknown"}
        assert len(openai.received) == len(calls) == count


def test_a_frozen_worker_that_wakes_tells_what_its_call_cost_and_changes_nothing_else(
    service: Stack, openai: OpenAIStub
) -> None:
    frozen = a_worker(service, "frozen")
    job_id = submit(service, "[held] a cat")
    openai.until(1)

    frozen.freeze()
    a_worker(service, "heir")
    final = service.final(job_id)
    before = row(service, job_id)
    openai.release()
    frozen.thaw()
    frozen.until_says("lost for")
    frozen.terminate()

    (call,) = service.database.execute(CALLED)
    assert final["error"]["code"] == "provider_outcome_unknown"
    assert row(service, job_id) == before
    assert (call.outcome, call.cost_usd is not None) == ("succeeded", True)
    assert service.count(images) == 0
    assert len(openai.received) == 1


def test_a_call_longer_than_lease_and_stall_timeout_is_kept(service: Stack, openai: OpenAIStub) -> None:
    a_worker(service)  # the lease is 4 s, a stall is noticed after 5, and the picture takes 8

    final = service.final(submit(service, "[slow] a cat"))

    assert (final["status"], final["attempts"], len(openai.received)) == ("completed", 1, 1)


def test_calls_run_beside_each_other(service: Stack, openai: OpenAIStub) -> None:
    openai.way = lambda _: Way(draws=True, seconds=2.0)
    a_worker(service, concurrency=16)
    began = time.monotonic()
    asked = [submit(service, f"a cat, number {number}") for number in range(32)]

    assert all(service.final(job_id)["status"] == "completed" for job_id in asked)
    seconds = time.monotonic() - began
    print(f"\n32 calls of 2 s each by 16 threads: {seconds:.1f} s, at most {openai.most_at_once} at a time")
    assert openai.most_at_once >= 12
    assert len(openai.received) == openai.billed == 32


def test_a_storm_of_429_costs_no_job_an_attempt(service: Stack, openai: OpenAIStub) -> None:
    count, threads = 24, 8
    storm = error(429, "rate_limit_exceeded", retry_after="1")
    ends = time.monotonic() + 8
    openai.way = lambda _: storm if time.monotonic() < ends else DRAWN
    a_worker(service, concurrency=threads)
    asked = [submit(service, f"a cat, number {number}") for number in range(count)]

    finals = [service.final(job_id) for job_id in asked]

    limited = len(openai.received) - count
    rows = [row(service, job_id) for job_id in asked]
    print(f"\n8 s of 429 with Retry-After 1, {threads} threads: {limited} refused requests, {count} jobs completed")
    assert [final["status"] for final in finals] == ["completed"] * count
    assert {(found.failures, found.crashes) for found in rows} == {(0, 0)}
    assert {reason for job_id in asked for reason in reasons(service, job_id)} == {"provider_rate_limited"}
    assert limited <= 8 * threads  # a burst of at most `threads` each time that the provider allows one
    assert openai.billed == count


def test_a_provider_that_fails_is_left_alone_and_tried_one_call_at_a_time(service: Stack, openai: OpenAIStub) -> None:
    limit, threads, count = 3, 2, 12
    openai.way = lambda _: WAYS["500"]
    a_worker(
        service, concurrency=threads,
        SAFELIGHT_OPENAI_BREAKER_FAILURES=str(limit), SAFELIGHT_OPENAI_BREAKER_PAUSE="0.5", SAFELIGHT_MAX_ATTEMPTS="3",
    )  # fmt: skip
    service.worker("local")
    asked = [submit(service, f"a cat, number {number}") for number in range(count)]
    openai.until(limit + threads)
    local = service.final(service.submit("a cat")["id"])
    openai.until(limit + threads + 2)
    openai.way = lambda _: DRAWN
    finals = [service.final(job_id) for job_id in asked]

    said = [reason for job_id in asked for reason in reasons(service, job_id)]
    completed = sum(final["status"] == "completed" for final in finals)
    # At most `threads` more were under way when the breaker opened; from then on they come one by one.
    tries = [received.at for received in openai.received[limit + threads - 1 : limit + threads + 2]]
    gaps = [later - earlier for earlier, later in pairwise(tries)]
    refused = len(openai.received) - completed
    print(
        f"\nbreaker after {limit}: {refused} failed requests, gaps of {gaps[0]:.1f} and {gaps[1]:.1f} s, "
        f"{said.count('provider_paused')} waits; {completed} of {count} jobs completed"
    )
    assert local["status"] == "completed"
    assert min(gaps) >= 0.45
    assert "provider_paused" in said
    assert refused <= limit + threads + 3
    assert completed >= count - refused // 3  # only who failed three times itself is lost


def test_pictures_that_were_paid_for_are_stored_once_the_store_is_back(service: Stack, openai: OpenAIStub) -> None:
    blocked = service.directory / "images"
    blocked.mkdir(exist_ok=True)
    (blocked / "jobs").write_text("in the way")
    worker = a_worker(service)
    job_id = submit(service, "a cat")
    worker.until_says("not stored yet")

    (blocked / "jobs").unlink()

    final = service.final(job_id)
    assert (final["status"], final["attempts"], len(openai.received)) == ("completed", 1, 1)
    assert service.picture(final["images"][0]).startswith(b"\x89PNG")


def test_pictures_lost_between_answer_and_store_are_not_paid_for_again(service: Stack, openai: OpenAIStub) -> None:
    blocked = service.directory / "images"
    blocked.mkdir(exist_ok=True)
    (blocked / "jobs").write_text("in the way")
    victim = a_worker(service, "victim")
    job_id = submit(service, "a cat")
    victim.until_says("not stored yet")

    victim.kill()
    (blocked / "jobs").unlink()
    a_worker(service, "heir")

    assert service.final(job_id)["error"]["code"] == "provider_answer_lost"
    assert len(openai.received) == 1


def test_a_wish_to_stop_drops_the_answer_of_a_call_under_way_and_records_its_cost(
    service: Stack, openai: OpenAIStub
) -> None:
    worker = a_worker(service)
    job_id = submit(service, "[held] a cat")
    openai.until(1)

    service.client.post(f"/v1/jobs/{job_id}/cancel")
    final = service.final(job_id)
    openai.release()
    worker.terminate()

    (call,) = service.database.execute(CALLED)
    assert final["status"] == "cancelled"
    assert (call.outcome, call.cost_usd is not None) == ("succeeded", True)
    assert service.count(images) == 0


def test_a_worker_told_to_go_waits_for_its_call(service: Stack, openai: OpenAIStub) -> None:
    worker = a_worker(service, SAFELIGHT_DRAIN_TIMEOUT="0.5")
    openai.way = lambda _: Way(draws=True, seconds=3.0)
    job_id = submit(service, "a cat")
    openai.until(1)

    assert worker.terminate() == 0

    assert service.job(job_id)["status"] == "completed"


def test_a_worker_told_to_go_waits_for_the_call_of_its_lookout_too(service: Stack, openai: OpenAIStub) -> None:
    openai.way = lambda request: Way(draws=True, seconds=3.0 if request.prompt == "soon" else 8.0)
    worker = a_worker(service, concurrency=1)
    asked = [submit(service, prompt) for prompt in ("soon", "later")]
    openai.until(2)  # one by the thread, one by the lookout that found it waiting

    assert worker.terminate() == 0

    assert [service.job(job_id)["status"] for job_id in asked] == ["completed"] * 2


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
    assert "sk-wrong" not in worker.said()
    assert len(openai.received) == 1


def test_what_openai_has_no_word_for_is_refused(service: Stack) -> None:
    for field, value in {"seed": 7, "steps": 20, "guidance_scale": 5.0, "negative_prompt": "rain"}.items():
        body = {"prompt": "a cat", "model": MODEL, field: value}
        answer = service.client.post("/v1/jobs", json=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)


def test_a_failed_job_can_be_sent_again_by_its_owner(service: Stack, openai: OpenAIStub) -> None:
    a_worker(service)
    failed = service.final(submit(service, "[502] a cat"))
    openai.way = lambda _: DRAWN

    again = service.client.post(f"/v1/jobs/{failed['id']}/retry").json()

    assert service.final(again["id"])["status"] == "completed"
    assert len(openai.received) == 2


def test_without_a_key_the_models_are_not_offered(own: Stack) -> None:
    (own.directory / "catalog.toml").write_text(CATALOG + OPENAI)
    own.api()

    listed = own.client.get("/v1/models").json()["data"]
    asked = own.client.post("/v1/jobs", json={"prompt": "a cat", "model": MODEL})
    fetched = own.client.get(f"/v1/models/{MODEL}")

    assert MODEL not in {model["id"] for model in listed}
    assert (asked.status_code, asked.json()["error"]["code"]) == (400, "model_not_found")
    assert "SAFELIGHT_OPENAI_API_KEY" in asked.json()["error"]["message"]
    assert fetched.status_code == 404
    assert "SAFELIGHT_OPENAI_API_KEY" in fetched.json()["error"]["message"]
