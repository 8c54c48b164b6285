"""Compares a model's images alone and in a micro-batch, byte for byte, when it is loaded; see `Model.self_test`."""

import logging
from collections.abc import Sequence
from typing import cast

from PIL import ImageChops
from PIL.Image import Image

from core.catalog import Model
from core.generation import Generator, ImageRequest, with_control
from core.generation_errors import OutOfMemory
from core.parameters.job import ResolvedParameters
from core.self_test import SelfTest, describe

log = logging.getLogger(__name__)

PROMPTS = ("a red car", "three blue houses by the sea", "a cat", "夜晚的城市")


class _Silence:
    """A reporter for which nobody waits."""

    def step(self, current: int, total: int) -> None:
        """Do nothing."""

    def preview(self, draw: object) -> None:
        """Do nothing."""


def run_self_test(model: Model, generator: Generator) -> SelfTest:
    """Draw images of the default size alone and together. Raises GenerationError if the model cannot draw.

    The prompts are equal if the pipeline reads different ones apart from each other only. A model whose images are
    always alone passes with one image.
    """
    count = min(model.microbatch_size, len(PROMPTS))
    requests = [_request(model, prompt, seed) for seed, prompt in enumerate(PROMPTS[:count])]
    if len({generator.sharing_key(request) for request in requests}) > 1:
        requests = [_request(model, PROMPTS[0], seed) for seed in range(count)]
    if generator.sharing_key(requests[0]) is None:
        requests = requests[:1]
    alone = [generator.generate([request], _Silence())[0] for request in requests]
    while len(requests) > 1:
        try:
            together = generator.generate(requests, _Silence())
        except OutOfMemory:
            requests = requests[: len(requests) // 2]
            continue
        result = SelfTest(size=model.size, images=len(requests), difference=_difference(alone, together))
        break
    else:
        result = SelfTest(size=model.size, images=1, difference=0)
    log.info("self-test of model %s: %s", model.id, describe(result))
    return result


def _request(model: Model, prompt: str, seed: int) -> ImageRequest:
    guidance_scale, steps = model.guidance_scale.default, model.steps.default
    parameters = ResolvedParameters(size=model.size, steps=steps, guidance_scale=guidance_scale, seed=seed)
    request = ImageRequest(prompt, parameters)
    for spec in model.required_controls:
        request = with_control(request, spec)
    return request


def _difference(alone: Sequence[Image], together: Sequence[Image]) -> int:
    """The largest difference of a colour value."""
    pairs = zip(alone, together, strict=False)
    extrema = (cast("Sequence[tuple[int, int]]", ImageChops.difference(*pair).getextrema()) for pair in pairs)
    return max(high for bands in extrema for _, high in bands)
