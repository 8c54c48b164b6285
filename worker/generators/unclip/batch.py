"""The inputs of one call of the pipeline: one prompt, negative prompt, image and mask for each image to generate.

diffusers' calling conventions (a value or a list, several images per prompt) become plain lists here, and arguments
that are not allowed raise a ValueError. Nothing is computed.
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
    """The inputs of each image. All lists have the same length; None for an argument that was left out."""

    prompts: list[str]
    negatives: list[str]
    images: list[Image.Image] | None
    masks: list[Image.Image] | None

    def __len__(self) -> int:
        return len(self.prompts)

    @classmethod
    def of(cls, prompt: Prompt, negative: Prompt | None, image: Images | None, mask: Images | None, count: int) -> Self:
        """Expand the arguments of a call to lists, with `count` images for each prompt. Raises ValueError."""
        if isinstance(prompt, str):
            prompt = [prompt] * (len(image) if isinstance(image, Sequence) else 1)
        if not prompt:
            raise ValueError("prompt must not be empty")
        return cls(
            prompts=_expand("prompt", prompt, len(prompt), count),
            negatives=_expand("negative_prompt", negative or "", len(prompt), count),
            images=None if image is None else _expand("image", image, len(prompt), count),
            masks=None if mask is None else _expand("mask_image", mask, len(prompt), count),
        )


def _expand(name: str, argument: T | Sequence[T], prompt_count: int, count: int) -> list[T]:
    values = [argument] * prompt_count if isinstance(argument, str | Image.Image) else list(argument)
    if len(values) != prompt_count:
        raise ValueError(f"{name} must be one, or one a prompt: {prompt_count}, not {len(values)}")
    return [value for value in values for _ in range(count)]


def check_sizes(height: int, width: int, steps: int, output_type: str) -> None:
    """Raise ValueError for a size, a number of steps or a type of output that is not supported."""
    if height != width or height not in SIZES_PX:
        raise ValueError(f"height and width must be equal and one of {SIZES_PX}, not {height} and {width}")
    if steps < 1:
        raise ValueError(f"num_inference_steps must be at least 1, not {steps}")
    if output_type not in ("pil", "np", "pt", "latent"):
        raise ValueError(f"output_type must be pil, np, pt or latent, not {output_type!r}")


def check_edit(image: Images | None, mask: Images | None, strength: float | None) -> None:
    """Raise ValueError for a strength without an image, a mask without a strength, or a strength out of bounds."""
    if strength is not None and not 0 < strength <= 1:
        raise ValueError(f"strength must be above 0 and up to 1, not {strength}")
    if strength is not None and image is None:
        raise ValueError("strength is of an edit, which needs an image")
    if mask is not None and strength is None:
        raise ValueError("mask_image is of an edit, which needs an image and a strength")


def check_generators(generator: torch.Generator | list[torch.Generator] | None, count: int) -> None:
    """Raise ValueError for a list of generators whose length is not the number of images."""
    if isinstance(generator, list) and len(generator) != count:
        raise ValueError(f"generator must be one, or one an image: {count}, not {len(generator)}")
