"""The first images of a compiled model: a compiled network is compiled by its first call."""

from collections.abc import Callable, Iterator, Sequence

from PIL import Image

from core.catalog import Model
from core.generation import ImageRequest, with_control
from core.parameters.job import ResolvedParameters


def warm_up_requests(model: Model) -> Iterator[ImageRequest]:
    """A request for each size of a model, with the fewest steps."""
    for size in model.sizes:
        parameters = ResolvedParameters(
            size=size,
            steps=model.steps.min,
            guidance_scale=model.guidance_scale.default,
            seed=0,
        )
        request = ImageRequest("a photo", parameters)
        for spec in model.required_controls:
            request = with_control(request, spec)
        yield request


class Silence:
    """A reporter for which nobody waits."""

    def step(self, current: int, total: int) -> None:
        """Nothing."""

    def preview(self, draw: Callable[[], Sequence[Image.Image]]) -> None:
        """Nothing."""
