"""The official `openai` SDK works with another base URL and no other change."""

import asyncio
import base64
import io

import httpx
import openai
import pytest
from PIL import Image

from core.tables import files as table
from tests.images import a_mask, an_image, data_url, decode, encode, same
from tests.stack import Stack, body


def test_images_generate_answers_with_links_that_open(safelight: Stack) -> None:
    with openai.OpenAI(base_url=f"{safelight.url}/v1", api_key="anything") as client:
        answer = client.images.generate(model="dall-e-2", prompt="a cat", n=2, size="256x256")

    assert answer.data is not None
    assert len(answer.data) == 2
    for image in answer.data:
        pixels = Image.open(io.BytesIO(httpx.get(str(image.url)).content))
        assert pixels.size == (256, 256)
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
        client.images.generate(prompt="a cat", extra_body={"quality": "best"})

    assert (caught.value.param, caught.value.code) == ("quality", "invalid_value")
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
        names = [model.id for model in client.models.list()]
        assert names[:5] == ["fake", "slow", "elsewhere", "dall-e-2", "dall-e-3"]
        assert {"gpt-image-1", "gpt-image-1-mini", "gpt-image-1.5", "gpt-image-2", "chatgpt-image-latest"} < {*names}
        alias = client.models.retrieve("dall-e-2")
        assert (alias.id, alias.model_extra and alias.model_extra["alias_of"]) == ("dall-e-2", "fake")


def test_images_edit_changes_an_image_where_its_mask_is_transparent(safelight: Stack) -> None:
    pixels = an_image()
    with openai.OpenAI(base_url=f"{safelight.url}/v1", api_key="anything") as client:
        answer = client.images.edit(
            model="dall-e-2",
            image=encode(pixels),
            mask=("mask.png", encode(a_mask())),
            prompt="a dog",
            n=2,
            size="64x64",
            response_format="b64_json",
            user="ada",
            extra_body={"seed": 3, "strength": 0.9, "metadata": {"a": "b"}, "postprocess": {"upscale": 2}},
        )

    assert answer.data is not None
    assert answer.model_extra is not None
    pixel_images = [decode(base64.b64decode(str(image.b64_json))) for image in answer.data]
    assert [result.size for result in pixel_images] == [(128, 128)] * 2
    assert pixel_images[0].tobytes() != pixel_images[1].tobytes()
    job = safelight.job(answer.model_extra["job_id"])
    assert (job["operation"], job["seed"], job["strength"]) == ("edit", 3, 0.9)
    assert job["metadata"] == {"a": "b", "user": "ada"}


def test_images_edit_leaves_the_rest_of_the_image_as_it_was(safelight: Stack) -> None:
    image = an_image()
    with openai.OpenAI(base_url=f"{safelight.url}/v1", api_key="anything") as client:
        answer = client.images.edit(
            image=[io.BytesIO(encode(image))],
            mask=io.BytesIO(encode(a_mask())),
            prompt="a dog",
            size="64x64",
        )

    assert answer.data is not None
    result = decode(httpx.get(str(answer.data[0].url)).content)
    assert same(result, image, (0, 0, 32, 64))
    assert not same(result, image, (32, 0, 64, 64))


def test_an_edit_may_name_its_images_in_json(safelight: Stack) -> None:
    request = {"prompt": "a dog", "size": "64x64", "image": data_url(an_image()), "mask": data_url(a_mask())}

    answer = safelight.client.post("/v1/images/edits", json=request)

    assert answer.status_code == 200, answer.text
    assert len(body(answer)["data"]) == 1


def test_images_create_variation_works_here_again(safelight: Stack) -> None:
    with (
        openai.OpenAI(base_url=f"{safelight.url}/v1", api_key="anything") as client,
        pytest.warns(DeprecationWarning, match="create_variation|deprecated"),
    ):
        answer = client.images.create_variation(image=encode(an_image()), n=2, size="256x256")

    assert answer.data is not None
    assert [decode(httpx.get(str(image.url)).content).size for image in answer.data] == [(256, 256)] * 2
    assert answer.model_extra is not None
    assert safelight.job(answer.model_extra["job_id"])["operation"] == "variation"


IMAGE = ("a.png", encode(an_image()))


@pytest.mark.parametrize(
    ("call", "fields", "files", "param"),
    [
        ("edits", {"prompt": "x"}, {"mask": IMAGE}, "image"),
        ("edits", {}, {"image": IMAGE}, "prompt"),
        ("edits", {"prompt": "x", "input_fidelity": "most"}, {"image": IMAGE}, "input_fidelity"),
        ("edits", {"prompt": "x"}, {"image": IMAGE, "markup": IMAGE}, "markup"),
        ("edits", {"prompt": "x", "n": "two"}, {"image": IMAGE}, "n"),
        ("edits", {"prompt": "x", "strength": "2"}, {"image": IMAGE}, "strength"),
        ("edits", {"prompt": "x", "postprocess[upscale]": "3"}, {"image": IMAGE}, "postprocess.upscale"),
        ("edits", {"prompt": "x"}, {"image": ("a.png", b"no image")}, "image"),
        ("edits", {"prompt": "x", "image": "file-1"}, {"mask": IMAGE}, "image"),
        ("variations", {"prompt": "x"}, {"image": IMAGE}, "prompt"),
        ("variations", {}, {"image": IMAGE, "mask": IMAGE}, "mask"),
        ("variations", {"model": "slow"}, {"image": IMAGE}, "operation"),
    ],
)
def test_a_bad_form_is_refused_by_name_and_stores_nothing(
    safelight: Stack, call: str, fields: dict[str, str], files: dict[str, tuple[str, bytes]], param: str
) -> None:
    before = safelight.count(), safelight.count(table)

    answer = safelight.client.post(f"/v1/images/{call}", data=fields, files=files)

    assert (answer.status_code, body(answer)["error"]["param"]) == (400, param), answer.text
    assert (safelight.count(), safelight.count(table)) == before


def test_of_several_images_a_local_model_edits_the_first(safelight: Stack) -> None:
    images = [encode(an_image()), encode(an_image(colour="red")), encode(an_image(colour="blue"))]
    before = safelight.count(table)
    with openai.OpenAI(base_url=f"{safelight.url}/v1", api_key="anything") as client:
        answer = client.images.edit(image=images, prompt="a dog")

    job = safelight.job(str(answer.model_extra and answer.model_extra["job_id"]))
    assert [warning["code"] for warning in job["warnings"]] == ["images_not_used"]
    assert "1 input image of the 3" in job["warnings"][0]["message"]
    assert job["reference_images"] == []
    content = safelight.client.get(f"/v1/files/{job['image']['file_id']}/content").content
    assert same(decode(content), an_image(), (0, 0, 64, 64))
    assert safelight.count(table) == before + 1
