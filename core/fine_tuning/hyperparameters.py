"""The hyperparameters of a training, and how a request's are completed by those of the catalogue."""

import math

from pydantic import BaseModel, ConfigDict

from core.catalog import Model
from core.catalog.fine_tuning import FineTuningSpec
from core.errors import InvalidParameter
from core.fine_tuning.requests import HyperparametersRequest


class Hyperparameters(BaseModel):
    """The hyperparameters with which a training runs."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    steps: int
    batch_size: int
    learning_rate: float
    rank: int
    resolution: int

    def epochs(self, images: int) -> int:
        """How often each image is seen, at least once."""
        return max(1, round(self.steps * self.batch_size / images))


def complete(
    request: HyperparametersRequest,
    model: Model,
    images: int,
    param: str = "hyperparameters",
    *,
    is_estimate: bool = False,
) -> Hyperparameters:
    """The hyperparameters for so many images. Raises InvalidParameter for a value beyond the catalogue's bounds.

    param: where the request has them, for messages. is_estimate: the number of images is not known yet, so a number of
    epochs is not refused.
    """
    spec = spec_of(model)
    batch_size = spec.batch_size if request.batch_size in (None, "auto") else int(request.batch_size or 0)
    _check(f"{param}.batch_size", batch_size, spec.max_batch_size, model)
    batch_size = min(batch_size, images)
    steps = spec.steps
    if request.steps is not None:
        steps = request.steps
        _check(f"{param}.steps", steps, spec.max_steps, model)
    elif isinstance(request.n_epochs, int):
        steps = math.ceil(images * request.n_epochs / batch_size)
        if steps > spec.max_steps and not is_estimate:
            raise InvalidParameter(
                f"{param}.n_epochs: {request.n_epochs} epochs of {images} images are {steps} steps; {model.id} allows "
                f"{spec.max_steps}.",
                param=f"{param}.n_epochs",
            )
    rate = request.learning_rate or spec.learning_rate
    if isinstance(request.learning_rate_multiplier, int | float):
        rate *= request.learning_rate_multiplier
    usual_resolution = spec.resolution or int(model.size.partition("x")[0])
    resolution = request.resolution or usual_resolution
    rank = request.rank or spec.rank
    _check(f"{param}.rank", rank, max(spec.max_rank, spec.rank), model)
    _check(f"{param}.resolution", resolution, max(spec.max_resolution or 0, usual_resolution), model)
    return Hyperparameters(
        steps=steps,
        batch_size=batch_size,
        learning_rate=rate,
        rank=rank,
        resolution=resolution,
    )


def estimated_cost(model: Model, steps: int | None) -> float:
    """Device-seconds of a training. steps: None while only the training file says how many: the catalogue's then."""
    spec = spec_of(model)
    return (spec.steps if steps is None else steps) * spec.seconds_per_step


def spec_of(model: Model) -> FineTuningSpec:
    """How a model may be fine-tuned. Raises InvalidParameter if it may not."""
    if model.fine_tuning is None:
        raise InvalidParameter(
            f"{model.id} cannot be fine-tuned; its entry of the catalogue has no `fine_tuning`.", param="model"
        )
    return model.fine_tuning


def _check(param: str, value: int, maximum: int, model: Model) -> None:
    if value > maximum:
        raise InvalidParameter(f"{param} is {value}; {model.id} allows 1 to {maximum}.", param=param)
