"""The lines of a batch's output and error files, in OpenAI's format.

A line that completed has the response that its endpoint would have given. A line that failed has the error; a line that
never ran says why. Jobs are read page by page, so that a batch of any size needs little memory.
"""

import base64
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

from core.batches import queries as batch_queries
from core.batches.requests import JOBS_ENDPOINT
from core.db import Database
from core.errors import NotFound
from core.generation_errors import failure
from core.responses.job import ErrorBody, ErrorResponse, job_object
from core.responses.openai import ImageData, Usage, images_response
from core.rows.batch import BatchRow
from core.rows.job import BatchJobRow, ImageJson
from core.settings import Settings
from core.status import JobStatus
from core.storage import Storage

PAGE = 500

_NEVER_RAN = {
    JobStatus.EXPIRED: ("batch_expired", "The batch's completion window ended before this line was executed."),
    JobStatus.CANCELLED: ("batch_cancelled", "The line was cancelled before it was executed."),
}


def lines_of(
    settings: Settings, database: Database, storage: Storage, batch: BatchRow, *, completed: bool
) -> Iterator[bytes]:
    """The lines of a batch's output file, or of its error file, each with its end."""
    writer = _Writer(settings, storage, batch)
    after = -1
    while page := database.execute(batch_queries.list_lines(batch.id, after=after, limit=PAGE, completed=completed)):
        for job in page:
            yield writer.line(job)
        after = page[-1].batch_index


class _Writer:
    """Writes lines of one batch."""

    def __init__(self, settings: Settings, storage: Storage, batch: BatchRow) -> None:
        self._settings = settings
        self._storage = storage
        self._batch = batch
        # Links need not outlive the file that contains them.
        self._sign = partial(storage.url, ttl=min(settings.batch_url_ttl, batch.output_ttl or settings.retention))

    def line(self, job: BatchJobRow) -> bytes:
        line: dict[str, Any] = {"id": "batch_req_" + job.id.removeprefix("job_"), "custom_id": job.custom_id}
        if job.status in _NEVER_RAN:
            line |= _without_response(*_NEVER_RAN[JobStatus(job.status)])
        else:
            try:
                status, body = (200, self._response(job)) if job.status == JobStatus.COMPLETED else _failure(job)
                line |= {"response": {"status_code": status, "request_id": job.id, "body": body}, "error": None}
            except NotFound:  # an image that was deleted must not hold back the other lines
                line |= _without_response("image_gone", f"The image was deleted (job {job.id}).")
        return json.dumps(line, ensure_ascii=False).encode() + b"\n"

    def _response(self, job: BatchJobRow) -> dict[str, Any]:
        if self._batch.endpoint == JOBS_ENDPOINT:
            body = job_object(job, self._settings.base_url, self._sign).model_dump(mode="json")
            if job.response_format == "b64_json":
                for entry, image in zip(body["images"], job.images, strict=True):
                    entry["b64_json"] = self._bytes(image)
            return body
        data = [self._image(image, job.response_format) for image in job.images]
        usage = Usage.model_validate(job.images[0]["receipt"].get("usage") or {})  # only a provider counts it
        response = images_response(job, data, usage, job.metadata.get("user"))
        return response.model_dump(mode="json", exclude_none=True)

    def _image(self, image: ImageJson, response_format: str) -> ImageData:
        if response_format == "url":
            return ImageData(url=self._sign(image["id"], image["storage_key"]), seed=image["seed"])
        return ImageData(b64_json=self._bytes(image), seed=image["seed"])

    def _bytes(self, image: ImageJson) -> str:
        return base64.b64encode(self._storage.get(image["storage_key"])).decode()


def _without_response(code: str, message: str) -> dict[str, Any]:
    return {"response": None, "error": {"code": code, "message": message}}


def _failure(job: BatchJobRow) -> tuple[int, dict[str, Any]]:
    """Status and body of the response that a call for this job would have had."""
    error = failure(job.error_code or "", f"{job.error_message} (job {job.id})")
    body = ErrorResponse(error=ErrorBody(message=error.message, type=error.type, code=error.code))
    return error.status, body.model_dump(mode="json")
