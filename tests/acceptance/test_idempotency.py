"""`Idempotency-Key` on the synchronous calls: the same request with the same key is one job, whatever happens."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from cli.local.embedded import EmbeddedValkey
from core.ids import new_id
from tests.images import a_mask, an_image, encode
from tests.receiver import Receiver
from tests.stack import Stack, body
from tests.waiting import PATIENCE, until

IMPATIENT = httpx.Timeout(PATIENCE, read=0.5)
"""Of a client that goes away before its image is there."""
GENERATIONS = "/v1/images/generations"
IMAGE = encode(an_image())

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

Raw = Callable[[openai.OpenAI, dict[str, str]], Any]


@pytest.fixture
def key() -> dict[str, str]:
    """A header that no other test has sent."""
    return {"idempotency-key": new_id("key")}


def post(stack: Stack, headers: dict[str, str], path: str = GENERATIONS, **fields: Any) -> httpx.Response:
    return stack.client.post(path, json={"prompt": "once", **fields}, headers=headers)


def job_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(body(answer)["job_id"])


@pytest.mark.parametrize(
    "call",
    [
        lambda client, key: client.images.with_raw_response.generate(
            prompt="a cat", n=2, response_format="b64_json", extra_headers=key
        ),
        lambda client, key: client.images.with_raw_response.edit(
            image=IMAGE, mask=encode(a_mask()), prompt="a dog", response_format="b64_json", extra_headers=key
        ),
        lambda client, key: client.images.with_raw_response.create_variation(
            image=IMAGE, response_format="b64_json", extra_headers=key
        ),
    ],
    ids=["generate", "edit", "create_variation"],
)
def test_the_sdk_that_asks_twice_with_a_key_gets_the_same_images(
    safelight: Stack, client: openai.OpenAI, key: dict[str, str], call: Raw
) -> None:
    before = safelight.count()

    first, second = call(client, key), call(client, key)

    assert first.parse() == second.parse()
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert safelight.count() == before + 1


def test_a_link_that_is_given_again_opens(safelight: Stack, key: dict[str, str]) -> None:
    post(safelight, key)

    assert httpx.get(body(post(safelight, key))["data"][0]["url"]).status_code == 200


def test_calls_at_once_wait_for_one_job(safelight: Stack, key: dict[str, str]) -> None:
    before = safelight.count()

    async def all_of_them() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=safelight.url, timeout=PATIENCE, headers=key) as client:
            request = {"model": "slow", "prompt": "a cat", "steps": 10}
            return await asyncio.gather(*(client.post(GENERATIONS, json=request) for _ in range(20)))

    answers = asyncio.run(all_of_them())

    assert {answer.status_code for answer in answers} <= {200, 409}
    assert len({job_of(answer) for answer in answers if answer.status_code == 200}) == 1
    assert [answer.headers.get("idempotent-replayed") for answer in answers].count(None) >= 1
    assert safelight.count() == before + 1


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (GENERATIONS, {"prompt": "twice"}),
        (GENERATIONS, {"response_format": "b64_json"}),
        ("/v1/jobs", {}),
        ("/generate-image", {}),
    ],
)
def test_a_key_used_for_another_request_is_refused(
    safelight: Stack, key: dict[str, str], path: str, fields: dict[str, str]
) -> None:
    post(safelight, key)
    before = safelight.count()

    answer = post(safelight, key, path, **fields)

    assert (answer.status_code, body(answer)["error"]["code"]) == (422, "idempotency_key_reused")
    assert answer.headers["x-should-retry"] == "false"
    assert safelight.count() == before


def test_another_image_is_another_request(client: openai.OpenAI, key: dict[str, str]) -> None:
    client.images.edit(image=IMAGE, prompt="a dog", extra_headers=key)

    with pytest.raises(openai.UnprocessableEntityError) as caught:
        client.images.edit(image=encode(an_image(colour="navy")), prompt="a dog", extra_headers=key)

    assert caught.value.code == "idempotency_key_reused"


def test_a_key_is_free_again_after_a_request_that_was_wrong(safelight: Stack, key: dict[str, str]) -> None:
    assert post(safelight, key, size="1x1").status_code == 400

    answer = post(safelight, key, size="64x64")

    assert job_of(answer)
    assert "idempotent-replayed" not in answer.headers


def test_who_did_not_wait_may_wait_later(safelight: Stack, key: dict[str, str]) -> None:
    request: dict[str, Any] = {"model": "slow", "steps": 15}
    first = post(safelight, key | {"prefer": "respond-async"}, **request)
    second = post(safelight, key | {"prefer": "respond-async"}, **request)

    answer = post(safelight, key, **request)
    last = post(safelight, key | {"prefer": "respond-async"}, **request)

    assert [first.status_code, second.status_code, last.status_code] == [202] * 3
    assert (second.headers["idempotent-replayed"], last.headers["preference-applied"]) == ("true", "respond-async")
    assert {body(first)["id"], body(second)["id"], body(last)["id"]} == {job_of(answer)}
    assert body(second)["status"] in ("queued", "in_progress")
    assert body(last)["status"] == "completed"  # as it is now, not as it was


def test_a_stream_is_given_again(safelight: Stack, client: openai.OpenAI, key: dict[str, str]) -> None:
    def last() -> Any:
        with client.images.generate(prompt="a cat", stream=True, extra_headers=key) as stream:
            return list(stream)[-1]

    before = safelight.count()
    assert last() == last()
    assert safelight.count() == before + 1


def test_generate_image_may_be_called_twice_with_a_key(safelight: Stack, key: dict[str, str]) -> None:
    first, second = (post(safelight, key, "/generate-image") for _ in range(2))

    assert job_of(first) == job_of(second)
    assert second.headers["idempotent-replayed"] == "true"


def test_a_failure_is_the_answer_again(safelight: Stack, key: dict[str, str]) -> None:
    before = safelight.count()

    answers = [post(safelight, key, prompt="[refuse] this") for _ in range(2)]

    assert [body(answer)["error"]["code"] for answer in answers] == ["generation_failed"] * 2
    assert safelight.count() == before + 1


def test_a_job_that_has_been_deleted_is_not_generated_again(safelight: Stack, key: dict[str, str]) -> None:
    job_id = job_of(post(safelight, key))
    assert safelight.client.delete(f"/v1/jobs/{job_id}").status_code == 200

    assert post(safelight, key).status_code == 404


@pytest.mark.parametrize("name", ["x" * 256, "", "ü"])
def test_a_key_of_strange_characters_is_refused(safelight: Stack, name: str) -> None:
    answer = safelight.client.post(
        GENERATIONS, json={"prompt": "once"}, headers=[(b"idempotency-key", name.encode("latin-1"))]
    )

    assert (answer.status_code, body(answer)["error"]["param"]) == (400, "Idempotency-Key")


# Clients that go away


@pytest.fixture(scope="module")
def hasty(directory: Path, fresh_database: Callable[[], str], valkey: EmbeddedValkey) -> Iterator[Stack]:
    """A Safelight that gives up a job half a second after its client went away."""
    settings = {"SAFELIGHT_SYNC_GRACE": "0.5", "SAFELIGHT_MAX_QUEUE_DEPTH": "2"}
    with Stack(directory / "hasty", fresh_database(), valkey.url, **settings) as stack:
        for start in (stack.api, stack.worker, stack.deliver):
            start()
        yield stack


def break_off(stack: Stack, headers: dict[str, str], **fields: object) -> None:
    with pytest.raises(httpx.ReadTimeout):
        stack.client.post(GENERATIONS, json={"prompt": "once", **fields}, headers=headers, timeout=IMPATIENT)


def test_a_client_that_broke_off_comes_back_by_its_key(hasty: Stack, key: dict[str, str]) -> None:
    request: dict[str, Any] = {"model": "slow", "steps": 20}
    break_off(hasty, key, **request)
    break_off(hasty, key | {"x-stainless-retry-count": "1"}, **request)

    answer = post(hasty, key, **request)

    assert answer.headers["idempotent-replayed"] == "true"
    assert hasty.job(job_of(answer))["status"] == "completed"
    assert hasty.count() == 1


def test_a_job_with_a_key_completes_without_its_client(hasty: Stack, key: dict[str, str]) -> None:
    with Receiver() as receiver:
        request: dict[str, Any] = {"model": "slow", "steps": 30, "webhook": {"url": receiver.url()}}  # 3 s of work
        break_off(hasty, key, **request)
        (delivery,) = receiver.until(1)

    assert json.loads(delivery.body)["type"] == "job.completed"
    assert job_of(post(hasty, key, **request)) == json.loads(delivery.body)["data"]["id"]


def test_nobody_without_the_key_is_led_to_its_job(hasty: Stack, key: dict[str, str]) -> None:
    before = hasty.count()
    break_off(hasty, key, model="elsewhere")
    break_off(hasty, {"x-stainless-retry-count": "1"}, model="elsewhere")
    until(lambda: hasty.count() == before + 2)

    hasty.submit(model="elsewhere")
    break_off(hasty, key, model="elsewhere")  # the line is full now, but this one stands in it already
    assert post(hasty, {"idempotency-key": new_id("key")}, model="elsewhere").status_code == 429
    assert hasty.count() == before + 3
