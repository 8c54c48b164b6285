"""The second pass of a generation: its images are enlarged, and edited at the larger size; see `core/hires.py`."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from PIL import Image

from core.generation import ImageRequest, ImagesRejected, ProgressReporter
from core.generation_errors import GenerationError
from core.hires import Hires
from core.images import decode

Draw = Callable[[Sequence[ImageRequest], ProgressReporter], Sequence[Image.Image]]
"""One call of a pipeline; as `generate` of `core.generation.Generator`."""


def draw_twice(draw: Draw, requests: Sequence[ImageRequest], hires: Hires, reporter: ProgressReporter) -> list[Any]:
    """The images of requests with this second pass. Raises ImagesRejected, with the images of both passes."""
    steps = _steps(hires)
    results = _results(draw, requests, _PassReporter(reporter, 0, steps))
    numbers = [number for number, result in enumerate(results) if isinstance(result, Image.Image)]
    seconds = [second_request(requests[number], hires, results[number]) for number in numbers]
    if seconds:
        first_steps = requests[0].steps
        redrawn = _results(draw, seconds, _PassReporter(reporter, first_steps, 0))
        for number, result in zip(numbers, redrawn, strict=True):
            results[number] = result
    if any(isinstance(result, GenerationError) for result in results):
        raise ImagesRejected(results)
    return results


def second_request(request: ImageRequest, hires: Hires, image: Image.Image) -> ImageRequest:
    """The edit that is the second pass. image: of the first pass."""
    changes = {"size": hires.size, "steps": hires.steps, "strength": hires.strength, "hires": None}
    parameters = request.parameters.model_copy(update=changes)
    width, height = parameters.dimensions
    return replace(
        request,
        parameters=parameters,
        operation="edit",
        image=decode.fit(image, width, height),
        control_images=tuple(decode.stretch(guide, width, height) for guide in request.control_images),
    )


def _steps(hires: Hires) -> int:
    """The steps that diffusers' pipelines do of an edit, which begins in the middle."""
    return max(1, int((hires.steps or 1) * (hires.strength or 1.0)))


def _results(draw: Draw, requests: Sequence[ImageRequest], reporter: ProgressReporter) -> list[Any]:
    """Of each request the image, or why there is none."""
    try:
        return list(draw(requests, reporter))
    except ImagesRejected as rejection:
        return list(rejection.results)


class _PassReporter:
    """Reports the steps of one pass as those of both: `before` and `after` are the steps of the other."""

    def __init__(self, reporter: ProgressReporter, before: int, after: int) -> None:
        self._reporter = reporter
        self._before = before
        self._after = after

    def step(self, current: int, total: int) -> None:
        self._reporter.step(self._before + current, self._before + total + self._after)

    def preview(self, draw: Callable[[], Sequence[Image.Image]]) -> None:
        self._reporter.preview(draw)
