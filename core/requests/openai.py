"""The requests of OpenAI's images calls, from the API or from a line of a batch.

They accept what OpenAI documents; `core/requests/adaptation.py` converts it to what the model has. As in the SDKs'
types, null means not set. `api/openai/bodies.py` reads the requests that come as forms.
"""

from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from core.errors import InvalidParameter
from core.job_warnings import JobWarning
from core.metadata_keys import END_USER_KEYS
from core.parameters.image_source import ImageSource
from core.parameters.job import Operation, Quality
from core.parameters.reference_images import MAX_INPUT_IMAGES, reference_of
from core.requests.fields import InputImage, InputMask, JobWebhook, MetadataValue
from core.requests.job import ImageParameters, JobRequest

_DALLE_QUALITIES = {"standard": "auto", "hd": "high"}
OpenAIQuality = Annotated[
    Quality,
    BeforeValidator(
        lambda value: _DALLE_QUALITIES.get(value, value) if isinstance(value, str) else value,
        json_schema_input_type=Literal["auto", "standard", "hd", "low", "medium", "high", "xhigh", "max"],
    ),
]
"""DALL·E's `standard` means `auto`, its `hd` means `high`."""

ResponseFormat = Literal["url", "b64_json"]
OPENAI_NAMES = {"moderation_level": "moderation"}
"""OpenAI's names of parameters that have another name here: `moderation` of a job is the result of a check."""

BASE64_NAMES = ("gpt-image-", "chatgpt-image-")
"""The beginnings of the names of OpenAI's models that return base64 by default."""

_UNSUPPORTED = {
    "markup": "describe the change in the prompt, and mark the area with `mask`",
    "complexity": "use `steps`, the number of denoising steps",
    "frame_count": "animations are not supported; output_format is png, webp or jpeg",
    "frame_duration_ms": "animations are not supported; output_format is png, webp or jpeg",
    "svg": "output_format is png, webp or jpeg",
}
"""OpenAI's parameters that Safelight does not support, and the alternatives."""


class ImagesRequest(ImageParameters):
    """The common parameters of OpenAI's images calls, and those of Safelight."""

    quality: OpenAIQuality = Field("auto", description="`standard` means `auto`, `hd` means `high`.")
    moderation: Literal["low", "auto"] | None = Field(
        None, description="Moderation level of a provider, as `moderation_level`. Others: set by the operator."
    )
    response_format: ResponseFormat | None = Field(
        None,
        description="Return a link, or the image in base64. Default: `b64_json` if `model` begins with `gpt-image-` or "
        "`chatgpt-image-`, else `url`.",
    )
    user: MetadataValue | None = Field(
        None, description="Id of your end user. It is stored in the job's metadata as `user`."
    )
    safety_identifier: MetadataValue | None = Field(
        None,
        description="The newer name of `user`. If both are set, this one is used, and the other is stored as "
        "`openai_user`.",
    )
    webhook: JobWebhook | None = Field(None, description="URL that receives the events of the job.")

    @model_validator(mode="before")
    @classmethod
    def _reject_unsupported(cls, values: Any) -> Any:
        return without_unsupported(values)

    @property
    def image_format(self) -> ResponseFormat:
        """Whether the response has links or base64. The default belongs to the model that the request names."""
        return self.response_format or default_format(self.model)

    @property
    def end_user(self) -> str | None:
        """Id of the end user. OpenAI's newer parameter takes precedence."""
        return self.safety_identifier or self.user

    @property
    def streams(self) -> bool:
        """Whether the response is a stream of events."""
        return False


class VariationRequest(ImagesRequest):
    """A variation. It has no prompt."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"image": {"image_id": "img_01kc3m9w8yq6k0v2t5x7z1b4dn"}, "n": 2}]}
    )

    image: InputImage = None


class GenerateRequest(ImagesRequest):
    """A generation."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"prompt": "A penguin on the beach", "n": 2, "size": "256x256", "seed": 7},
                {"prompt": "A penguin on the beach", "stream": True, "partial_images": 2},
            ]
        }
    )

    stream: bool = Field(False, description="Respond with server-sent events: previews, then the image. n must be 1.")
    partial_images: Annotated[int, Ge(0), Le(3)] = Field(
        0, description="Number of previews in the stream. There may be fewer if the image is finished sooner."
    )

    @model_validator(mode="after")
    def _check_stream(self) -> Self:
        if self.stream and self.n != 1:
            raise InvalidParameter(
                f"n is {self.n}; with stream it must be 1, as at OpenAI: its events have no image index. "
                "POST /v1/jobs accepts more images, and its events have the index.",
                param="n",
            )
        if self.stream and self.response_format == "url":
            raise InvalidParameter("response_format must be b64_json if stream is true.", param="response_format")
        return self

    @property
    def streams(self) -> bool:
        """Whether the response is a stream of events."""
        return self.stream


class EditRequest(GenerateRequest):
    """An edit."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"prompt": "a red sofa", "images": [{"file_id": "file-01kc3m9w8yq6k0v2t5x7z1b4dn"}]}]
        }
    )

    image: InputImage = None
    images: Annotated[list[ImageSource], MinLen(1), MaxLen(MAX_INPUT_IMAGES)] | None = Field(
        None,
        description="The name of `image` in OpenAI's JSON: a list of images. A model that takes fewer uses the first, "
        "with a warning.",
    )
    mask: InputMask = None

    @model_validator(mode="before")
    @classmethod
    def _take_list_of_images(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("image"), list):
            if values.get("images") is not None:
                raise InvalidParameter("images and image must not both be set.", param="images")
            values = dict(values)
            values["images"] = values.pop("image")
        return values

    @model_validator(mode="after")
    def _has_one_list_of_images(self) -> Self:
        if self.images is not None:
            if self.image is not None:
                raise InvalidParameter("images and image must not both be set.", param="images")
            self.image = self.images[0]
        return self


REQUESTS: dict[Operation, type[ImagesRequest]] = {
    "generation": GenerateRequest,
    "edit": EditRequest,
    "variation": VariationRequest,
}
"""The request type of each operation."""


def default_format(model: str | None) -> ResponseFormat:
    """The response format for a request that names a model and no format."""
    return "b64_json" if (model or "").startswith(BASE64_NAMES) else "url"


def without_unsupported(values: Any) -> Any:
    """The fields of a request that are not null. Raises InvalidParameter for one that Safelight does not support."""
    if not isinstance(values, dict):
        return values
    fields = {name: value for name, value in values.items() if value is not None}
    for name, alternative in _UNSUPPORTED.items():
        if name in fields:
            raise InvalidParameter(f"{name} is not supported, leave it out: {alternative}.", param=name)
    return fields


def warning(param: str, message: str, code: str = "parameter_not_used") -> JobWarning:
    """A warning about a parameter that is not honoured in full."""
    return JobWarning(code=code, message=message, param=param)


def job_request(images_request: ImagesRequest, operation: Operation) -> JobRequest:
    """The job request of an images request, without the parameters that only concern the response."""
    names = images_request.model_fields_set & JobRequest.model_fields.keys()
    values = {name: getattr(images_request, name) for name in names}
    if isinstance(images_request, EditRequest) and images_request.images is not None:
        values["reference_images"] = [reference_of(source) for source in images_request.images[1:]] or None
    if images_request.moderation is not None:
        values["moderation_level"] = images_request.moderation
    previews = 0 if images_request.streams else values.pop("partial_images", 0)
    request = JobRequest.model_validate({"operation": operation} | values)
    request._is_openai = True
    if previews:
        request.add_warnings([warning("partial_images", "partial_images is not used: previews need stream: true.")])
    _add_end_user(request.metadata, images_request)
    return request


def _add_end_user(metadata: dict[str, str], images_request: ImagesRequest) -> None:
    """Store every id of the end user that a request has: an erasure may name any of them."""
    ids = {
        "user": images_request.end_user,
        "safety_identifier": images_request.safety_identifier,
        "openai_user": images_request.user,
    }
    for name, end_user in ids.items():
        if end_user is not None and end_user not in (metadata.get(key) for key in END_USER_KEYS):
            metadata.setdefault(name, end_user)
