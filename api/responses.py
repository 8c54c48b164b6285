"""Responses of routes: JSON of models, jobs from rows, and the error schema for the OpenAPI document."""

from typing import Any

from fastapi.responses import Response
from pydantic import BaseModel

from api.context import Context
from core.responses.job import ErrorResponse, JobObject, job_object
from core.responses.job_json import job_json
from core.rows.job import JobRow

ERROR: dict[str, Any] = {"model": ErrorResponse}


def answer(body: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A response with a model as JSON, from pydantic's own serializer."""
    return Response(body.model_dump_json(), status_code=status, media_type="application/json", headers=headers)


def answer_without_none(body: BaseModel) -> Response:
    """A response with a model as JSON. What has no value is absent."""
    return Response(body.model_dump_json(exclude_none=True), media_type="application/json")


def render(context: Context, row: JobRow, step: Any = None) -> JobObject:
    """The API's representation of a job's row."""
    return job_object(row, context.base_url, context.storage.url, step)


def render_json(context: Context, row: JobRow, step: Any = None) -> bytes:
    """The JSON of `render`."""
    return job_json(row, context.base_url, context.storage.url, step)


def respond_accepted(body: str | bytes, job_id: str, headers: dict[str, str] | None = None) -> Response:
    """A 202 for a job that is in the database, with its `Location`."""
    return Response(
        body,
        status_code=202,
        media_type="application/json",
        headers={"location": f"/v1/jobs/{job_id}", **(headers or {})},
    )
