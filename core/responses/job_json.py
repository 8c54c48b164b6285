"""The JSON of a job as bytes, for the calls that clients send most.

`job_object` builds a model and validates all of its fields, which takes longer than reading the row. This module writes
the same bytes from the row (`tests/core/test_job_json.py`). What few jobs have is left to the model.
"""

from datetime import datetime
from typing import Any

from pydantic_core import to_json

from core.parameters.job import Parameters
from core.redis.progress import Step
from core.responses.job import SignUrl, job_object, job_warnings
from core.rows.job import ImageJson, JobRow

_PARAMETERS = tuple(Parameters.model_fields)
_INPUTS = frozenset({"image", "mask"})
"""Input images without those that parameters describe: reference images and control images."""

_NUMBERS = tuple(name for name, field in Parameters.model_fields.items() if "float" in str(field.annotation))
"""Parameters that may be written as integers in the catalogue, and are shown with a decimal point."""


def job_json(row: JobRow, base_url: str, sign: SignUrl, step: Step | None = None) -> bytes:
    """The JSON of a job: that of `job_object`."""
    if row.reproduces is not None or row.moderation is not None or not _INPUTS.issuperset(row.inputs):
        return job_object(row, base_url, sign, step).model_dump_json().encode()
    current = step if step is not None and step["attempt"] == row.attempts else None
    url = f"{base_url}/v1/jobs/{row.id}"
    inputs = row.inputs
    return to_json(
        {
            "id": row.id,
            "object": "job",
            "status": row.status,
            "operation": row.operation,
            "model": row.model,
            "prompt": row.prompt,
            "n": row.n,
            **_parameters(row),
            "image": _input(inputs.get("image")),
            "mask": _input(inputs.get("mask")),
            "priority": row.priority + row.project_priority,
            "metadata": row.metadata,
            "webhook": None if row.webhook is None else {"url": row.webhook["url"], "events": row.webhook["events"]},
            "progress": None
            if current is None
            else {"step": current["step"], "steps": current["steps"], "attempt": current["attempt"]},
            "queue_position": row.queue_position,
            "attempts": row.attempts,
            "images": [_image(image, sign) for image in row.images],
            "error": None if row.error_code is None else {"code": row.error_code, "message": row.error_message or ""},
            "warnings": [
                {"code": warning["code"], "message": warning["message"], "param": warning["param"]}
                for warning in job_warnings(row)
            ],
            "moderation": None,
            "retried_from": row.retried_from,
            **({} if row.api_key_id is None else {"api_key_id": row.api_key_id}),
            "batch_id": row.batch_id,
            "batch_index": row.batch_index,
            "custom_id": row.custom_id,
            "cancel_requested_at": _seconds(row.cancel_requested_at),
            "created_at": int(row.created_at.timestamp()),
            "started_at": _seconds(row.started_at),
            "finished_at": _seconds(row.finished_at),
            "expires_at": int(row.expires_at.timestamp()),
            "urls": {"self": url, "cancel": f"{url}/cancel", "events": f"{url}/events"},
        }
    )


def _parameters(row: JobRow) -> dict[str, Any]:
    stored = vars(row.parameters)
    values = {name: stored[name] for name in _PARAMETERS} | {"reference_images": []}
    for name in _NUMBERS:
        if values[name] is not None:
            values[name] = float(values[name])
    return values


def _input(file_id: str | None) -> dict[str, str] | None:
    return None if file_id is None else {"file_id": file_id}


def _image(image: ImageJson, sign: SignUrl) -> dict[str, Any]:
    return {
        "id": image["id"],
        "object": "image",
        "job_id": image["job_id"],
        "index": image["index"],
        "url": sign(image["id"], image["storage_key"]),
        "media_type": image["media_type"],
        "width": image["width"],
        "height": image["height"],
        "bytes": image["bytes"],
        "sha256": image["sha256"],
        "seed": image["seed"],
        "receipt": image["receipt"],
        "created_at": int(datetime.fromisoformat(image["created_at"]).timestamp()),
    }


def _seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())
