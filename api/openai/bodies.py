"""The bodies of OpenAI's images calls: JSON, or a form with image files as the SDKs send it."""

from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel

from api.context import Context
from api.deps import json_body
from api.edge.multipart import fields_of, files_of, form
from api.openapi import REFERENCES, form_fields
from core.errors import InvalidParameter, UnknownParameter
from core.parameters.image_source import ImageSource
from core.parameters.reference_images import MAX_INPUT_IMAGES
from core.requests.job import parse, validate
from core.requests.openai import ImagesRequest

FORM_BYTES = 1_000_000
"""Bytes of a form beside its images: other fields and boundaries."""

MAX_FULL_SIZE_IMAGES = 4
"""All images of a form together may be as large as so many of the maximum size."""

RequestT = TypeVar("RequestT", bound=ImagesRequest)


async def read_request(request: Request, context: Context, kind: type[RequestT]) -> RequestT:
    """Read a form with image files, or JSON that references images."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/"):
        return parse(kind, await json_body(request, context))
    file_fields = [name for name in ["image", "mask"] if name in kind.model_fields]
    max_images = MAX_INPUT_IMAGES if "images" in kind.model_fields else 1
    limit = MAX_FULL_SIZE_IMAGES * context.settings.max_image_bytes + FORM_BYTES
    async with form(request, context.uploads, limit, max_files=MAX_INPUT_IMAGES + 1) as data:
        fields, uploads = fields_of(data), files_of(data)
        for name in [*file_fields, "images"]:
            if name in fields:
                raise InvalidParameter(f"{name} must be a file: a part of the form with a filename.", param=name)
        for name, files in uploads.items():
            if name not in file_fields:
                raise UnknownParameter(
                    f"{name} is not a file of this call; its files are {', '.join(file_fields)}.", param=name
                )
            maximum = max_images if name == "image" else 1
            if len(files) > maximum:
                raise InvalidParameter(f"{name} takes up to {maximum} files; {len(files)} were sent.", param=name)
            images = [ImageSource.from_form(await file.read()) for file in files]
            fields |= {name: images[0]} if len(images) == 1 else {"images": images}
    if isinstance(filters := fields.get("postprocess"), dict):
        fields["postprocess"] = {name: _number(value) for name, value in filters.items()}
    return validate(kind, fields, strict=False)


def _number(text: Any) -> Any:
    """The number in a form field whose schema requires a number (`postprocess[upscale]` is 2 or 4)."""
    if not isinstance(text, str):
        return text
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        return text


def as_json(kind: type[BaseModel]) -> dict[str, Any]:
    """The JSON body of a model in the OpenAPI document."""
    return {"application/json": {"schema": kind.model_json_schema(ref_template=REFERENCES)}}


def as_form(kind: type[BaseModel], *required: str) -> dict[str, Any]:
    """The form of a model in the OpenAPI document; images are files."""
    schema = kind.model_json_schema()
    descriptions = {name: schema["properties"].pop(name, {}).get("description") for name in ("image", "mask", "images")}
    schema["properties"].pop("reference_images", None)
    form = form_fields(schema)
    for name in ("image", "mask"):
        if descriptions[name] is not None:
            form["properties"][name] = {"type": "string", "format": "binary", "description": descriptions[name]}
    return {"multipart/form-data": {"schema": form | {"required": list(required)}}}
