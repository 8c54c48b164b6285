"""The model that ships, drawn by the real worker on the CPU: the image follows the prompt."""

import io
from pathlib import Path

import pytest
from PIL import Image, ImageStat

import core
from tests.images import a_mask, data_url, same
from tests.stack import Stack

MODELS = Path(core.__file__).parent.parent / "models"


@pytest.fixture
def bundled(own: Stack) -> Stack:
    environment = {"SAFELIGHT_CATALOG": str(MODELS / "catalog.toml"), "SAFELIGHT_STALL_TIMEOUT": "120"}
    own.environment |= environment
    own.api()
    own.worker()
    return own


def draw(stack: Stack, prompt: str, **fields: object) -> list[Image.Image]:
    job = stack.final(stack.submit(prompt, **{"model": "unclip-mini", "size": "128x128", "seed": 1, **fields})["id"])
    assert job["status"] == "completed", job["error"]
    return [Image.open(io.BytesIO(stack.image(image))).convert("RGB") for image in job["images"]]


def colour(image: Image.Image, box: tuple[int, int, int, int]) -> tuple[float, float, float]:
    red, green, blue = ImageStat.Stat(image.crop(box)).mean
    return red, green, blue


SKY, GROUND = (0, 0, 128, 24), (0, 112, 128, 128)


def test_the_scene_follows_the_prompt_in_english_and_chinese(bundled: Stack) -> None:
    (day,) = draw(bundled, "A cat on the grass.")
    (night,) = draw(bundled, "A cat on the grass at night.")
    (snow,) = draw(bundled, "一只猫在雪地里")

    assert sum(colour(night, SKY)) < 0.5 * sum(colour(day, SKY))
    red, green, blue = colour(day, GROUND)
    assert green > red > blue
    assert min(colour(snow, GROUND)) > 180


def test_a_seed_is_an_image_and_sizes_are_what_was_asked_for(bundled: Stack) -> None:
    one, other = draw(bundled, "A rocket in space.", n=2, size="256x256")
    (again,) = draw(bundled, "A rocket in space.", seed=1, size="256x256")

    assert one.size == (256, 256)
    assert one.tobytes() != other.tobytes()
    difference = ImageStat.Stat(Image.blend(one, again, 0.5)).mean
    assert difference == pytest.approx(ImageStat.Stat(one).mean, abs=2)


def test_an_edit_changes_half_an_image_and_a_prompt_that_is_not_read_to_its_end_is_told(bundled: Stack) -> None:
    (cat,) = draw(bundled, "A cat on the grass.")
    prompt = "A dog on the grass at night. " * 20

    job = bundled.final(
        bundled.submit(
            prompt,
            operation="edit",
            model="unclip-mini",
            size="128x128",
            image=data_url(cat),
            mask=data_url(a_mask((128, 128))),
            strength=1.0,
        )["id"]
    )

    assert job["status"] == "completed", job["error"]
    result = Image.open(io.BytesIO(bundled.image(job["images"][0]))).convert("RGB")
    assert same(result, cat, (0, 0, 56, 128))
    assert sum(colour(result, (80, 0, 128, 24))) < 0.6 * sum(colour(cat, (80, 0, 128, 24)))
    (warning,) = job["warnings"]
    assert (warning["code"], warning["param"]) == ("prompt_truncated", "prompt")
