"""OpenAI's calls take what OpenAI documents, whatever the model, with warnings; jobs of our own API do not."""

import base64
from typing import Any

import pytest

from core.catalog import Catalog, Model, load_catalog
from core.requests.adaptation import adapt, nearest
from core.requests.job import JobRequest
from core.requests.openai import EditRequest, GenerateRequest, job_request
from core.settings import Settings
from tests.batches import file_lines, request_lines, submit_batch, until_batch
from tests.images import an_image, data_url, decode, encode
from tests.stack import Stack, body

DALLE = ("dall-e-2", "dall-e-3", "fake")
GPT_IMAGE = ("gpt-image-1", "gpt-image-1-mini", "gpt-image-1.5", "gpt-image-2", "chatgpt-image-latest")


def generate(safelight: Stack, **fields: Any) -> Any:
    answer = safelight.client.post("/v1/images/generations", json={"prompt": "a cat", **fields})
    assert answer.status_code == 200, answer.text
    return answer


def adapt_generation(model: Model, **fields: Any) -> JobRequest:
    request = job_request(GenerateRequest.model_validate({"prompt": "a cat", **fields}), "generation")
    return adapt(request, Catalog(default=model.id, models=(model,)), Settings())


@pytest.mark.parametrize("name", [*DALLE, *GPT_IMAGE, None])
def test_the_named_model_has_the_default_format_and_the_other_key_is_absent(safelight: Stack, name: str | None) -> None:
    (image,) = body(generate(safelight, model=name))["data"]
    (edited_image,) = body(
        safelight.client.post(
            "/v1/images/edits",
            data={"prompt": "x"} | ({"model": name} if name else {}),
            files={"image": encode(an_image())},
        )
    )["data"]

    key = "b64_json" if name in GPT_IMAGE else "url"
    assert image.keys() == edited_image.keys() == {key, "seed"}


@pytest.mark.parametrize(("name", "response_format"), [("gpt-image-1", "url"), ("dall-e-3", "b64_json")])
def test_a_request_that_sets_the_format_gets_it(safelight: Stack, name: str, response_format: str) -> None:
    (image,) = body(generate(safelight, model=name, response_format=response_format))["data"]

    assert image.keys() == {response_format, "seed"}


def test_an_answer_has_no_nulls(safelight: Stack) -> None:
    answer = body(generate(safelight))

    assert None not in answer.values()
    assert "warnings" not in answer


def test_what_dalle_3_clients_send_always_gives_their_size_and_says_what_is_not_used(safelight: Stack) -> None:
    answer = generate(
        safelight, model="dall-e-3", size="1792x1024", quality="hd", style="vivid", response_format="b64_json"
    )

    assert decode(base64.b64decode(body(answer)["data"][0]["b64_json"])).size == (1792, 1024)
    assert body(answer)["size"] == "1792x1024"
    assert {warning["param"] for warning in body(answer)["warnings"]} == {"size", "quality", "style"}
    job = safelight.job(body(answer)["job_id"])
    assert (job["size"], job["output_size"]) == ("256x256", "1792x1024")
    assert job["warnings"] == body(answer)["warnings"]


def test_the_header_is_ascii_and_bounded(safelight: Stack) -> None:
    answer = generate(safelight, style="vivid", user="ü", output_compression=3, moderation="low", partial_images=3)

    header = answer.headers["x-safelight-warnings"]
    assert header.isascii()
    assert len(header) <= 1000
    assert "x-safelight-warnings" not in generate(safelight).headers


def test_a_stream_and_a_job_for_later_have_the_header_too(safelight: Stack) -> None:
    later = safelight.client.post(
        "/v1/images/generations", json={"prompt": "x", "style": "vivid"}, headers={"prefer": "respond-async"}
    )
    stream = safelight.client.post("/v1/images/generations", json={"prompt": "x", "style": "vivid", "stream": True})

    assert (later.status_code, stream.status_code) == (202, 200)
    assert "style" in later.headers["x-safelight-warnings"]
    assert "style" in stream.headers["x-safelight-warnings"]
    assert "null" not in stream.text


def test_the_simplest_call_takes_openais_words_too(safelight: Stack) -> None:
    fields = {"prompt": "a cat", "model": "gpt-image-1", "size": "1024x1536", "style": "natural", "quality": "high"}
    answer = safelight.client.post("/generate-image", json=fields)

    assert answer.status_code == 200, answer.text
    assert decode(safelight.client.get(body(answer)["image_url"]).content).size == (1024, 1536)
    assert "1024x1536" in answer.headers["x-safelight-warnings"]


def test_the_lines_of_a_batch_are_adapted_too(safelight: Stack) -> None:
    lines = [{"prompt": "a cat", "model": "gpt-image-1", "size": "1024x1536"}, {"prompt": "a cat", "style": "vivid"}]
    batch = submit_batch(safelight, requests=lines, endpoint="/v1/images/generations")
    prompts = submit_batch(safelight, prompts=["a cat"], size="1536x1024", style="vivid")

    gpt_image, own = (
        line["response"]["body"]
        for line in sorted(
            file_lines(safelight, until_batch(safelight, batch["id"], "completed")["output_file_id"]),
            key=lambda line: line["custom_id"],
        )
    )
    (of_prompt,) = file_lines(safelight, until_batch(safelight, prompts["id"], "completed")["output_file_id"])
    assert decode(base64.b64decode(gpt_image["data"][0]["b64_json"])).size == (1024, 1536)
    assert [warning["param"] for warning in own["warnings"]] == ["style"]
    assert (own["data"][0].keys(), of_prompt["response"]["body"]["size"]) == ({"url", "seed"}, "1536x1024")
    assert [warning["param"] for warning in of_prompt["response"]["body"]["warnings"]] == ["size", "style"]


def test_the_format_of_a_batch_precedes_that_of_the_named_model(safelight: Stack) -> None:
    batch = submit_batch(
        safelight,
        requests=[line["body"] for line in request_lines(1, model="gpt-image-1")],
        endpoint="/v1/images/generations",
        response_format="url",
    )

    (line,) = file_lines(safelight, until_batch(safelight, batch["id"], "completed")["output_file_id"])
    assert line["response"]["body"]["data"][0].keys() == {"url", "seed"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"size": "1792x1024"}, "size"),
        ({"quality": "high"}, "quality"),
        ({"quality": "hd"}, "quality"),
        ({"style": "vivid"}, "style"),
        ({"background": "transparent"}, "background"),
        ({"moderation_level": "low"}, "moderation_level"),
        ({"output_compression": 100}, "output_compression"),
        ({"output_size": "5000x64"}, "output_size"),
        ({"output_size": "64"}, "output_size"),
        ({"model": "slow", "steps": 5, "quality": "low"}, "quality"),
        ({"operation": "edit", "image": data_url(an_image()), "input_fidelity": "high"}, "input_fidelity"),
        (
            {"operation": "edit", "image": data_url(an_image()), "reference_images": [data_url(an_image())]},
            "reference_images",
        ),
    ],
)
def test_a_job_of_our_own_api_is_not_adapted(safelight: Stack, fields: dict[str, Any], param: str) -> None:
    before = safelight.count()

    answer = safelight.client.post("/v1/jobs", json={"prompt": "a cat", **fields})

    assert (answer.status_code, body(answer)["error"]["param"]) == (400, param)
    assert safelight.count() == before


def test_our_own_api_takes_a_neutral_background_and_another_size_of_the_file(safelight: Stack) -> None:
    job = safelight.final(safelight.submit(background="opaque", moderation_level="auto", output_size="96x32")["id"])

    assert (job["images"][0]["width"], job["images"][0]["height"], job["warnings"]) == (96, 32, [])
    assert job["images"][0]["receipt"]["output_size"] == "96x32"


def test_a_quality_is_a_number_of_steps_and_a_style_changes_prompt_and_guidance(safelight: Stack) -> None:
    answer = generate(safelight, model="slow", quality="low", style="vivid", size="64x64")
    job = safelight.job(body(answer)["job_id"])

    assert (job["steps"], job["guidance_scale"], job["style"], job["warnings"]) == (2, 7.0, "vivid", [])
    assert job["prompt"] == "a cat"
    suffixed = generate(
        safelight, model="slow", prompt="a cat, vivid", size="64x64", steps=2, guidance_scale=7.0, seed=job["seed"]
    )
    assert safelight.job(body(suffixed)["job_id"])["images"][0]["sha256"] != ""
    first, second = (decode(safelight.client.get(body(item)["data"][0]["url"]).content) for item in (answer, suffixed))
    assert first.tobytes() == second.tobytes()


def test_a_quality_that_the_catalogue_lacks_is_the_next_lower_one(safelight: Stack) -> None:
    answer = generate(safelight, model="slow", quality="hd", size="64x64")

    (warning,) = body(answer)["warnings"]
    assert (warning["code"], warning["param"]) == ("quality_replaced", "quality")
    assert safelight.job(body(answer)["job_id"])["steps"] == 3


def test_steps_of_the_request_precede_its_quality(safelight: Stack) -> None:
    answer = generate(safelight, model="slow", quality="low", steps=1, size="64x64")

    assert [warning["param"] for warning in body(answer)["warnings"]] == ["quality"]
    assert safelight.job(body(answer)["job_id"])["steps"] == 1


def test_an_edit_of_another_aspect_ratio_keeps_all_of_its_image(safelight: Stack) -> None:
    image = an_image((192, 128))
    answer = safelight.client.post(
        "/v1/images/edits",
        data={"prompt": "a dog", "size": "1536x1024", "strength": "0.01", "response_format": "b64_json"},
        files={"image": encode(image)},
    )

    assert answer.status_code == 200, answer.text
    result = decode(base64.b64decode(body(answer)["data"][0]["b64_json"]))
    assert result.size == (1536, 1024)
    small = result.resize(image.size)
    for place in ((72, 33), (40, 33)):  # in the disc, and beside it: a crop to a square would have moved its edge
        pixel, expected = small.getpixel(place), image.getpixel(place)
        assert isinstance(pixel, tuple)
        assert isinstance(expected, tuple)
        assert all(abs(value - other) < 40 for value, other in zip(pixel, expected, strict=True)), place


def test_a_job_that_is_tried_again_keeps_its_size_and_its_warnings(safelight: Stack) -> None:
    job_id = safelight.client.post(
        "/v1/images/generations",
        json={"prompt": "[refuse]", "model": "dall-e-3", "size": "1024x1792"},
        headers={"prefer": "respond-async"},
    ).json()["id"]
    failed_job = safelight.final(job_id)

    retried_job = body(safelight.client.post(f"/v1/jobs/{job_id}/retry"))

    assert failed_job["warnings"][0]["param"] == "size"
    assert {name: retried_job[name] for name in ("size", "output_size", "warnings")} == {
        name: failed_job[name] for name in ("size", "output_size", "warnings")
    }


# The shipped catalogue, and the rules by themselves

SHIPPED = load_catalog(Settings().catalog_path)


@pytest.mark.parametrize("name", [*GPT_IMAGE, "dall-e-2", "dall-e-3"])
def test_the_shipped_catalogue_has_the_names_of_openais_models(name: str) -> None:
    assert SHIPPED.model(name).id == SHIPPED.default


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("1792x1024", "96x64"),  # by aspect ratio first
        ("1024x1536", "64x96"),
        ("512x512", "256x256"),
        ("65x64", "64x64"),  # then by pixels
    ],
)
def test_the_nearest_size(size: str, expected: str) -> None:
    assert nearest(size, ("64x64", "128x128", "256x256", "96x64", "64x96")) == expected


@pytest.mark.parametrize(
    ("name", "size", "is_size"),
    [
        ("gpt-image-2", "2048x1152", True),
        ("gpt-image-2", "2160x3840", True),
        ("gpt-image-2", "3840x2176", False),
        ("gpt-image-2", "1600x400", False),  # wider than 3:1
        ("gpt-image-2", "1000x1000", False),  # no multiple of 16
        ("gpt-image-2", "0x0", False),
        ("gpt-image-2", "1024x", False),
        ("dall-e-3", "2048x1152", False),
    ],
)
def test_gpt_images_sizes_are_free_within_openais_bounds(name: str, size: str, is_size: bool) -> None:
    request = job_request(GenerateRequest(prompt="x", model=name, size=size), "generation")
    if is_size:
        assert adapt(request, SHIPPED, Settings()).output_size == size
        return
    with pytest.raises(Exception, match=r"choose from .*1792x1024") as caught:
        adapt(request, SHIPPED, Settings())
    assert getattr(caught.value, "param", None) == "size"


def test_a_providers_model_gets_everything_that_it_takes() -> None:
    flare = SHIPPED.model("gpt-image-2.5-flare")
    images = [data_url(an_image()) for _ in range(3)]
    fields = {"background": "transparent", "input_fidelity": "high", "quality": "hd", "images": images, "prompt": "x"}
    request = job_request(EditRequest.model_validate(fields | {"model": flare.id}), "edit")

    adapted = adapt(request, SHIPPED, Settings())

    assert adapted.warnings == ()
    assert (adapted.background, adapted.input_fidelity, adapted.quality) == ("transparent", "high", "high")
    assert len(adapted.input_images) == 3


def test_the_shipped_model_honours_style_and_quality() -> None:
    model = SHIPPED.model(None)

    adapted = adapt_generation(model, style="vivid", quality="hd", size="1024x1024")

    assert adapted.warnings == ()
