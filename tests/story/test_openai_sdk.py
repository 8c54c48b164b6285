"""The official `openai` SDK draws pictures here by another base URL, and nothing else."""

import asyncio
import base64
import io

import httpx
import openai
import pytest
from PIL import Image

from tests.stack import Stack


def test_images_generate_answers_with_links_that_open(safelight: Stack) -> None:
    with openai.OpenAI(base_url=f"{safelight.url}/v1", api_key="anything") as client:
        answer = client.images.generate(model="dall-e-2", prompt="a cat", n=2, size="256x256")

    assert answer.data is not None
    assert len(answer.data) == 2
    for image in answer.data:
        picture = Image.open(io.BytesIO(httpx.get(str(image.url)).content))
        assert picture.size == (256, 256)
    job = safelight.job(str(answer.model_extra and answer.model_extra["job_id"]))
    assert (job["status"], job["model"], len(job["images"])) == ("completed", "fake", 2)


async def _generate(url: str) -> openai.types.ImagesResponse:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="anything") as client:
        return await client.images.generate(
            prompt="a dog", response_format="b64_json", user="ada", extra_body={"seed": 3, "steps": 2}
        )


def test_our_own_parameters_ride_along_and_bytes_come_in_base64(safelight: Stack) -> None:
    answer = asyncio.run(_generate(safelight.url))

    assert answer.data is not None
    (image,) = answer.data
    assert Image.open(io.BytesIO(base64.b64decode(str(image.b64_json)))).format == "PNG"
    assert image.model_extra is not None
    assert image.model_extra["seed"] == 3
    assert answer.model_extra is not None
    job = safelight.job(answer.model_extra["job_id"])
    assert (job["seed"], job["steps"], job["metadata"]) == (3, 2, {"user": "ada"})


def test_what_is_wrong_is_the_sdks_own_exception(safelight: Stack) -> None:
    with (
        openai.OpenAI(base_url=f"{safelight.url}/v1", api_key="anything") as client,
        pytest.raises(openai.BadRequestError) as caught,
    ):
        client.images.generate(prompt="a cat", quality="hd")

    assert (caught.value.param, caught.value.code) == ("quality", "unknown_parameter")
    assert str(caught.value.request_id).startswith("req_")


def test_a_job_that_fails_is_the_calls_error_and_is_not_repeated(safelight: Stack) -> None:
    before = safelight.count()
    with (
        openai.OpenAI(base_url=f"{safelight.url}/v1", api_key="anything") as client,
        pytest.raises(openai.InternalServerError) as caught,
    ):
        client.images.generate(prompt="[refuse] this")

    assert caught.value.code == "generation_failed"
    assert safelight.count() == before + 1


def test_models_are_listed_and_retrieved(safelight: Stack) -> None:
    with openai.OpenAI(base_url=f"{safelight.url}/v1", api_key="anything") as client:
        assert [model.id for model in client.models.list()] == ["fake", "slow", "elsewhere"]
        assert client.models.retrieve("dall-e-2").id == "fake"
