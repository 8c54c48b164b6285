"""No image is lost between its generation and its file: what cannot be done is left out, with a warning."""

import io
from dataclasses import MISSING, fields, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from api.a1111.answers import info_of
from api.batches.downloads import file_name
from core.images.postprocess import Postprocess
from core.requests.webui import Txt2ImgRequest
from core.responses.openai import Usage, images_response
from core.responses.response import image_call
from core.rows.job import JobRow
from core.status import JobStatus
from core.text import storable
from tests.factories import a_job
from worker.generation.image_files import ImageFile, make_file

FORMATS = ("png", "webp", "jpeg")
MODES = ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16", "F")
"""Modes of Pillow; generators return the first two."""

WIDE = (17_000, 1)
"""WebP has at most 16,383 pixels a side, JPEG 65,500, PNG as many as there are."""

FILTERS = (None, Postprocess(upscale=2), Postprocess(denoise=0.5, sharpen=1.0))


def a_row(prompt: str = "a cat", model: str = "fake", **parameters: Any) -> JobRow:
    job = a_job(prompt=prompt, model=model, **parameters)
    values: dict[str, Any] = {field.name: None for field in fields(JobRow) if field.default is MISSING}
    return JobRow(**values | {field.name: getattr(job, field.name) for field in fields(job) if field.name in values})


def stored(file: ImageFile) -> Image.Image:
    image = Image.open(io.BytesIO(file.data))
    image.load()
    assert (image.format or "").lower() == file.parameters.output_format
    assert image.size == (file.width, file.height)
    return image


def a_file(image: Image.Image, **fields: Any) -> ImageFile:
    return make_file(image, a_row(**fields), 0, has_metadata=True)


def check_every_image(examples: int) -> None:
    @given(
        prompt=st.text(st.characters(), max_size=200),
        output_format=st.sampled_from(FORMATS),
        mode=st.sampled_from(MODES),
        size=st.tuples(st.integers(1, 48), st.integers(1, 48)) | st.sampled_from([WIDE, WIDE[::-1], (70_000, 1)]),
        postprocess=st.sampled_from(FILTERS),
        output_size=st.none() | st.just("32x16"),
        background=st.sampled_from([None, "opaque", "transparent"]),
    )
    @example(
        prompt="\x00\ud800" + "界" * 40_000,
        output_format="jpeg",
        mode="RGBA",
        size=(70_000, 1),
        postprocess=FILTERS[1],
        output_size=None,
        background="transparent",
    )
    @settings(max_examples=examples, deadline=None)
    def check(mode: str, size: tuple[int, int], **parameters: Any) -> None:
        image = Image.new(mode, size)
        file = a_file(image, **parameters)
        stored(file)
        if file.parameters.output_format == parameters["output_format"] and mode in ("RGB", "RGBA"):
            assert not file.warnings

    check()


def test_every_image_gets_a_file() -> None:
    check_every_image(20)


@pytest.mark.slow
def test_thousands_of_images_get_a_file() -> None:
    check_every_image(5000)


def test_an_image_that_its_format_cannot_hold_is_stored_as_a_png() -> None:
    file = a_file(Image.new("RGB", WIDE, "red"), output_format="webp", output_compression=50)

    (warning,) = file.warnings
    assert stored(file).size == WIDE
    assert (warning["code"], warning["param"]) == ("postprocess_failed", "output_format")
    assert "as png" in warning["message"]
    assert (file.parameters.output_format, file.parameters.output_compression) == ("png", None)


def test_what_is_stored_as_a_png_is_called_a_png() -> None:
    row = a_row(output_format="webp")
    image: Any = {"index": 0, "storage_key": "jobs/a/b/0.png", "media_type": "image/png", "receipt": {}}
    row.images = [image | {"width": 8, "height": 8}]
    row.created_at, row.warnings, row.status = datetime.now(UTC), [], JobStatus.QUEUED
    line: Any = row
    line.custom_id = "line-1"

    assert images_response(row, [], Usage(), None).output_format == "png"
    assert image_call(row).output_format == "webp"  # what it is going to be
    row.status = JobStatus.COMPLETED
    assert image_call(row).output_format == "png"
    assert file_name(line, image) == "line-00001-a-cat-0.png"


def test_an_image_that_cannot_be_postprocessed_is_stored_as_it_was_generated() -> None:
    image = Image.new("1", (8, 8), 1)  # the filters know no bits

    file = a_file(image, postprocess=Postprocess(denoise=0.5))

    (warning,) = file.warnings
    assert stored(file).size == (8, 8)
    assert (warning["code"], warning["param"]) == ("postprocess_failed", "postprocess")
    assert file.parameters.postprocess is None


def test_metadata_that_a_format_cannot_hold_are_left_out() -> None:
    file = a_file(Image.new("RGB", (8, 8)), model="m" * 70_000, output_format="jpeg")

    (warning,) = file.warnings
    assert warning["code"] == "metadata_omitted"
    assert "xmp" not in stored(file).info


def test_what_postgres_rejects_is_replaced_in_json() -> None:
    value = {"a\x00": ["\ud800", float("nan"), 1.5, (None, True, 2**70)]}

    assert storable(value) == {"a\ufffd": ["\ufffd", None, 1.5, [None, True, 2**70]]}


def test_the_infotext_has_the_values_with_which_an_image_was_generated() -> None:
    row = a_row(guidance_scale=9.0)
    file = make_file(Image.new("RGB", (64, 64)), row, 0, has_metadata=True, used_values={"guidance_scale": 1.0})
    assert "CFG scale: 1," in stored(file).info["parameters"]

    images: Any = [{"receipt": {"guidance_scale": 1.0}}]
    answer = info_of(
        replace(row, n=1, images=images, warnings=[], created_at=datetime.now(UTC)),
        Txt2ImgRequest(prompt="a cat"),
    )
    assert (answer["cfg_scale"], "CFG scale: 1," in answer["infotexts"][0]) == (1.0, True)
