"""The model that ships: drawn by the real worker on the CPU, the picture follows the prompt.

Variations and edits are drawn by its pipeline itself, and measured: not how good they are, but that they do what they say.
"""

import io
from pathlib import Path

import pytest
from PIL import Image, ImageStat

import core
from tests.pictures import a_mask, data_url, same
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
    return [Image.open(io.BytesIO(stack.picture(image))).convert("RGB") for image in job["images"]]


def colour(picture: Image.Image, box: tuple[int, int, int, int]) -> tuple[float, float, float]:
    red, green, blue = ImageStat.Stat(picture.crop(box)).mean
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


def test_a_seed_is_a_picture_and_sizes_are_what_was_asked_for(bundled: Stack) -> None:
    one, other = draw(bundled, "A rocket in space.", n=2, size="256x256")
    (again,) = draw(bundled, "A rocket in space.", seed=1, size="256x256")

    assert one.size == (256, 256)
    assert one.tobytes() != other.tobytes()
    difference = ImageStat.Stat(Image.blend(one, again, 0.5)).mean
    assert difference == pytest.approx(ImageStat.Stat(one).mean, abs=2)


def test_an_edit_changes_half_a_picture_and_a_prompt_that_is_not_read_to_its_end_is_told(bundled: Stack) -> None:
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
    result = Image.open(io.BytesIO(bundled.picture(job["images"][0]))).convert("RGB")
    assert same(result, cat, (0, 0, 56, 128))
    assert sum(colour(result, (80, 0, 128, 24))) < 0.6 * sum(colour(cat, (80, 0, 128, 24)))
    (warning,) = job["warnings"]
    assert (warning["code"], warning["param"]) == ("prompt_truncated", "prompt")


@pytest.fixture(scope="module")
def pipeline() -> UnclipPipeline:
    pipe = UnclipPipeline.from_pretrained(MODELS / "unclip-mini")
    pipe.set_progress_bar_config(disable=True)
    return pipe


def paint(pipeline: UnclipPipeline, *seeds: int, **asked: object) -> list[Image.Image]:
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    pictures: list[Image.Image] = pipeline(generator=generators, **asked).images
    return pictures


SUBJECTS = [
    "A cat on the grass.",
    "A red car in the city at night.",
    "A penguin on the beach.",
    "A panda in the snow.",
    "A rocket in space.",
    "A castle in the desert.",
    "An apple on a table.",
    "A sailboat on the sea at sunset.",
]


def test_a_variation_is_nearer_to_its_image_than_to_any_other(pipeline: UnclipPipeline) -> None:
    """By the model's own image encoder: a sign that the subject is heard, no measure of quality."""
    if pipeline.prior is None:
        pytest.skip("these weights have never seen an image without its text; those that ship with a prior have")
    images = paint(pipeline, *range(8), prompt=SUBJECTS)
    varied = paint(pipeline, *range(100, 108), image=images)
    standardise = pipeline.prior.standardise
    of_images, of_varied = (standardise(pipeline._look(pictures)) for pictures in (images, varied))
    likeness = torch.nn.functional.cosine_similarity(of_varied[:, None], of_images[None], dim=-1)
    own = likeness.diagonal()
    others = (likeness.sum(1) - own) / (len(SUBJECTS) - 1)
    assert (own > others).all()
    assert own.mean() > others.mean() + 0.3
    assert (likeness.argmax(1) == torch.arange(len(SUBJECTS))).float().mean() >= 0.75  # chance: 0.125


def test_an_edit_keeps_the_place_at_a_small_strength_and_leaves_it_at_a_large_one(pipeline: UnclipPipeline) -> None:
    (meadow,) = paint(pipeline, 1, prompt="A cat on the grass.")
    slightly, strongly = (
        paint(pipeline, 1, prompt="A cat in the snow.", image=meadow, strength=strength)[0] for strength in (0.2, 0.9)
    )
    red, green, _ = colour(slightly, GROUND)
    assert green > red
    assert min(colour(strongly, GROUND)) > 180


def test_an_edit_in_a_mask_changes_the_subject_and_leaves_the_place(pipeline: UnclipPipeline) -> None:
    (meadow,) = paint(pipeline, 1, prompt="A cat on the grass.")
    mask = Image.new("L", meadow.size)
    mask.paste(255, (24, 24, 104, 104))
    edited, again = (
        paint(pipeline, 1, prompt=prompt, image=meadow, mask_image=mask, strength=1.0)[0]
        for prompt in ("A robot on the grass.", "A cat on the grass.")
    )
    for box in (SKY, GROUND):
        assert colour(edited, box) == pytest.approx(colour(meadow, box), abs=12)
    centre = (44, 44, 84, 84)
    assert sum(abs(one - other) for one, other in zip(colour(edited, centre), colour(again, centre), strict=True)) > 30
