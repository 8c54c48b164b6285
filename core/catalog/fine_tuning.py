"""How a model of the catalogue may be fine-tuned: the defaults and bounds of its training."""

from typing import Annotated

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel, ConfigDict, Field

Resolution = Annotated[int, Ge(32), Le(2048)]
Rank = Annotated[int, Ge(1), Le(256)]


class FineTuningSpec(BaseModel):
    """Defaults and bounds of trainings of a model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: Annotated[int, Ge(1)] = Field(500, description="Steps of a training whose number of epochs is `auto`.")
    max_steps: Annotated[int, Ge(1)] = Field(10_000, description="Maximum number of steps.")
    batch_size: Annotated[int, Ge(1)] = Field(4, description="Images of a step whose `batch_size` is `auto`.")
    max_batch_size: Annotated[int, Ge(1)] = 32
    learning_rate: Annotated[float, Gt(0)] = Field(1e-4, description="For a `learning_rate_multiplier` of 1.")
    rank: Rank = Field(16, description="Rank of the LoRA; a higher one learns more and makes a larger file.")
    max_rank: Rank = Field(64, description="Maximum rank. At 64, a LoRA of SDXL has some 370 MB.")
    resolution: Resolution | None = Field(
        None, description="Side of the images in pixels, a multiple of 8. Default: that of the model's default size."
    )
    max_resolution: Resolution | None = Field(
        None, description="Maximum of `resolution` in a request: memory grows with its square. Default: the default."
    )
    seconds_per_step: Annotated[float, Gt(0)] = Field(
        1.0,
        description="Device-seconds of a step; for `estimated_finish`, and for what a training reserves of a limit.",
    )
