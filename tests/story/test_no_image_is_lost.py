"""Whatever a request asks for, its job is completed with images that can be read, or fails with a code."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.images import decode
from tests.stack import Stack

PROMPTS = st.text(st.characters(), min_size=1, max_size=300) | st.sampled_from(["界" * 4000, "&" * 4000, "😀" * 4000])
METADATA = st.dictionaries(st.text(min_size=1, max_size=64), st.text(max_size=512), max_size=16)
FILTERS = st.fixed_dictionaries(
    {}, optional={"denoise": st.floats(0, 1), "upscale": st.sampled_from([2, 4]), "sharpen": st.floats(0, 1)}
)

SIMPLE: dict[str, Any] = {
    "prompt": "a cat", "output_format": "jpeg", "size": "64x64", "n": 2, "metadata": {}, "postprocess": None,
    "output_size": "1x1",
}  # fmt: skip


def check_every_request(stack: Stack, examples: int) -> None:
    @given(
        prompt=PROMPTS,
        output_format=st.sampled_from(["png", "webp", "jpeg"]),
        size=st.sampled_from(["64x64", "128x128"]),
        n=st.integers(1, 2),
        metadata=METADATA,
        postprocess=st.none() | FILTERS,
        output_size=st.sampled_from([None, "1x1", "4096x16", "50x70"]),
    )
    @example(**SIMPLE | {"prompt": "a \x00 cat"})
    @example(**SIMPLE | {"prompt": "a \ud800 cat"})
    @example(**SIMPLE | {"prompt": "&" * 4000, "metadata": {"k": "\uffff"}, "postprocess": {"upscale": 4}})
    @settings(max_examples=examples, deadline=None)
    def check(**fields: Any) -> None:
        sent = {name: value for name, value in fields.items() if value is not None}
        answer = stack.client.post("/v1/jobs", content=as_json(sent))
        if answer.status_code == 400:  # nothing is stored
            assert answer.json()["error"]["param"], answer.text
            return
        assert answer.status_code == 202, answer.text
        final = stack.final(answer.json()["id"])
        if final["status"] == "failed":
            assert final["error"]["code"], final
            return
        assert final["status"] == "completed", final
        assert len(final["images"]) == fields["n"]
        for image in final["images"]:
            assert decode(stack.image(image)).size == (image["width"], image["height"])

    check()


def as_json(value: dict[str, Any]) -> bytes:
    """A body of JSON in ASCII, in which a lone surrogate is an escape."""
    return json.dumps(value).encode()


def test_every_request_ends_with_images_or_a_code(safelight: Stack) -> None:
    check_every_request(safelight, 8)


@pytest.mark.slow
def test_hundreds_of_requests_end_with_images_or_a_code(safelight: Stack) -> None:
    check_every_request(safelight, 600)
