"""What a generator is: the code that turns requests into pixels. The protocol, and the words both sides use.

No torch here and no device: `worker/generators/` holds the generators, `worker/generate.py` calls them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """One picture to draw. All requests of one call share a batch key: everything but prompt and seed is equal."""

    prompt: str
    negative_prompt: str | None
    seed: int  # 0 .. 2**32 - 1
    width: int  # px
    height: int  # px
    steps: int
    guidance_scale: float


class Stopped(Exception):
    """Raised out of a denoiser, by the watch, to leave a pipeline in mid-step."""


class Watch(Protocol):
    """What a generator tells its caller while it draws."""

    def step(self, done: int, total: int) -> None:
        """Say that `done` of `total` denoising steps are behind us. Raises Stopped when nobody wants the pictures."""


class Generator(Protocol):
    """Draws pictures with one model. Used by one thread at a time; keeps its weights between calls."""

    def load(self) -> None:
        """Bring the weights to the device. May be called again and then does nothing. Raises ModelUnavailable."""

    def generate(self, requests: Sequence[ImageRequest], watch: Watch) -> Sequence[Image]:
        """Draw one RGB picture a request, in order, in one pass over the device.

        Raises OutOfMemory when so many do not fit, Stopped when the watch says so, GeneratorFailed for the rest.
        """

    def receipt(self) -> dict[str, str]:
        """What drew the pictures: model revision, library versions, device, dtype."""
