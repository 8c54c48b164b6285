"""How a request of OpenAI's images calls comes: as JSON, or as a form with images in it, as the SDKs send it."""

from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from api.context import Context
from api.deps import json_body
from api.multipart import fields_of, files_of, form
from api.openapi import REFERENCES, form_fields
from core.errors import InvalidParameter, UnknownParameter
from core.requests.fields import ImageSource
from core.requests.job import explain, parse
from core.requests.openai import ImagesRequest

FORM_BYTES = 1_000_000
"""Room for a form's other fields and its boundaries, beside the images."""

RequestT = TypeVar("RequestT", bound=ImagesRequest)


async def read(request: Request, context: Context, kind: type[RequestT]) -> RequestT:
    """A request that comes as a form with images in it, or as JSON that names them."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/"):
        return parse(kind, await json_body(request, context))
    known = [name for name in ["image", "mask"] if name in kind.model_fields]
    limit = len(known) * context.settings.max_image_bytes + FORM_BYTES
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
            fields[name] = ImageSource.of(await files[0].read())
    if isinstance(filters := fields.get("postprocess"), dict):
        fields["postprocess"] = {name: _number(value) for name, value in filters.items()}
    try:
        return kind.model_validate(fields, strict=False)
    except ValidationError as error:
        raise explain(error.errors(include_url=False)[0], kind) from None


def _number(text: Any) -> Any:
    """A number of a form's field, where its type depends on it (`postprocess[upscale]` is 2 or 4)."""
    if not isinstance(text, str):
        return text
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        return text


def as_json(kind: type[BaseModel]) -> dict[str, Any]:
    """A model as the content of a JSON body, for the OpenAPI document."""
    return {"application/json": {"schema": kind.model_json_schema(ref_template=REFERENCES)}}


def as_form(kind: type[BaseModel], *required: str) -> dict[str, Any]:
    """A model as the content of a form, its images as files, for the OpenAPI document."""
    schema = kind.model_json_schema()
    described = {name: schema["properties"].pop(name, {}).get("description") for name in ("image", "mask", "images")}
    form = form_fields(schema)
    for name in ("image", "mask"):
        if described[name] is not None:
            form["properties"][name] = {"type": "string", "format": "binary", "description": described[name]}
    return {"multipart/form-data": {"schema": form | {"required": list(required)}}}
