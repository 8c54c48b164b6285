"""The official Python SDK, synchronous and asynchronous: every method that Safelight has, with the same assertions."""

import asyncio
import base64
from collections.abc import AsyncIterable, Callable
from typing import Any

import openai
import pytest

from tests.images import a_mask, an_image, decode, encode
from tests.stack import Stack

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

Call = Callable[[Any], Any]


def in_turn(safelight: Stack, call: Call) -> Any:
    with openai.OpenAI(base_url=f"{safelight.url}/v1", api_key="anything") as client:
        return call(client)


def asynchronously(safelight: Stack, call: Call) -> Any:
    async def ask() -> Any:
        async with openai.AsyncOpenAI(base_url=f"{safelight.url}/v1", api_key="anything") as client:
            answer = call(client)
            return [item async for item in answer] if isinstance(answer, AsyncIterable) else await answer

    return asyncio.run(ask())


both_clients = pytest.mark.parametrize("ask", [in_turn, asynchronously])
IMAGE = encode(an_image())
BYTES: dict[str, Any] = {"response_format": "b64_json"}


def sizes(answer: openai.types.ImagesResponse) -> list[tuple[int, int]]:
    return [decode(base64.b64decode(str(image.b64_json))).size for image in answer.data or ()]


@both_clients
@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.images.generate(prompt="a cat", n=2, size="128x128", **BYTES),
        lambda client: client.images.edit(
            image=IMAGE, mask=encode(a_mask()), prompt="a dog", n=2, size="128x128", **BYTES
        ),
        lambda client: client.images.create_variation(image=IMAGE, n=2, extra_body={"size": "128x128"}, **BYTES),
    ],
    ids=["generate", "edit", "create_variation"],
)
def test_images_come_as_many_and_as_large_as_asked(safelight: Stack, ask: Any, call: Call) -> None:
    assert sizes(ask(safelight, call)) == [(128, 128)] * 2


@both_clients
def test_files_go_in_and_come_out(safelight: Stack, ask: Any) -> None:
    file = ask(safelight, lambda client: client.files.create(file=("a.png", IMAGE), purpose="vision"))

    assert ask(safelight, lambda client: client.files.retrieve(file.id)) == file
    assert file.id in [entry.id for entry in ask(safelight, lambda client: client.files.list(purpose="vision"))]
    assert ask(safelight, lambda client: client.files.content(file.id)).content == IMAGE
    assert ask(safelight, lambda client: client.files.delete(file.id)).deleted
    with pytest.raises(openai.NotFoundError):
        ask(safelight, lambda client: client.files.retrieve(file.id))


@both_clients
def test_models_are_found_by_every_name(safelight: Stack, ask: Any) -> None:
    names = [model.id for model in ask(safelight, lambda client: client.models.list())]
    assert names[:3] == ["fake", "slow", "elsewhere"]
    assert {"dall-e-2", "gpt-image-1"} <= set(names)
    assert ask(safelight, lambda client: client.models.retrieve("dall-e-2")).alias_of == "fake"
    with pytest.raises(openai.NotFoundError):
        ask(safelight, lambda client: client.models.retrieve("dall-e-9"))


@both_clients
@pytest.mark.parametrize(
    ("call", "kind", "code"),
    [
        (lambda client: client.images.generate(prompt=""), openai.BadRequestError, "invalid_value"),
        (lambda client: client.images.generate(prompt="x", model="none"), openai.BadRequestError, "model_not_found"),
        (lambda client: client.images.generate(prompt="[refuse]"), openai.InternalServerError, "generation_failed"),
    ],
)
def test_errors_are_the_sdks_own(
    safelight: Stack, ask: Any, call: Call, kind: type[openai.APIStatusError], code: str
) -> None:
    with pytest.raises(kind) as caught:
        ask(safelight, call)

    assert caught.value.code == code
    assert str(caught.value.request_id).startswith("req_")
