"""Filters on a finished image, and previews of an unfinished one."""

import base64
import json
from typing import Any

import pytest
from PIL import Image

from core.images.postprocess import Postprocess
from tests.images import an_image, data_url, decode
from tests.stack import Stack, body
from worker.generation.postprocess import apply_filters


def test_an_upscaled_image_is_stored_with_its_own_size_and_says_so(safelight: Stack) -> None:
    filters = {"upscale": 2, "sharpen": 0.5}

    original = safelight.final(safelight.submit(seed=5)["id"])
    large = safelight.final(safelight.submit(seed=5, postprocess=filters)["id"])

    (image,) = large["images"]
    pixels = decode(safelight.image(image))
    assert (image["width"], image["height"]) == pixels.size == (128, 128)
    assert large["size"] == "64x64"
    assert large["postprocess"] == {"denoise": None, **filters}
    assert image["receipt"]["postprocess"] == filters
    filtered_image = apply_filters(decode(safelight.image(original["images"][0])), Postprocess.model_validate(filters))
    assert pixels.tobytes() == filtered_image.tobytes()
    assert original["postprocess"] is None
    assert "postprocess" not in original["images"][0]["receipt"]


def test_jobs_with_and_without_filters_share_a_pass(own: Stack) -> None:
    own.api()
    jobs = [own.submit(seed=5), own.submit(seed=5, postprocess={"upscale": 4})]
    own.worker()

    images = [own.final(job["id"])["images"][0] for job in jobs]

    assert [(image["width"], image["receipt"]["microbatch"]) for image in images] == [(64, 2), (256, 2)]


def test_an_image_that_would_become_too_large_is_refused(own: Stack) -> None:
    catalog = own.directory / "catalog.toml"
    catalog.write_text(catalog.read_text().replace('"256x256"]', '"256x256", "2048x2048"]'))
    own.api()

    answer = own.client.post("/v1/jobs", json={"prompt": "x", "size": "2048x2048", "postprocess": {"upscale": 4}})

    assert (answer.status_code, body(answer)["error"]["param"]) == (400, "postprocess.upscale")
    assert own.count() == 0


def followed(stack: Stack, job_id: str) -> list[tuple[str, dict[str, Any]]]:
    """All that happens to a job, followed since before there was a worker."""
    happening = stack.events(job_id)
    first = next(happening)
    stack.worker()
    return [first, *happening]


def test_previews_come_evenly_spaced_before_the_end(own: Stack) -> None:
    own.api()
    job = own.submit(model="slow", steps=9, n=2, partial_images=2)

    happened = followed(own, job["id"])

    previews = [data for kind, data in happened if kind == "preview"]
    assert [(preview["index"], preview["partial_image_index"], preview["step"]) for preview in previews] == [
        (0, 0, 3), (1, 0, 3), (0, 1, 6), (1, 1, 6),
    ]  # fmt: skip
    assert happened[-1][0] == "job.completed"
    for preview in previews:
        image = decode(base64.b64decode(preview["b64_json"]))
        assert (image.size, preview["media_type"], preview["steps"]) == ((64, 64), "image/webp", 9)
    assert previews[0]["b64_json"] != previews[1]["b64_json"]


def test_a_job_gets_only_its_own_previews(own: Stack) -> None:
    own.api()
    preview_job = own.submit("a cat", model="slow", steps=4, partial_images=1)
    quiet = own.submit("a dog", model="slow", steps=4)

    kinds = [kind for kind, _ in followed(own, quiet["id"])]

    assert own.final(preview_job["id"])["images"][0]["receipt"]["microbatch"] == 2
    assert "job.progress" in kinds
    assert "preview" not in kinds


@pytest.mark.parametrize("size", [(64, 64), (300, 200)])
def test_an_edit_may_be_previewed_and_filtered_too(safelight: Stack, size: tuple[int, int]) -> None:
    job = safelight.submit(
        operation="edit", image=data_url(an_image(size)), steps=5, partial_images=1, postprocess={"denoise": 1.0}
    )

    final = safelight.final(job["id"])

    assert final["status"] == "completed"
    assert final["images"][0]["receipt"]["operation"] == "edit"
    assert json.dumps(final["warnings"]) == "[]"
    assert isinstance(decode(safelight.image(final["images"][0])), Image.Image)


def test_a_second_pass_has_the_size_that_it_was_asked_for(safelight: Stack) -> None:
    job = safelight.final(safelight.submit(hires={"scale": 1.5}, steps=4)["id"])
    small = safelight.final(safelight.submit(hires={}, output_size="80x80")["id"])

    assert job["hires"] == {
        "scale": None, "width": 96, "height": 96, "strength": 0.5, "steps": 4, "upscaler": "lanczos"
    }  # fmt: skip
    assert [(image["width"], image["height"]) for image in (*job["images"], *small["images"])] == [(96, 96), (80, 80)]
    assert job["images"][0]["receipt"]["hires"]["width"] == 96
