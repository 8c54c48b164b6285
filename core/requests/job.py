"""The request for a job, `JobRequest`, and the base classes that it shares with OpenAI's calls and with batches.

A request is validated, never corrected: an unknown field or a value that is not allowed is an error that names the
field and the allowed values, and nothing is stored. `core/requests/plan.py` converts a request to a job.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Annotated, Any, Self, TypeVar, get_args

from annotated_types import Ge, Gt, Le, MaxLen
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator
from pydantic_core import ErrorDetails

from core.errors import InvalidParameter, InvalidRequest, MissingParameter, UnknownParameter
from core.job_warnings import JobWarning
from core.parameters.image_source import ImageSource
from core.parameters.job import Operation, Parameters, rules
from core.requests.fields import (
    InputImage,
    InputMask,
    JobWebhook,
    MetadataKey,
    MetadataValue,
)
from core.requests.structure import MAX_SEPARATORS, load_json
from core.text import Text, shorten

RequestT = TypeVar("RequestT", bound=BaseModel)


class PromptField(BaseModel):
    """The prompt of a request."""

    prompt: Text | None = Field(
        None,
        description="Text that describes the images. Not for variations.",
        json_schema_extra={"minLength": 1},
    )


class SharedParameters(Parameters):
    """What the lines of a batch can share: image parameters, model, number of images and priority."""

    model_config = ConfigDict(frozen=False)

    model: str | None = Field(
        None, description="Name or alias of a model; see `GET /v1/models`. Default: the catalogue's default model."
    )
    n: Annotated[int, Ge(1)] = Field(1, description="Number of images, each with its own seed.")
    priority: Annotated[int, Ge(-100), Le(100)] = Field(
        0,
        description="Jobs of your project with a higher priority are executed first; single jobs always before "
        "batches. Among projects, only a priority below 0, or what SAFELIGHT_MAX_PRIORITY allows, has an effect.",
    )


class ImageParameters(SharedParameters, PromptField):
    """The fields of every request for images."""

    expires_after: Annotated[int, Gt(0), Le(7 * 24 * 3600)] | None = Field(
        None, description="Seconds after which the job expires if it has not started."
    )
    metadata: Annotated[dict[MetadataKey, MetadataValue], MaxLen(16)] = Field(
        default_factory=dict,
        description="Up to 16 key-value pairs of your choice. Lists of jobs can be filtered by them.",
    )


class JobRequest(ImageParameters):
    """A request for images. A generation needs a `prompt`, a variation an `image`, and an edit both."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"prompt": "A cat sitting on a sofa.", "n": 2, "size": "256x256", "seed": 7},
                {"operation": "edit", "prompt": "A dog.", "image": {"file_id": "file-01kc3m9w8yq6k0v2t5x7z1b4dn"}},
                {"operation": "variation", "image": {"image_id": "img_01kc3m9w8yq6k0v2t5x7z1b4dn"}, "n": 4},
            ],
        },
    )

    operation: Operation = Field(
        "generation", description="`generation` from a prompt, `edit` of an image, or `variation` of an image."
    )
    image: InputImage = None
    mask: InputMask = None
    webhook: JobWebhook | None = Field(None, description="URL that receives the events of this job.")
    dry_run: bool = Field(False, description="Only validate and estimate; no job is created.")
    _warnings: list[JobWarning] = PrivateAttr(default_factory=list)
    _is_openai: bool = PrivateAttr(False)

    @property
    def is_openai(self) -> bool:
        """Whether the request is a call of OpenAI's, whose values are adapted to the model (`adaptation.py`)."""
        return self._is_openai

    @property
    def warnings(self) -> tuple[JobWarning, ...]:
        """What of the request is not honoured in full."""
        return tuple(self._warnings)

    def add_warnings(self, warnings: Iterable[JobWarning]) -> None:
        """Add warnings, which the job will have from the start."""
        self._warnings = [*self._warnings, *warnings]

    @property
    def input_images(self) -> list[ImageSource]:
        """The input images without the mask; the first is `image`."""
        return [] if self.image is None else [self.image, *(self.reference_images or ())]

    @model_validator(mode="after")
    def _matches_operation(self) -> Self:
        check_operation(self)
        return self


_INPUTS: dict[str, tuple[Operation, ...]] = {
    "image": ("edit", "variation"),
    "mask": ("edit",),
}
_REQUIRED: dict[str, tuple[Operation, ...]] = {"prompt": ("generation", "edit"), "image": ("edit", "variation")}


@cache
def _fields_not_for(operation: Operation) -> dict[str, tuple[Operation, ...]]:
    """The fields that an operation does not take, with the operations that do."""
    allowed_operations = _INPUTS | {name: rule.operations for name, rule in rules().items()}
    return {name: operations for name, operations in allowed_operations.items() if operation not in operations}


def check_operation(request: JobRequest) -> None:
    """Check which fields are set for an operation. Raises the InvalidRequest of the first error."""
    operation = request.operation
    for name, operations in _fields_not_for(operation).items():
        value = getattr(request, name)
        if value is not None and value != JobRequest.model_fields[name].default:
            raise InvalidParameter(f"{name} is for operation {' or '.join(operations)}, not {operation}.", param=name)
    for name, operations in _REQUIRED.items():
        if getattr(request, name) is None and operation in operations:
            raise MissingParameter(f"{name} is required for operation {operation}.", param=name)
    for index, control in enumerate(request.control or ()):
        if control.image is None:
            raise MissingParameter(f"control.{index}.image is required.", param=f"control.{index}.image")
    for index, reference in enumerate(request.reference_images or ()):
        if not reference.has_image:
            param = f"reference_images.{index}"
            raise MissingParameter(f"{param} must have exactly one of file_id, image_id, image_url.", param=param)
    is_blank = not (request.prompt or "").strip()
    if operation == "variation" and not is_blank:
        raise InvalidParameter("prompt is for operation generation or edit, not variation.", param="prompt")
    if operation != "variation" and is_blank:
        raise InvalidParameter("prompt must not be empty.", param="prompt")


def parse(kind: type[RequestT], body: bytes, max_separators: int = MAX_SEPARATORS) -> RequestT:
    """Parse a JSON body. Raises InvalidJSON, or the InvalidRequest for the first invalid field.

    max_separators: a bound on its values, see `core.requests.structure`.
    """
    return validate(kind, load_json(body, max_separators))


def validate(kind: type[RequestT], values: Any, *, strict: bool | None = None) -> RequestT:
    """Validate the fields of a request. Raises the InvalidRequest for the first invalid field.

    strict: False if all values are text, from a form or a table; by default as the type says.
    """
    try:
        return kind.model_validate(values, strict=strict)
    except ValidationError as error:
        raise _explain(error.errors(include_url=False, include_input=False)[0], kind) from None


_JSON_TYPES = {
    "model_type": "should be an object",
    "dict_type": "should be an object",
    "list_type": "should be a valid array",
}
"""What pydantic calls by the names of Python's types."""


def _explain(error: ErrorDetails, kind: type[BaseModel]) -> InvalidRequest:
    """Convert a pydantic error to an error of the catalogue."""
    param = ".".join(shorten(str(part)) for part in error["loc"] if part != "[key]") or None
    if error["type"] == "missing":
        return MissingParameter(f"{param} is required.", param=param)
    if error["type"] == "extra_forbidden":
        field_names = ", ".join(_fields_at(kind, error["loc"]))
        return UnknownParameter(f"{param} is not a parameter here. Known are: {field_names}.", param=param)
    reason = _JSON_TYPES.get(error["type"]) or error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if param is None:
        return InvalidRequest(f"The body {reason}.", param="body")
    return InvalidParameter(f"{param} {reason}.", param=param)


def _fields_at(kind: type[BaseModel], loc: tuple[int | str, ...]) -> Iterable[str]:
    """The known fields of the object that contains an unknown field."""
    for name in loc[:-1]:
        if isinstance(name, str):  # a number is an index of a list
            kind = next(models_in(kind.model_fields[name].annotation))
    return kind.model_fields


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models in the type of a field, including those inside lists and unions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models_in(part)
