"""Safelight's own parameters beside OpenAI's: in `extra_body`, in a JSON body and in a form."""

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from standardwebhooks import Webhook

from tests.images import an_image, encode
from tests.receiver import Receiver
from tests.stack import Stack, body

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
IMAGE = encode(an_image())
OWN: dict[str, Any] = {
    "metadata": {"order": "1831", "a.b": "ü"},
    "priority": -3,
    "seed": 7,
    "steps": 3,
    "guidance_scale": 2.5,
    "expires_after": 600,
    "postprocess": {"denoise": 0.5, "upscale": 2},
}

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

Call = Callable[[openai.OpenAI, dict[str, Any]], openai.types.ImagesResponse]


def generate(client: openai.OpenAI, extra: dict[str, Any]) -> openai.types.ImagesResponse:
    return client.images.generate(prompt="a cat", extra_body=extra)


def edit(client: openai.OpenAI, extra: dict[str, Any]) -> openai.types.ImagesResponse:
    return client.images.edit(image=IMAGE, prompt="a dog", extra_body=extra)


def vary(client: openai.OpenAI, extra: dict[str, Any]) -> openai.types.ImagesResponse:
    return client.images.create_variation(image=IMAGE, extra_body=extra)


from_json_and_forms = pytest.mark.parametrize("call", [generate, edit, vary])


def job_of(safelight: Stack, answer: openai.types.ImagesResponse) -> dict[str, Any]:
    assert answer.model_extra is not None
    return safelight.job(answer.model_extra["job_id"])


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        yield server


@from_json_and_forms
def test_they_are_the_jobs(safelight: Stack, client: openai.OpenAI, call: Call) -> None:
    parameters = OWN if call is vary else OWN | {"negative_prompt": "rain"}

    answer = call(client, parameters)

    job = job_of(safelight, answer)
    job_fields = {name: value for name, value in parameters.items() if name not in ("expires_after", "postprocess")}
    assert {name: job[name] for name in job_fields} == job_fields
    assert job["expires_at"] - job["created_at"] == 600
    assert {name: value for name, value in job["postprocess"].items() if value} == parameters["postprocess"]
    assert answer.size == "128x128"  # 64 pixels, doubled


@from_json_and_forms
def test_a_webhook_hears_how_the_call_ended(
    safelight: Stack, client: openai.OpenAI, receiver: Receiver, call: Call
) -> None:
    events = ["job.started", "job.completed"]
    answer = call(client, {"webhook": {"url": receiver.url("/call"), "events": events, "secret": SECRET}})

    requests = receiver.until(2)

    job = job_of(safelight, answer)
    assert job["webhook"] == {"url": receiver.url("/call"), "events": events}
    assert {json.loads(request.body)["data"]["id"] for request in requests} == {job["id"]}
    assert [json.loads(request.body)["type"] for request in requests] == events
    for request in requests:
        Webhook(SECRET).verify(request.body, dict(request.headers))


@from_json_and_forms
def test_a_webhook_that_only_names_its_address_hears_the_end(
    safelight: Stack, client: openai.OpenAI, receiver: Receiver, call: Call
) -> None:
    call(client, {"webhook": {"url": receiver.url()}})

    (request,) = receiver.until(1)
    assert json.loads(request.body)["type"] == "job.completed"
    assert "webhook-signature" not in request.headers


@from_json_and_forms
@pytest.mark.parametrize(
    ("webhook", "param"),
    [
        ({"url": "http://10.0.0.1/"}, "webhook.url"),
        ({"url": "ftp://example.com/"}, "webhook.url"),
        ({"url": "https://example.com/", "events": ["job.dreamt"]}, "webhook.events.0"),
        ({"url": "https://example.com/", "secret": "mine"}, "webhook.secret"),
        ({"url": "https://example.com/", "header": "x"}, "webhook.header"),
        ({"events": ["job.completed"]}, "webhook.url"),
        ("https://example.com/", "webhook"),
    ],
)
def test_a_webhook_that_is_wrong_is_refused_by_name(
    safelight: Stack, client: openai.OpenAI, call: Call, webhook: Any, param: str
) -> None:
    before = safelight.count()

    with pytest.raises(openai.BadRequestError) as caught:
        call(client, {"webhook": webhook})

    assert caught.value.param == param
    assert safelight.count() == before


@pytest.mark.parametrize(
    ("name", "param"),
    [
        ("webhook[url][]", "webhook.url"),
        ("webhook[events]", "webhook.events"),
        ("webhook[events][][0]", "webhook[events][][0]"),
        ("webhook[events][first]", "webhook.events"),
        ("seed[]", "seed"),
        ("seed[a][b]", "seed"),
        ("postprocess[upscale][x]", "postprocess.upscale"),
        ("postprocess[upscale][]", "postprocess.upscale"),
        ("a[b][c][d][e][f][g]", "a[b][c][d][e][f][g]"),
        ("[]", "[]"),
    ],
)
def test_a_form_whose_brackets_mean_nothing_is_refused(safelight: Stack, name: str, param: str) -> None:
    fields = {"prompt": "a dog", "webhook[url]": "https://example.com/"} if "url" not in name else {"prompt": "a dog"}

    answer = safelight.client.post("/v1/images/edits", data=fields | {name: "1"}, files={"image": IMAGE})

    assert (answer.status_code, body(answer)["error"]["param"]) == (400, param)


def test_a_field_that_is_given_twice_is_refused(safelight: Stack) -> None:
    for names in (["seed", "seed"], ["seed", "seed[]"], ["seed", "seed[a]"], ["seed[a]", "seed"]):
        parts: list[tuple[str, tuple[str | None, str | bytes]]] = [(name, (None, "1")) for name in names]
        parts += [("prompt", (None, "x")), ("image", ("a.png", IMAGE))]
        answer = safelight.client.post("/v1/images/edits", files=parts)

        assert (answer.status_code, body(answer)["error"]["param"]) == (400, names[1])


def test_what_a_listed_image_does_not_have_is_refused_by_name(safelight: Stack) -> None:
    fields = {"prompt": "a dog", "images": [{"file_id": "file-1", "name": "x"}]}

    answer = safelight.client.post("/v1/images/edits", json=fields)

    assert (answer.status_code, body(answer)["error"]["param"]) == (400, "images.0.name")
