"""The images of one call of the pipeline: prompts, negative prompts and images that come in, one entry for each.

Here diffusers' calling conventions (one or a list, several images a prompt) become plain lists, and what is not
allowed is refused by name. Nothing is computed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self, TypeVar

import torch
from PIL import Image

SIZES_PX: Final = (128, 256, 512, 1024)

T = TypeVar("T", str, Image.Image)
Prompt = str | Sequence[str]
Images = Image.Image | Sequence[Image.Image]


@dataclass(frozen=True)
class Batch:
    """What is asked of each image; the lists are of one length, or None for what is not given."""

    prompts: list[str]
    negatives: list[str]
    images: list[Image.Image] | None
    masks: list[Image.Image] | None

    def __len__(self) -> int:
        return len(self.prompts)

    @classmethod
    def of(cls, prompt: Prompt, negative: Prompt | None, image: Images | None, mask: Images | None, each: int) -> Self:
        """Spread what one call was given over its images, `each` for every prompt. Raises ValueError."""
        if isinstance(prompt, str):
            prompt = [prompt] * (len(image) if isinstance(image, Sequence) else 1)
        if not prompt:
            raise ValueError("prompt must not be empty")
        return cls(
            prompts=_spread("prompt", prompt, len(prompt), each),
            negatives=_spread("negative_prompt", negative or "", len(prompt), each),
            images=None if image is None else _spread("image", image, len(prompt), each),
            masks=None if mask is None else _spread("mask_image", mask, len(prompt), each),
        )


def _spread(name: str, given: T | Sequence[T], count: int, each: int) -> list[T]:
    values = [given] * count if isinstance(given, str | Image.Image) else list(given)
    if len(values) != count:
        raise ValueError(f"{name} must be one, or one a prompt: {count}, not {len(values)}")
    return [value for value in values for _ in range(each)]


def check_sizes(height: int, width: int, steps: int, output_type: str) -> None:
    """Raise ValueError for a size, a number of steps or a type of output that there is not."""
    if height != width or height not in SIZES_PX:
        raise ValueError(f"height and width must be equal and one of {SIZES_PX}, not {height} and {width}")
    if steps < 1:
        raise ValueError(f"num_inference_steps must be at least 1, not {steps}")
    if output_type not in ("pil", "np", "pt", "latent"):
        raise ValueError(f"output_type must be pil, np, pt or latent, not {output_type!r}")


def check_edit(image: Images | None, mask: Images | None, strength: float | None) -> None:
    """Raise ValueError for an edit of nothing, a mask without an edit, or a strength out of bounds."""
    if strength is not None and not 0 < strength <= 1:
        raise ValueError(f"strength must be above 0 and up to 1, not {strength}")
    if strength is not None and image is None:
        raise ValueError("strength is of an edit, which needs an image")
    if mask is not None and strength is None:
        raise ValueError("mask_image is of an edit, which needs an image and a strength")


def check_generators(generator: torch.Generator | list[torch.Generator] | None, count: int) -> None:
    """Raise ValueError for a list of generators that is not one an image."""
    if isinstance(generator, list) and len(generator) != count:
        raise ValueError(f"generator must be one, or one an image: {count}, not {len(generator)}")
