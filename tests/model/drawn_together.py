"""Draws pictures alone and in batches, with the model that ships; prints as JSON which of them are not the same.

A program of its own: the kernels of a CPU are chosen once a process, and a test restricts them by the environment.

    python -m tests.model.drawn_together DTYPE STEPS SIZE,SIZE BATCH,BATCH
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

from PIL import Image

from core.catalog import load_catalog
from core.generation import Generator, ImageRequest
from core.settings import Settings
from tests.pictures import a_picture
from worker.generators import build

PROMPTS = (
    "A cat sitting on a sofa.",
    "A red car in the city at night.",
    "",
    "一只熊猫在雪地里",
    "A cat sitting on a sofa.",
    "A dog and a robot on the beach at sunset.",
    "A rocket in space. " * 20,
    "A small house in the forest.",
)


class Unwatched:
    """Hears the steps of a drawing and stops nothing."""

    def step(self, done: int, total: int) -> None:
        """Let it go on."""

    def preview(self, draw: Callable[[], Sequence[Image.Image]]) -> None:
        """Look at nothing."""


def requests(steps: int, size: int) -> dict[str, list[ImageRequest]]:
    """As many requests as prompts, of each operation."""
    photos = [Image.linear_gradient("L").rotate(40 * number).convert("RGB") for number in range(len(PROMPTS))]
    photos = [Image.blend(photo.resize((size, size)), a_picture((size, size)), 0.5) for photo in photos]
    mask = Image.new("L", (size, size))
    mask.paste(255, (size // 4, 0, size, size // 2))
    drawn = [
        ImageRequest(prompt, "blue" if number % 3 == 2 else None, 7 * number, size, size, steps, 5.0)
        for number, prompt in enumerate(PROMPTS)
    ]
    over = [replace(request, image=photo) for request, photo in zip(drawn, photos, strict=True)]
    return {
        "generation": drawn,
        "generation, not guided": [replace(request, guidance_scale=1.0) for request in drawn],
        "variation": [replace(request, operation="variation", prompt="") for request in over],
        "edit": [replace(request, operation="edit", strength=0.7) for request in over],
        "edit in a mask": [replace(request, operation="edit", strength=1.0, mask=mask) for request in over],
    }


def differences(generator: Generator, asked: Sequence[ImageRequest], batches: Sequence[int]) -> list[str]:
    """The pictures whose bytes in some batch are not those drawn alone."""
    alone = [generator.generate([request], Unwatched())[0].tobytes() for request in asked]
    different = []
    for size in batches:
        # The last ones, so that they have other neighbours and another place in each batch.
        together = generator.generate(asked[-size:], Unwatched())
        different += [
            f"picture {len(asked) - size + number} in a batch of {size}"
            for number, picture in enumerate(together)
            if picture.tobytes() != alone[len(asked) - size + number]
        ]
    return different


def main(dtype: str, steps: str, sizes: str, batches: str) -> None:
    settings = Settings(device="cpu")
    model = load_catalog(settings.catalog_path).model("unclip-mini")
    if dtype != "auto":
        model = model.model_copy(update={"options": {"dtype": dtype}})
    generator = build(model, settings)
    numbers = [int(size) for size in batches.split(",")]
    found = [
        f"{operation}, {size} px, {difference}"
        for size in (int(size) for size in sizes.split(","))
        for operation, asked in requests(int(steps), size).items()
        for difference in differences(generator, asked, numbers)
    ]
    print(json.dumps({"dtype": generator.receipt()["dtype"], "different": found}))


if __name__ == "__main__":
    main(*sys.argv[1:])
