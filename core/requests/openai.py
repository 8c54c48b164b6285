"""What OpenAI's images calls may say here, wherever they come from: the API's doors, or a line of a batch.

Every parameter of the SDKs is either honoured or refused by name with what is allowed; none is dropped. As in the SDKs'
types, null means left out. How a form brings them is in `api/openai/bodies.py`.
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
        lambda said: "auto" if said == "standard" else said,
        json_schema_input_type=Literal["auto", "standard", "low", "medium", "high", "xhigh", "max"],
    ),
]
"""DALL·E's word for its usual quality stands for a model's usual one."""

_NOT_HERE = {
    "style": "say it in the prompt",
    "input_fidelity": "`strength`, above 0 up to 1, says how far an edit goes from the image",
    "markup": "say in the prompt what is to change, and in `mask` where",
    "complexity": "`steps` says how long is drawn",
    "frame_count": "images do not move; output_format is png, webp or jpeg",
    "frame_duration_ms": "images do not move; output_format is png, webp or jpeg",
    "svg": "output_format is png, webp or jpeg",
}
"""OpenAI's parameters that nothing here could honour, and what to do instead."""


class ImagesRequest(ImageParameters):
    """What every one of OpenAI's images calls may say, and Safelight's own parameters beside it."""

    response_format: Literal["url", "b64_json"] = Field("url", description="A link, or the bytes in base 64.")
    user: MetadataValue | None = Field(
        None, description="Your name for the end user; kept in the job's metadata as `user`."
    )
    safety_identifier: MetadataValue | None = Field(None, description="As `user`, which it takes the place of.")
    webhook: JobWebhook | None = Field(None, description="Where the events of the job are posted to.")

    @model_validator(mode="before")
    @classmethod
    def _is_of_this_place(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        said = {name: value for name, value in given.items() if value is not None}
        for name, instead in _NOT_HERE.items():
            if name in said:
                raise InvalidParameter(f"{name} is not taken here, leave it out: {instead}.", param=name)
        return said

    @property
    def end_user(self) -> str | None:
        """For whom the images are; OpenAI's newer name for it wins."""
        return self.safety_identifier or self.user

    @property
    def streams(self) -> bool:
        """Whether the answer is a stream of events."""
        return False


class VariationRequest(ImagesRequest):
    """A variation; it takes no prompt."""

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

    stream: bool = Field(False, description="Answer with server-sent events: previews, then the image. n must be 1.")
    partial_images: Annotated[int, Ge(0), Le(3)] = Field(
        0, description="How many previews a stream brings; fewer where the image is done sooner."
    )
    background: Literal["auto", "opaque"] = Field("auto", description="Images here are opaque.")
    quality: OpenAIQuality = Field("auto", description="One of the model's `qualities`; `standard` is `auto`.")
    moderation: Literal["auto"] = Field("auto", description="The operator's; a request cannot change it.")

    @model_validator(mode="after")
    def _fits_a_stream(self) -> Self:
        if not self.stream and self.partial_images:
            raise InvalidParameter("partial_images must be 0 unless stream is true.", param="partial_images")
        if self.stream and self.n != 1:
            raise InvalidParameter(
                f"n is {self.n}; with stream it must be 1, as at OpenAI: its events do not say which image they "
                "show. POST /v1/jobs takes more, and its events tell them apart.",
                param="n",
            )
        if self.stream and "response_format" in self.model_fields_set and self.response_format != "b64_json":
            raise InvalidParameter("response_format must be b64_json where stream is true.", param="response_format")
        return self

    @property
    def streams(self) -> bool:
        """Whether the answer is a stream of events."""
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
        None, description="The image as OpenAI's JSON names it, in a list of one."
    )
    mask: InputMask = None

    @model_validator(mode="after")
    def _has_one_image(self) -> Self:
        if self.images is not None:
            if self.image is not None:
                raise InvalidParameter("images must not be given beside image.", param="images")
            self.image = self.images[0]
        return self


REQUESTS: dict[Operation, type[ImagesRequest]] = {
    "generation": GenerateRequest,
    "edit": EditRequest,
    "variation": VariationRequest,
}
"""What each of OpenAI's images calls reads."""


def job_request(wanted: ImagesRequest, operation: Operation) -> JobRequest:
    """What is asked for as a request for a job; how it is answered stays behind."""
    shared = wanted.model_fields_set & JobRequest.model_fields.keys()
    request = JobRequest.model_validate({"operation": operation} | {name: getattr(wanted, name) for name in shared})
    if wanted.end_user is not None:
        request.metadata.setdefault("user", wanted.end_user)
    return request
