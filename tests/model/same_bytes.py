"""Generates images alone and in batches with the bundled model; prints as JSON which of them differ.

A program of its own, because a process chooses its CPU kernels only once and a test restricts them by the environment.

    python -m tests.model.same_bytes DTYPE STEPS SIZE,SIZE BATCH,BATCH
"""

import json
import sys
from collections.abc import Callable, Sequence

from PIL import Image

from core.catalog import load_catalog
from core.generation import Generator, ImageRequest
from core.settings import Settings
from tests.image_requests import image_request, with_changes
from tests.images import an_image
from worker.generators import build

PROMPTS = (
    "A red car in the city at night.",
    "",
    "一只熊猫在雪地里",
    "A rocket in space. " * 20,
    "A small house in the forest.",
)


class SilentReporter:
    """A progress reporter that does nothing."""

    def step(self, done: int, total: int) -> None:
        """Ignore a step."""

    def preview(self, draw: Callable[[], Sequence[Image.Image]]) -> None:
        """Ignore a preview."""


def requests(steps: int, side: int) -> dict[str, list[ImageRequest]]:
    """A request for each prompt, of each operation."""
    photos = [Image.linear_gradient("L").rotate(40 * number).convert("RGB") for number in range(len(PROMPTS))]
    photos = [Image.blend(photo.resize((side, side)), an_image((side, side)), 0.5) for photo in photos]
    mask = Image.new("L", (side, side))
    mask.paste(255, (side // 4, 0, side, side // 2))
    generations = [
        image_request(prompt, side=side, seed=7 * number, steps=steps, negative_prompt=("blue", "a dog")[number % 2])
        for number, prompt in enumerate(PROMPTS)
    ]
    with_image = [with_changes(request, image=photo) for request, photo in zip(generations, photos, strict=True)]
    return {
        "generation": generations,
        "generation without guidance": [
            with_changes(request, guidance_scale=1.0, negative_prompt=None) for request in generations
        ],
        "variation": [
            with_changes(request, operation="variation", prompt="", negative_prompt=None) for request in with_image
        ],
        "edit": [with_changes(request, operation="edit", strength=0.7) for request in with_image],
        "edit in a mask": [with_changes(request, operation="edit", strength=1.0, mask=mask) for request in with_image],
    }


def differences(generator: Generator, requests: Sequence[ImageRequest], batches: Sequence[int]) -> list[str]:
    """The images whose bytes in some batch are not those that were generated alone."""
    alone = [generator.generate([request], SilentReporter())[0].tobytes() for request in requests]
    different = []
    for size in batches:
        # The last ones, so that they have other neighbours and another place in each batch.
        together = generator.generate(requests[-size:], SilentReporter())
        different += [
            f"image {len(requests) - size + number} in a batch of {size}"
            for number, image in enumerate(together)
            if image.tobytes() != alone[len(requests) - size + number]
        ]
    return different


def main(dtype: str, steps: str, sizes: str, batches: str) -> None:
    settings = Settings(device="cpu")
    model = load_catalog(settings.catalog_path).model("unclip-mini")
    if dtype != "auto":
        model = model.model_copy(update={"options": {"dtype": dtype}})
    generator = build(model, settings)
    numbers = [int(size) for size in batches.split(",")]
    different = [
        f"{operation}, {side} px, {difference}"
        for side in (int(size) for size in sizes.split(","))
        for operation, of_operation in requests(int(steps), side).items()
        for difference in differences(generator, of_operation, numbers)
    ]
    print(json.dumps({"dtype": generator.receipt()["dtype"], "different": different}))


if __name__ == "__main__":
    main(*sys.argv[1:])
