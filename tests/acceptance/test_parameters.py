"""Each parameter of the official SDK's images calls has an effect, a warning or a refusal by name; none is dropped."""

import base64
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import openai
import pytest

from tests.images import a_mask, an_image, data_url, decode, encode
from tests.stack import Stack, body, free_port

TRANSPORT = {"extra_headers", "extra_query", "extra_body", "timeout"}

ANY: dict[str, list[Any]] = {
    "model": ["dall-e-2", None],
    "n": [2, None],
    "size": ["128x128", "auto", None],
    "response_format": ["url", "b64_json", None],
    "user": ["ada"],
}
DRAWN: dict[str, list[Any]] = ANY | {
    "prompt": ["a cat"],
    "background": ["auto", "opaque", None],
    "moderation": ["auto", None],
    "output_format": ["png", "webp", "jpeg", None],
    "quality": ["auto", "standard", None],
    "style": [None],
    "safety_identifier": ["ada", None],
    "partial_images": [0, None],
    "stream": [False, None],
}
GENERATE = DRAWN
EDIT = {name: values for name, values in DRAWN.items() if name not in ("moderation", "style")} | {
    "image": [encode(an_image())],
    "mask": [("mask.png", encode(a_mask()))],
}
VARY = ANY | {"image": [encode(an_image())]}
ADAPTED: dict[str, list[Any]] = {
    "background": ["transparent"],
    "input_fidelity": ["high", "low"],
    "moderation": ["low"],
    "output_compression": [50],  # of a png
    "partial_images": [1],  # without a stream
    "quality": ["low", "medium", "high", "xhigh", "max", "hd"],
    "size": ["512x512", "1024x1024", "1536x1024", "1024x1536", "1792x1024", "1024x1792"],
    "style": ["vivid", "natural"],
}
"""OpenAI's values that the model does not support: an image, and a warning."""
NEVER: dict[str, list[Any]] = {
    "background": ["red"],
    "complexity": ["low"],
    "frame_count": [4],
    "frame_duration_ms": [100],
    "input_fidelity": ["middling"],
    "markup": [encode(an_image())],
    "moderation": ["none"],
    "n": [0, 11],
    "output_compression": [101],
    "output_format": ["gif", "svg"],
    "quality": ["ultra"],
    "response_format": ["bytes"],
    "size": ["1x1", "1000x1000", "8192x8192"],
    "style": ["plain"],
    "svg": [{"model": "x"}],
}
CALLS: dict[str, Mapping[str, list[Any]]] = {"generate": GENERATE, "edit": EDIT, "create_variation": VARY}
LEAST: dict[str, dict[str, Any]] = {
    "generate": {"prompt": "a cat"},
    "edit": {"prompt": "a dog", "image": encode(an_image())},
    "create_variation": {"image": encode(an_image())},
}

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def method(client: openai.OpenAI, call: str) -> Callable[..., openai.types.ImagesResponse]:
    function: Callable[..., openai.types.ImagesResponse] = getattr(client.images, call)
    return function


@pytest.mark.parametrize("call", CALLS)
def test_the_tables_here_name_every_parameter_of_the_sdk(client: openai.OpenAI, call: str) -> None:
    names = inspect.signature(method(client, call)).parameters.keys() - TRANSPORT

    assert names <= CALLS[call].keys() | NEVER.keys()


@pytest.mark.parametrize(
    ("call", "name", "value"),
    [(call, name, value) for call in CALLS for name in CALLS[call] for value in CALLS[call][name]],
)
def test_what_can_be_honoured_is_taken(client: openai.OpenAI, call: str, name: str, value: Any) -> None:
    assert method(client, call)(**LEAST[call] | {name: value}).data


ADAPTED_CALLS = [
    (call, name, value)
    for call, names in (
        ("generate", ADAPTED.keys() - {"input_fidelity"}),
        ("edit", ADAPTED.keys() - {"moderation", "style"}),
    )
    for name in sorted(names)
    for value in ADAPTED[name]
]


@pytest.mark.parametrize(("call", "name", "value"), ADAPTED_CALLS)
def test_what_the_model_lacks_gives_an_image_and_a_warning(
    safelight: Stack, client: openai.OpenAI, call: str, name: str, value: Any
) -> None:
    raw = getattr(client.images.with_raw_response, call)(**LEAST[call] | {name: value})

    answer = raw.parse()
    (warning,) = answer.model_extra["warnings"]
    assert warning["param"] == name
    assert raw.headers["x-safelight-warnings"] == warning["message"]
    assert safelight.job(answer.model_extra["job_id"])["warnings"] == [warning]
    width, height = (int(side) for side in (value if name == "size" else "64x64").split("x"))
    assert decode(httpx.get(str(answer.data[0].url)).content).size == (width, height)


@pytest.fixture(scope="module")
def strict(safelight: Stack) -> Iterator[openai.OpenAI]:
    """A client of an API that refuses what the model does not support."""
    port = free_port()
    with safelight.apart():
        safelight.api(port, SAFELIGHT_STRICT_PARAMETERS="true")
        with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="anything") as sdk_client:
            yield sdk_client


@pytest.mark.parametrize(
    ("call", "name", "value"), [entry for entry in ADAPTED_CALLS if entry[2] == ADAPTED[entry[1]][0]]
)
def test_with_strict_parameters_it_is_refused_by_name(
    safelight: Stack, strict: openai.OpenAI, call: str, name: str, value: Any
) -> None:
    before = safelight.count()

    with pytest.raises(openai.BadRequestError) as caught:
        method(strict, call)(**LEAST[call] | {name: value})

    assert caught.value.param == name
    assert safelight.count() == before


@pytest.mark.parametrize(
    ("call", "name", "value"),
    [
        (call, name, value)
        for call, names in (
            ("generate", NEVER.keys() - {"input_fidelity", "markup"}),
            ("edit", NEVER.keys() - {"moderation", "style"}),
        )
        for name in sorted(names)
        for value in NEVER[name]
    ],
)
def test_what_cannot_is_refused_by_name(
    safelight: Stack, client: openai.OpenAI, call: str, name: str, value: Any
) -> None:
    before = safelight.count()

    with pytest.raises(openai.BadRequestError) as caught:
        method(client, call)(**LEAST[call] | {name: value})

    assert caught.value.param is not None
    assert caught.value.param.partition(".")[0].partition("[")[0] == name
    assert safelight.count() == before


def test_the_answer_has_openais_fields_and_ours_beside_them(safelight: Stack, client: openai.OpenAI) -> None:
    answer = client.images.generate(
        prompt="a cat",
        n=2,
        output_format="webp",
        output_compression=80,
        safety_identifier="ada",
        extra_body={"seed": 7},
    )

    assert answer.data is not None
    assert (answer.background, answer.output_format, answer.size) == ("opaque", "webp", "64x64")
    assert answer.usage is not None
    assert (answer.usage.total_tokens, answer.usage.input_tokens_details.text_tokens) == (0, 0)
    assert answer.safety_identifier == "ada"
    assert [image.model_extra and image.model_extra["seed"] for image in answer.data] == [7, 8]
    assert answer.model_extra is not None
    job = safelight.job(answer.model_extra["job_id"])
    assert (job["metadata"], job["output_compression"]) == ({"user": "ada"}, 80)


def test_an_edit_in_json_names_its_image_as_openai_does(safelight: Stack, client: openai.OpenAI) -> None:
    file = client.files.create(file=encode(an_image()), purpose="vision")
    mask = data_url(a_mask())
    for image in ({"file_id": file.id}, data_url(an_image())):
        request = {"prompt": "a dog", "images": [image], "mask": mask, "response_format": "b64_json"}
        answer = safelight.client.post("/v1/images/edits", json=request)
        assert answer.status_code == 200, answer.text
        assert decode(base64.b64decode(body(answer)["data"][0]["b64_json"])).size == (64, 64)


@pytest.mark.parametrize("images", [[], ["x"], [{"file_id": "file-1"}] * 17])
def test_a_list_of_none_or_too_many_images_is_refused(safelight: Stack, images: list[Any]) -> None:
    answer = safelight.client.post("/v1/images/edits", json={"prompt": "a dog", "images": images})

    assert answer.status_code == 400
    assert body(answer)["error"]["param"].partition(".")[0] == "images"


def test_links_open_without_a_key(client: openai.OpenAI) -> None:
    answer = client.images.generate(prompt="a cat")

    assert answer.data is not None
    assert decode(httpx.get(str(answer.data[0].url)).content).size == (64, 64)
