"""The second pass of a generation: its images are enlarged, and edited there; see `core/parameters/hires.py`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from PIL import Image

from core.generation import ImageRequest, ImagesRejected, ProgressReporter
from core.generation_errors import GenerationError
from core.images import decode
from core.parameters.hires import Hires
from worker.generators.tiling import enlarge_seamless
from worker.generators.upscalers import LATENT


@dataclass(frozen=True, slots=True)
class Call:
    """What a pass differs in from the only pass of other requests.

    pipe: another pipeline than that of the request. latents: with which it begins, instead of images. keeps_latents:
    whether it returns those. arguments: further ones of the pipeline's call.
    """

    pipe: Any = None
    latents: Sequence[torch.Tensor] | None = None
    keeps_latents: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)


class Draw(Protocol):
    """One call of a pipeline; as `generate` of `core.generation.Generator`."""

    def __call__(self, requests: Sequence[ImageRequest], reporter: ProgressReporter, call: Call) -> Sequence[Any]:
        """Draw one image, or its latents, per request."""


def draw_twice(
    draw: Draw,
    enlarge: Callable[[Any, Hires], Any],
    requests: Sequence[ImageRequest],
    hires: Hires,
    reporter: ProgressReporter,
) -> list[Any]:
    """The images of requests with this second pass. Raises ImagesRejected, with the images of both passes.

    enlarge: an image, or the latents of one, at the size of the second pass.
    """
    # diffusers' pipelines do this share of the steps of an edit, which begins in the middle.
    steps = max(1, int((hires.steps or 1) * (hires.strength or 1.0)))
    is_latent = hires.upscaler in LATENT
    results = results_of(lambda: draw(requests, PassReporter(reporter, 0, steps), Call(keeps_latents=is_latent)))
    numbers = [number for number, result in enumerate(results) if not isinstance(result, GenerationError)]
    large = [_enlarge(enlarge, results[number], hires, requests[0]) for number in numbers]
    images: list[Image.Image | None] = [None if is_latent else image for image in large]
    seconds = [second_request(requests[number], hires, image) for number, image in zip(numbers, images, strict=True)]
    if seconds:
        second_reporter = PassReporter(reporter, requests[0].steps, 0)
        call = Call(latents=large if is_latent else None)
        redrawn = results_of(lambda: draw(seconds, second_reporter, call))
        for number, result in zip(numbers, redrawn, strict=True):
            results[number] = result
    return without_errors(results)


def _enlarge(enlarge: Callable[[Any, Hires], Any], image: Any, hires: Hires, request: ImageRequest) -> Any:
    """An image, or its latents, at the size of the second pass; a seamless one stays so."""
    if not request.parameters.tiling:
        return enlarge(image, hires)
    columns = image.width if isinstance(image, Image.Image) else image.shape[-1]
    return enlarge_seamless(enlarge, image, hires, request.width // columns)


def second_request(request: ImageRequest, hires: Hires, image: Image.Image | None) -> ImageRequest:
    """The edit that is the second pass. image: of the first pass; None if the edit begins with latents."""
    changes = {"size": hires.size, "steps": hires.steps, "strength": hires.strength, "hires": None}
    parameters = request.parameters.model_copy(update=changes)
    width, height = parameters.dimensions
    return replace(
        request,
        parameters=parameters,
        operation="edit",
        image=Image.new("RGB", (width, height)) if image is None else decode.fit(image, width, height),
        control_images=tuple(decode.stretch(guide, width, height) for guide in request.control_images),
    )


def results_of(draw: Callable[[], Sequence[Any]]) -> list[Any]:
    """Of each request of a call the image, or why there is none."""
    try:
        return list(draw())
    except ImagesRejected as rejection:
        return list(rejection.results)


def without_errors(results: Sequence[Any]) -> list[Any]:
    """The same results. Raises ImagesRejected if there is no image among them for a request."""
    if any(isinstance(result, GenerationError) for result in results):
        raise ImagesRejected(results)
    return list(results)


class PassReporter:
    """Reports the steps of one pass as those of both: `before` and `after` are the steps of the other."""

    def __init__(self, reporter: ProgressReporter, before: int, after: int) -> None:
        self._reporter = reporter
        self._before = before
        self._after = after

    def step(self, current: int, total: int) -> None:
        """See `core.generation.ProgressReporter`."""
        self._reporter.step(self._before + current, self._before + total + self._after)

    def preview(self, draw: Callable[[], Sequence[Image.Image]]) -> None:
        """See `core.generation.ProgressReporter`."""
        self._reporter.preview(draw)
