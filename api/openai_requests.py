"""What OpenAI's images calls may say here, and how they are read: JSON, or a form with pictures in it as the SDKs send.

Every parameter of the SDKs is either honoured or refused by name with what is allowed; none is dropped. As in the SDKs'
types, null means left out.
"""

from typing import Annotated, Any, Literal, Self, TypeVar

from annotated_types import Ge, Le, MaxLen, MinLen
from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from api.context import Context
from api.deps import json_body
from api.multipart import fields_of, files_of, form
from api.openapi import REFERENCES
from core.errors import InvalidParameter, UnknownParameter
from core.requests import InputImage, InputMask, MetadataValue, PictureRequest, PictureSource, Strength, explain, parse

FORM_BYTES = 1_000_000
"""Room for a form's other fields and its boundaries, beside the pictures."""

_NOT_HERE = {
    "style": "say it in the prompt",
    "input_fidelity": "`strength`, above 0 up to 1, says how far an edit goes from the picture",
    "markup": "say in the prompt what is to change, and in `mask` where",
    "complexity": "`steps` says how long is drawn",
    "frame_count": "pictures do not move; output_format is png, webp or jpeg",
    "frame_duration_ms": "pictures do not move; output_format is png, webp or jpeg",
    "svg": "output_format is png, webp or jpeg",
}
"""OpenAI's parameters that nothing here could honour, and what to do instead."""


class ImagesRequest(PictureRequest):
    """What every one of OpenAI's images calls may say, and Safelight's own parameters beside it."""

    response_format: Literal["url", "b64_json"] = Field("url", description="A link, or the bytes in base 64.")
    user: MetadataValue | None = Field(
        None, description="Your name for the end user; kept in the job's metadata as `user`."
    )
    safety_identifier: MetadataValue | None = Field(None, description="As `user`, which it takes the place of.")

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
        """For whom the pictures are; OpenAI's newer name for it wins."""
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

    stream: bool = Field(False, description="Answer with server-sent events: previews, then the picture. n must be 1.")
    partial_images: Annotated[int, Ge(0), Le(3)] = Field(
        0, description="How many previews a stream brings; fewer where the picture is done sooner."
    )
    background: Literal["auto", "opaque"] = Field("auto", description="Pictures here are opaque.")
    quality: Literal["auto", "standard"] = Field("auto", description="The model's one; `steps` says how long is drawn.")
    moderation: Literal["auto"] = Field("auto", description="The operator's; a request cannot change it.")

    @model_validator(mode="after")
    def _fits_a_stream(self) -> Self:
        if not self.stream and self.partial_images:
            raise InvalidParameter("partial_images must be 0 unless stream is true.", param="partial_images")
        if self.stream and self.n != 1:
            raise InvalidParameter(
                f"n is {self.n}; with stream it must be 1, as at OpenAI: its events do not say which picture they "
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
    images: Annotated[list[PictureSource], MinLen(1), MaxLen(1)] | None = Field(
        None, description="The picture as OpenAI's JSON names it, in a list of one."
    )
    mask: InputMask = None
    strength: Strength = None

    @model_validator(mode="after")
    def _has_one_picture(self) -> Self:
        if self.images is not None:
            if self.image is not None:
                raise InvalidParameter("images must not be given beside image.", param="images")
            self.image = self.images[0]
        return self


RequestT = TypeVar("RequestT", bound=ImagesRequest)


async def read(request: Request, parts: Context, kind: type[RequestT]) -> RequestT:
    """A request that comes as a form with pictures in it, or as JSON that names them."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/"):
        return parse(kind, await json_body(request, parts))
    known = [name for name in ["image", "mask"] if name in kind.model_fields]
    limit = len(known) * parts.settings.max_picture_bytes + FORM_BYTES
    async with form(request, limit, max_files=16) as found:
        fields, uploads = fields_of(found), files_of(found)
        for name in [*known, "images"]:
            if name in fields:
                raise InvalidParameter(f"{name} must be a file: a part of the form with a filename.", param=name)
        for name, files in uploads.items():
            if name not in known:
                raise UnknownParameter(f"{name} is not a file that is taken here: {', '.join(known)}.", param=name)
            if len(files) > 1:
                raise InvalidParameter(f"{name}: one file is taken, and {len(files)} were sent.", param=name)
            fields[name] = PictureSource.of(await files[0].read())
    if isinstance(filters := fields.get("postprocess"), dict):
        fields["postprocess"] = {name: _number(value) for name, value in filters.items()}
    try:
        return kind.model_validate(fields, strict=False)
    except ValidationError as error:
        raise explain(error.errors(include_url=False)[0], kind) from None


def _number(text: str) -> float | int | str:
    """A number of a form's field, where its type depends on it (`postprocess[upscale]` is 2 or 4)."""
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        return text


def as_json(kind: type[BaseModel]) -> dict[str, Any]:
    """A model as the content of a JSON body, for the OpenAPI document."""
    return {"application/json": {"schema": kind.model_json_schema(ref_template=REFERENCES)}}


def as_form(kind: type[BaseModel]) -> dict[str, Any]:
    """A model as the content of a form, its pictures as files, for the OpenAPI document."""
    schema = kind.model_json_schema(ref_template=REFERENCES)
    schema["properties"].pop("images", None)
    for name in {"image", "mask"} & schema["properties"].keys():
        described = schema["properties"][name]["description"]
        schema["properties"][name] = {"type": "string", "format": "binary", "description": described}
    return {"multipart/form-data": {"schema": schema | {"required": ["image"]}}}
