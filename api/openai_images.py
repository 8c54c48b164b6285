"""OpenAI's synchronous images calls, `client.images.generate`, `.edit`, `.create_variation`: a job that is waited for.

Edits and variations come as forms with files in them, as the SDKs send them; an edit may come as JSON as well.
"""

import base64
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field, ValidationError

from api.context import Context
from api.deps import Body, Parts, Project, json_body
from api.inputs import bring
from api.jobs import ERROR, answer, render, submit_job
from api.multipart import fields_of, files_of, form
from api.openapi import REFERENCES
from api.waiting import job_row, until_final
from core.catalog import Operation
from core.errors import GenerationError, InvalidParameter, RequestTimeout, UnknownParameter
from core.requests import (
    InputImage,
    InputMask,
    JobRequest,
    MetadataValue,
    OutputFormat,
    PictureRequest,
    PictureSource,
    Strength,
    able_model,
    explain,
    parse,
    plan,
)
from core.schemas import JobObject
from core.status import JobStatus

router = APIRouter(prefix="/v1/images", tags=["images"])

FORM_BYTES = 1_000_000
"""Room for a form's other fields and its boundaries, beside the pictures."""


class GenerateRequest(PictureRequest):
    """OpenAI's parameters that a local model can honour, and Safelight's own beside them."""

    response_format: Literal["url", "b64_json"] = Field("url", description="A link, or the bytes in base 64.")
    user: MetadataValue | None = Field(
        None, description="Your name for the end user; kept in the job's metadata as `user`."
    )


class VariationRequest(GenerateRequest):
    """A variation; it takes no prompt."""

    image: InputImage = None


class EditRequest(VariationRequest):
    """An edit."""

    mask: InputMask = None
    strength: Strength = None


RequestT = TypeVar("RequestT", bound=GenerateRequest)


class ImageData(BaseModel):
    """One picture, in OpenAI's words."""

    url: str | None = None
    b64_json: str | None = None
    seed: int


class ImagesResponse(BaseModel):
    """OpenAI's answer, with the job's id and each picture's seed beside it."""

    created: int
    data: list[ImageData]
    size: str
    output_format: OutputFormat
    job_id: str


RESPONSES: dict[int | str, dict[str, Any]] = dict.fromkeys((400, 413, 500, 503, 504), ERROR)


def _json(kind: type[BaseModel]) -> dict[str, Any]:
    return {"application/json": {"schema": kind.model_json_schema(ref_template=REFERENCES)}}


def _form(kind: type[BaseModel]) -> dict[str, Any]:
    """A model as a form, its pictures as files."""
    schema = kind.model_json_schema(ref_template=REFERENCES)
    for name in {"image", "mask"} & schema["properties"].keys():
        described = schema["properties"][name]["description"]
        schema["properties"][name] = {"type": "string", "format": "binary", "description": described}
    return {"multipart/form-data": {"schema": schema | {"required": ["image"]}}}


def _body(content: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": content}}


@router.post(
    "/generations",
    summary="Draw and wait (OpenAI's call)",
    response_model=ImagesResponse,
    responses=RESPONSES,
    openapi_extra=_body(_json(GenerateRequest)),
)
async def generate(body: Body, parts: Parts, project_id: Project) -> Response:
    """Draw pictures and wait for them."""
    return await _draw(parts, project_id, "generation", parse(GenerateRequest, body))


@router.post(
    "/edits",
    summary="Edit and wait (OpenAI's call)",
    response_model=ImagesResponse,
    responses=RESPONSES,
    openapi_extra=_body(_form(EditRequest) | _json(EditRequest)),
)
async def edit(request: Request, parts: Parts, project_id: Project) -> Response:
    """Draw a picture anew where the mask says so, and wait for it."""
    return await _draw(parts, project_id, "edit", await _read(request, parts, EditRequest))


@router.post(
    "/variations",
    summary="Vary and wait (OpenAI's call)",
    response_model=ImagesResponse,
    responses=RESPONSES,
    openapi_extra=_body(_form(VariationRequest) | _json(VariationRequest)),
)
async def vary(request: Request, parts: Parts, project_id: Project) -> Response:
    """Draw the subject of a picture anew, and wait for it."""
    return await _draw(parts, project_id, "variation", await _read(request, parts, VariationRequest))


async def _read(request: Request, parts: Context, kind: type[RequestT]) -> RequestT:
    """A request that comes as a form with pictures in it, or as JSON that names them."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/"):
        return parse(kind, await json_body(request, parts))
    known = [name for name in ["image", "mask"] if name in kind.model_fields]
    limit = len(known) * parts.settings.max_picture_bytes + FORM_BYTES
    async with form(request, limit, max_files=16) as found:
        fields, uploads = fields_of(found), files_of(found)
        for name in known:
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


async def _draw(parts: Context, project_id: str, operation: Operation, wanted: GenerateRequest) -> Response:
    """Submit a job, wait until it is done, and answer with its pictures."""
    fields = {name: getattr(wanted, name) for name in wanted.model_fields_set - {"response_format", "user"}}
    request = JobRequest.model_validate(fields | {"operation": operation})
    if wanted.user is not None:
        request.metadata.setdefault("user", wanted.user)
    able_model(request, parts.catalog)
    brought = await bring(parts, project_id, request)
    job = plan(request, parts.catalog, parts.settings, project_id, inputs=brought.ids)
    await submit_job(parts, job, brought)
    await until_final(parts, project_id, job.id, parts.settings.sync_timeout.total_seconds())
    row = await job_row(parts, project_id, job.id)
    if row.status != JobStatus.COMPLETED:
        raise _failure(render(parts, row))
    data = [await _data(parts, image, wanted.response_format) for image in row.images]
    created = int(row.created_at.timestamp())
    return answer(
        ImagesResponse(created=created, data=data, size=row.size, output_format=wanted.output_format, job_id=row.id),
        headers={"x-safelight-job": row.id},
    )


async def _data(parts: Context, image: Mapping[str, Any], response_format: str) -> ImageData:
    if response_format == "url":
        return ImageData(url=parts.storage.url(image["id"], image["storage_key"]), seed=image["seed"])
    content = await parts.storage.fetch(image["storage_key"])
    return ImageData(b64_json=base64.b64encode(content).decode(), seed=image["seed"])


def _failure(job: JobObject) -> Exception:
    """Why a job brought no pictures, as an error of the call."""
    if job.error is not None:
        failure = GenerationError(f"{job.error.message} (job {job.id})")
        failure.code = job.error.code
        return failure
    if job.status.is_final:
        return GenerationError(f"The job {job.id} was {job.status}.")
    return RequestTimeout(f"The picture was not ready in time; fetch it later as {job.urls.self}.")
