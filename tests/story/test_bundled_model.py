"""The model that ships, drawn by the real worker on the CPU: the image follows the prompt."""

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageStat

import core
from tests.images import a_mask, data_url, same
from tests.stack import Stack
from worker.generators.unclip.precision import HAS_BFLOAT16

MODELS = Path(core.__file__).parent.parent / "models"
ENVIRONMENT = {"SAFELIGHT_CATALOG": str(MODELS / "catalog.toml"), "SAFELIGHT_STALL_TIMEOUT": "120"}


@pytest.fixture
def bundled(own: Stack) -> Stack:
    own.environment |= ENVIRONMENT
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
    unknown = bundled.submit("portrait of a woman, oil painting, 4k", model="unclip-mini", size="128x128", steps=2)
    (warning,) = bundled.final(unknown["id"])["warnings"]
    assert (warning["code"], warning["param"]) == ("unknown_words", "prompt")
    assert "“portrait”, “woman”, “oil painting”, “4k”" in warning["message"]


def test_a_seed_is_an_image_and_sizes_are_what_was_asked_for(bundled: Stack) -> None:
    first, *others = draw(bundled, "A rocket in space.", n=2, size="256x256")
    (again,) = draw(bundled, "A rocket in space.", seed=1, size="256x256")

    assert first.size == (256, 256)
    assert first.tobytes() == again.tobytes()
    assert len({image.tobytes() for image in (first, *others)}) == 2


def test_jobs_that_share_a_micro_batch_get_the_images_that_they_get_alone(own: Stack) -> None:
    """Jobs that wait for a worker are drawn together by it; afterwards each is drawn by itself."""
    own.environment |= ENVIRONMENT
    own.api()
    prompts = ["A rocket in space.", "一只猫在雪地里", "A red car in the city at night.", "A house in the forest."]
    wishes: list[dict[str, Any]] = [
        {"prompt": prompt, "seed": number, "steps": 8} for number, prompt in enumerate(prompts)
    ]
    waiting = [own.submit(**wish, model="unclip-mini", size="128x128")["id"] for wish in wishes]
    own.worker()

    together = [own.final(job_id)["images"][0] for job_id in waiting]
    alone = [own.final(own.submit(**wish, model="unclip-mini", size="128x128")["id"])["images"][0] for wish in wishes]

    assert [image["receipt"]["microbatch"] for image in together] == [4] * 4
    assert [image["receipt"]["microbatch"] for image in alone] == [1] * 4
    assert [image["sha256"] for image in together] == [image["sha256"] for image in alone]
    assert {image["receipt"]["dtype"] for image in together + alone} == {"bfloat16" if HAS_BFLOAT16 else "float32"}


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
