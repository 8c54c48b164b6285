"""The request for a fine-tuning job, in OpenAI's shape with hyperparameters of our own.

What OpenAI accepts and a LoRA of an image model has no use for (a validation file, an integration) is accepted with a
warning; what would train something else than the request says (other methods) is an error.
"""

from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, MaxLen
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from core.catalog.fine_tuning import Rank, Resolution
from core.errors import InvalidParameter
from core.job_warnings import JobWarning
from core.requests.fields import MetadataKey, MetadataValue
from core.text import check_printable

MAX_SEED = 2**31 - 1
FileId = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(check_printable)]


class HyperparametersRequest(BaseModel):
    """Hyperparameters of a request: OpenAI's three, and `steps`, `learning_rate`, `rank` and `resolution`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    n_epochs: Literal["auto"] | Annotated[int, Ge(1), Le(100_000)] | None = Field(
        None, description="How often each image is seen. `auto`: as many steps as the catalogue says."
    )
    batch_size: Literal["auto"] | Annotated[int, Ge(1), Le(256)] | None = Field(
        None, description="Images of a step. `auto`: as many as the catalogue says."
    )
    learning_rate_multiplier: Literal["auto"] | Annotated[float, Gt(0), Le(1000)] | None = Field(
        None, description="Factor of the catalogue's learning rate. `auto`: 1."
    )
    steps: Annotated[int, Ge(1)] | None = Field(None, description="Number of steps, in the place of `n_epochs`.")
    learning_rate: Annotated[float, Gt(0), Le(1)] | None = Field(
        None, description="Learning rate of AdamW. Default: the catalogue's."
    )
    rank: Rank | None = Field(None, description="Rank of the LoRA. Default: the catalogue's.")
    resolution: Resolution | None = Field(
        None, description="Side of the images in pixels, a multiple of 8. Default: the catalogue's."
    )

    @model_validator(mode="after")
    def _agree(self) -> "HyperparametersRequest":
        if self.steps is not None and isinstance(self.n_epochs, int):
            raise InvalidParameter("steps and n_epochs must not both be set.", param="hyperparameters.steps")
        if self.resolution is not None and self.resolution % 8:
            raise InvalidParameter("resolution must be a multiple of 8.", param="hyperparameters.resolution")
        return self


class SupervisedMethod(BaseModel):
    """The method `supervised`, which is the only one."""

    model_config = ConfigDict(extra="forbid", strict=True)

    hyperparameters: HyperparametersRequest = Field(default_factory=HyperparametersRequest)


class MethodRequest(BaseModel):
    """How the model is trained."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["supervised"] = Field("supervised", description="OpenAI's other methods are for text.")
    supervised: SupervisedMethod | None = None


class FineTuningRequest(BaseModel):
    """A request to fine-tune a model."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {
                    "training_file": "file-01kc3m9w8yq6k0v2t5x7z1b4dn",
                    "model": "unclip-mini",
                    "suffix": "zorble",
                    "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 100}}},
                }
            ]
        },
    )

    training_file: FileId = Field(
        description="Id of a file with purpose `fine-tune`: JSON lines of `image` and `text`, or a ZIP of images."
    )
    model: Annotated[str, StringConstraints(min_length=1, max_length=256)] = Field(
        description="Name or alias of a model that may be fine-tuned; see `fine_tuning` in `GET /v1/models`."
    )
    suffix: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = Field(
        None, description="Part of the name of the new model: 1 to 64 letters, digits, `-` or `_`."
    )
    seed: Annotated[int, Ge(0), Le(MAX_SEED)] | None = Field(
        None,
        description="Seed of the training: the same seed, images and hyperparameters make the same LoRA. "
        "Default: random.",
    )
    metadata: Annotated[dict[MetadataKey, MetadataValue], MaxLen(16)] | None = Field(
        None, description="Up to 16 key-value pairs of your choice."
    )
    method: MethodRequest | None = Field(None, description="The method, with its hyperparameters.")
    hyperparameters: HyperparametersRequest | None = Field(
        None, description="OpenAI's earlier place of the hyperparameters. Not beside those of `method`."
    )
    validation_file: FileId | None = Field(None, description="Accepted with a warning: nothing is validated by it.")
    integrations: Annotated[list[dict[str, Any]], MaxLen(10)] | None = Field(
        None, description="Accepted with a warning: there are none."
    )

    @model_validator(mode="after")
    def _has_one_place(self) -> "FineTuningRequest":
        if self.hyperparameters is not None and self.method is not None and self.method.supervised is not None:
            raise InvalidParameter("hyperparameters and method must not both have them.", param="hyperparameters")
        return self

    @property
    def training(self) -> HyperparametersRequest:
        """The hyperparameters, wherever the request has them."""
        if self.method is not None and self.method.supervised is not None:
            return self.method.supervised.hyperparameters
        return self.hyperparameters or HyperparametersRequest()

    @property
    def training_param(self) -> str:
        """Where the request has the hyperparameters."""
        has_method = self.method is not None and self.method.supervised is not None
        return "method.supervised.hyperparameters" if has_method else "hyperparameters"

    @property
    def warnings(self) -> list[JobWarning]:
        """What of the request is not honoured."""
        messages = {
            "validation_file": "No validation is made: look at images of the model instead.",
            "integrations": "There are no integrations: the events of the job have the loss.",
        }
        return [
            JobWarning(code="parameter_ignored", message=message, param=name)
            for name, message in messages.items()
            if getattr(self, name)
        ]
