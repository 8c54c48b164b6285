"""Variations and edits of the bundled model, measured: not how good they are, but that they do what they promise."""

from typing import Any

import pytest
import torch
from PIL import Image, ImageStat

from core.settings import Settings
from worker.generators.unclip.pipeline import UnclipPipeline

SKY, GROUND, CENTRE = (0, 0, 128, 24), (0, 112, 128, 128), (44, 44, 84, 84)


def colour(image: Image.Image, box: tuple[int, int, int, int]) -> tuple[float, float, float]:
    red, green, blue = ImageStat.Stat(image.crop(box)).mean
    return red, green, blue


@pytest.fixture(scope="module")
def pipeline() -> UnclipPipeline:
    pipe = UnclipPipeline.from_pretrained(Settings().models_dir / "unclip-mini")
    pipe.set_progress_bar_config(disable=True)
    return pipe


def paint(pipeline: UnclipPipeline, *seeds: int, **options: Any) -> list[Image.Image]:
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    images: list[Image.Image] = pipeline(generator=generators, return_dict=False, **options)[0]
    return images


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


@pytest.mark.slow  # eight images and their variations
def test_a_variation_is_nearer_to_its_image_than_to_any_other(pipeline: UnclipPipeline) -> None:
    """By the model's own image encoder: a sign that the subject is heard, no measure of quality."""
    if pipeline.prior is None:
        pytest.skip("these weights have never seen an image without its text; those that ship with a prior have")
    images = paint(pipeline, *range(8), prompt=SUBJECTS)
    images_of_seeds = paint(pipeline, *range(100, 108), image=images)
    standardise = pipeline.prior.standardise
    of_images, of_varied = (
        standardise(pipeline._encode_images(pixel_images)) for pixel_images in (images, images_of_seeds)
    )
    likeness = torch.nn.functional.cosine_similarity(of_varied[:, None], of_images[None], dim=-1)
    own_likeness = likeness.diagonal()
    other_likeness = (likeness.sum(1) - own_likeness) / (len(SUBJECTS) - 1)
    assert own_likeness.mean() > other_likeness.mean() + 0.2
    assert (likeness.argmax(1) == torch.arange(len(SUBJECTS))).float().mean() >= 0.5  # chance: 0.125


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
    edit, repeated_image = (
        paint(pipeline, 1, prompt=prompt, image=meadow, mask_image=mask, strength=1.0)[0]
        for prompt in ("A robot on the grass.", "A cat on the grass.")
    )
    for box in (SKY, GROUND):
        assert colour(edit, box) == pytest.approx(colour(meadow, box), abs=12)
    assert (
        sum(
            abs(first_colour - second_colour)
            for first_colour, second_colour in zip(colour(edit, CENTRE), colour(repeated_image, CENTRE), strict=True)
        )
        > 30
    )
