"""`stream=True` of the official SDK: previews during generation, then the image."""

import asyncio
import base64
import io

import openai
import pytest
from openai.types import (
    ImageEditCompletedEvent,
    ImageEditPartialImageEvent,
    ImageGenCompletedEvent,
    ImageGenPartialImageEvent,
)
from openai.types.image_gen_stream_event import ImageGenStreamEvent
from PIL import Image

from tests.images import a_mask, an_image, encode
from tests.stack import Stack

SLOWLY = {"steps": 8}


def open_image(b64_json: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(b64_json)))


def test_a_stream_brings_previews_in_order_and_then_the_image(safelight: Stack, client: openai.OpenAI) -> None:
    with client.images.generate(
        model="slow", prompt="a cat", stream=True, partial_images=3, extra_body=SLOWLY | {"seed": 5}
    ) as stream:
        *previews, last = stream

    assert all(isinstance(event, ImageGenPartialImageEvent) for event in previews)
    assert [event.partial_image_index for event in previews if event.type == "image_generation.partial_image"] == [
        0,
        1,
        2,
    ]
    for event in previews:
        assert (event.output_format, event.size, event.background, event.quality) == ("webp", "64x64", "opaque", "auto")
        assert open_image(event.b64_json).format == "WEBP"
    assert isinstance(last, ImageGenCompletedEvent)
    assert (last.output_format, last.size, last.usage.total_tokens) == ("png", "64x64", 0)
    assert last.usage.input_tokens_details.image_tokens == 0
    assert last.created_at >= previews[0].created_at - 1
    image = open_image(last.b64_json)
    assert (image.format, image.size) == ("PNG", (64, 64))
    assert last.model_extra is not None
    assert last.model_extra["seed"] == 5
    assert safelight.job(last.model_extra["job_id"])["partial_images"] == 3


def test_a_stream_without_previews_is_one_event(client: openai.OpenAI) -> None:
    with client.images.generate(prompt="a cat", stream=True, output_format="webp", user="ada") as stream:
        (only,) = stream

    assert isinstance(only, ImageGenCompletedEvent)
    assert open_image(only.b64_json).format == "WEBP"
    assert only.safety_identifier == "ada"


async def _edit(url: str) -> list[object]:
    async with (
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="anything") as client,
        await client.images.edit(
            model="slow",
            image=encode(an_image()),
            mask=("mask.png", encode(a_mask())),
            prompt="a dog",
            stream=True,
            partial_images=1,
            extra_body=SLOWLY,
        ) as stream,
    ):
        return [event async for event in stream]


def test_an_edit_streams_to_the_asynchronous_client_too(safelight: Stack) -> None:
    preview, last = asyncio.run(_edit(safelight.url))

    assert isinstance(preview, ImageEditPartialImageEvent)
    assert isinstance(last, ImageEditCompletedEvent)
    assert open_image(last.b64_json).size == (64, 64)


def test_a_stream_without_news_is_kept_alive_by_comments(safelight: Stack, client: openai.OpenAI) -> None:
    """One job is drawn and one waits; both streams are open at once, as a comment comes after 15 seconds only."""
    generate = client.images.with_streaming_response.generate
    with (
        generate(model="slow", prompt="a cat", stream=True, extra_body={"steps": 180}) as drawn,
        generate(model="elsewhere", prompt="a cat", stream=True) as waiting,
    ):
        streams = [answer.iter_lines() for answer in (drawn, waiting)]
        job_ids = [next(lines).removeprefix(": job ") for lines in streams]

        assert [next(line for line in lines if line) for lines in streams] == [": keep-alive"] * 2

    assert [safelight.job(job_id)["status"] for job_id in job_ids] == ["in_progress", "queued"]
    for job_id in job_ids:
        safelight.client.post(f"/v1/jobs/{job_id}/cancel")


def _consume(stream: openai.Stream[ImageGenStreamEvent]) -> None:
    with stream:
        for _ in stream:
            pass


def test_a_job_that_fails_is_raised_out_of_the_stream(safelight: Stack, client: openai.OpenAI) -> None:
    before = safelight.count()
    stream = client.images.generate(prompt="[refuse] this", stream=True)

    with pytest.raises(openai.APIError) as caught:
        _consume(stream)

    assert (caught.value.code, caught.value.type) == ("generation_failed", "server_error")
    assert "asked to be refused" in caught.value.message
    assert safelight.count() == before + 1


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stream": True, "n": 2}, "n"),
        ({"stream": True, "response_format": "url"}, "response_format"),
        ({"stream": True, "partial_images": 4}, "partial_images"),
        ({"stream": True, "size": "63x63"}, "size"),
    ],
)
def test_what_cannot_be_streamed_is_refused_before_the_stream(
    safelight: Stack, client: openai.OpenAI, fields: dict[str, object], param: str
) -> None:
    before = safelight.count()

    with pytest.raises(openai.BadRequestError) as caught:
        client.images.with_raw_response.generate(prompt="a cat", extra_body=fields)

    assert caught.value.param == param
    assert safelight.count() == before
