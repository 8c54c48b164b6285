"""The requests of OpenAI's images calls, from the API or from a line of a batch.

Every parameter of the SDKs is either supported or rejected with an error that says what is allowed; none is ignored.
As in the SDKs' types, null means not set. `api/openai/bodies.py` reads the requests that come as forms.
"""

from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from core.errors import InvalidParameter
from core.parameters import Operation, Quality
from core.requests.fields import ImageSource, InputImage, InputMask, JobWebhook, MetadataValue
from core.requests.job import ImageParameters, JobRequest

OpenAIQuality = Annotated[
    Quality,
    BeforeValidator(
        lambda value: "auto" if value == "standard" else value,
        json_schema_input_type=Literal["auto", "standard", "low", "medium", "high", "xhigh", "max"],
    ),
]
"""`standard` is DALL·E's default quality; here it means the default of the model."""

_UNSUPPORTED = {
    "style": "describe the style in the prompt",
    "input_fidelity": "use `strength`, above 0 up to 1, for how much an edit changes the image",
    "markup": "describe the change in the prompt, and mark the area with `mask`",
    "complexity": "use `steps`, the number of denoising steps",
    "frame_count": "animations are not supported; output_format is png, webp or jpeg",
    "frame_duration_ms": "animations are not supported; output_format is png, webp or jpeg",
    "svg": "output_format is png, webp or jpeg",
}
"""OpenAI's parameters that Safelight does not support, and the alternatives."""


class ImagesRequest(ImageParameters):
    """The common parameters of OpenAI's images calls, and those of Safelight."""

    response_format: Literal["url", "b64_json"] = Field("url", description="Return a link, or the image in base64.")
    user: MetadataValue | None = Field(
        None, description="Id of your end user. It is stored in the job's metadata as `user`."
    )
    safety_identifier: MetadataValue | None = Field(
        None, description="The newer name of `user`. If both are set, this one is used."
    )
    webhook: JobWebhook | None = Field(None, description="URL that receives the events of the job.")

    @model_validator(mode="before")
    @classmethod
    def _reject_unsupported(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        fields = {name: value for name, value in values.items() if value is not None}
        for name, alternative in _UNSUPPORTED.items():
            if name in fields:
                raise InvalidParameter(f"{name} is not supported, leave it out: {alternative}.", param=name)
        return fields

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
    background: Literal["auto", "opaque"] = Field("auto", description="All images are opaque.")
    quality: OpenAIQuality = Field("auto", description="One of the model's `qualities`. `standard` means `auto`.")
    moderation: Literal["auto"] = Field(
        "auto", description="Moderation is set by the operator; a request cannot change it."
    )

    @model_validator(mode="after")
    def _check_stream(self) -> Self:
        if not self.stream and self.partial_images:
            raise InvalidParameter("partial_images must be 0 unless stream is true.", param="partial_images")
        if self.stream and self.n != 1:
            raise InvalidParameter(
                f"n is {self.n}; with stream it must be 1, as at OpenAI: its events have no image index. "
                "POST /v1/jobs accepts more images, and its events have the index.",
                param="n",
            )
        if self.stream and "response_format" in self.model_fields_set and self.response_format != "b64_json":
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
    images: Annotated[list[ImageSource], MinLen(1), MaxLen(1)] | None = Field(
        None, description="The name of `image` in OpenAI's JSON: a list with one image."
    )
    mask: InputMask = None

    @model_validator(mode="after")
    def _has_one_image(self) -> Self:
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


def job_request(images_request: ImagesRequest, operation: Operation) -> JobRequest:
    """The job request of an images request, without the parameters that only concern the response."""
    names = images_request.model_fields_set & JobRequest.model_fields.keys()
    values = {name: getattr(images_request, name) for name in names}
    request = JobRequest.model_validate({"operation": operation} | values)
    if images_request.end_user is not None:
        request.metadata.setdefault("user", images_request.end_user)
    return request
