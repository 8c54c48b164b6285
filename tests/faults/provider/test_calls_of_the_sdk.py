"""The official SDK's synchronous calls with OpenAI's models: parameters reach OpenAI, and its answer comes back."""

import base64
import io
from collections.abc import Iterator
from typing import Any

import openai as sdk
import pytest
from PIL import Image

from core.catalog import Model
from tests.faults.provider.calls import CALLED, a_worker, submit
from tests.images import an_image, decode, encode
from tests.openai_stub import MODEL, OpenAIStub
from tests.stack import Stack


@pytest.fixture
def client(service: Stack, openai: OpenAIStub) -> Iterator[sdk.OpenAI]:
    a_worker(service)
    with sdk.OpenAI(base_url=f"{service.url}/v1", api_key="anything") as sdk_client:
        yield sdk_client


def test_an_answer_says_what_openai_counted(service: Stack, client: sdk.OpenAI) -> None:
    answer = client.images.generate(model=MODEL, prompt="a fox", n=2)

    (call,) = service.database.execute(CALLED)
    assert answer.usage is not None
    assert answer.usage.model_dump(exclude_none=True) == call.usage
    assert (answer.usage.total_tokens, answer.usage.input_tokens_details.text_tokens) == (2020, 20)
    assert (answer.quality, answer.size, answer.output_format) == ("medium", "64x64", "png")
    assert [image.b64_json is not None for image in answer.data or ()] == [True, True]  # the default of its name
    assert [image.url for image in answer.data or ()] == [None, None]


@pytest.mark.parametrize("quality", ["low", "high", "medium"])
def test_a_quality_goes_out_and_comes_back(
    service: Stack, client: sdk.OpenAI, openai: OpenAIStub, quality: Any
) -> None:
    generation = client.images.generate(model=MODEL, prompt="a fox", quality=quality)
    edit = client.images.edit(model=MODEL, image=encode(an_image()), prompt="a hat", quality=quality)

    assert [request.parameters["quality"] for request in openai.received] == [quality, quality]
    assert [generation.quality, edit.quality] == [quality, quality]
    job = service.job(str(generation.model_extra and generation.model_extra["job_id"]))
    assert (job["quality"], job["images"][0]["receipt"]["quality"]) == (quality, quality)


def test_what_openai_takes_goes_to_openai(service: Stack, client: sdk.OpenAI, openai: OpenAIStub) -> None:
    generation = client.images.generate(model=MODEL, prompt="a fox", background="transparent", moderation="low")
    images = [encode(an_image(colour=colour)) for colour in ("teal", "red", "blue")]
    edit = client.images.edit(model=MODEL, image=images, prompt="a hat", input_fidelity="high", size="1536x1024")

    sent_generation, sent_edit = openai.received
    assert sent_generation.parameters["background"] == "transparent"
    assert sent_generation.parameters["moderation"] == "low"
    assert (sent_edit.parameters["input_fidelity"], len(sent_edit.images)) == ("high", 3)
    assert [decode(image).getpixel((0, 63)) for image in sent_edit.images[1:]] == [(255, 0, 0), (0, 0, 255)]
    assert (generation.background, "warnings" in (generation.model_extra or {})) == ("transparent", False)
    assert edit.size == "1536x1024"
    content = base64.b64decode(str((generation.data or [])[0].b64_json))
    assert Image.open(io.BytesIO(content)).getpixel((0, 0)) == (200, 80, 40, 100)
    job = service.job(str(edit.model_extra and edit.model_extra["job_id"]))
    assert len(job["reference_images"]) == 2
    assert [warning["param"] for warning in job["warnings"]] == ["size"]


@pytest.mark.parametrize("quality", ["auto", "standard"])
def test_no_quality_of_its_own_is_the_catalogues(client: sdk.OpenAI, openai: OpenAIStub, quality: Any) -> None:
    client.images.generate(model=MODEL, prompt="a fox", quality=quality)

    assert openai.received[0].parameters["quality"] == "medium"


def test_a_quality_that_the_model_lacks_is_refused_with_those_it_has(service: Stack, openai: OpenAIStub) -> None:
    answer = service.client.post("/v1/jobs", json={"prompt": "a fox", "model": MODEL, "quality": "max"})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "quality")
    assert "auto, low, medium, high" in answer.json()["error"]["message"]
    assert service.client.get(f"/v1/models/{MODEL}").json()["qualities"] == ["low", "medium", "high"]


def test_a_job_that_is_tried_again_keeps_its_quality(service: Stack, openai: OpenAIStub) -> None:
    a_worker(service)
    failed_job = service.final(submit(service, "[moderation] a fox", quality="high"))

    retried_job = service.client.post(f"/v1/jobs/{failed_job['id']}/retry").json()

    assert retried_job["quality"] == "high"
    service.final(retried_job["id"])
    assert [request.parameters["quality"] for request in openai.received] == ["high", "high"]


def test_only_a_providers_model_has_qualities() -> None:
    with pytest.raises(ValueError, match="qualities"):
        Model(id="m", generator="fake", qualities=("low",))
