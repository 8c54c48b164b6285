"""The JSON of a job that is written from its row is that of the model."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from core.parameters.job import ResolvedParameters
from core.redis.progress import Step
from core.responses.job import job_object
from core.responses.job_json import job_json
from core.rows.job import JobRow

TIME = datetime(2026, 11, 29, 12, 0, 0, 900_000, tzinfo=UTC)
ROW = JobRow(
    id="job_1", project_id="default", status="queued", version=1, operation="generation", model="fake",
    prompt='a "cat" 🐈 \u2028 \n', n=1,
    parameters=ResolvedParameters(size="64x64", steps=4, guidance_scale=5, seed=2**32 - 1),
    inputs={}, metadata={}, webhook=None, retried_from=None, reproduces=None, api_key_id=None, request_id=None,
    traceparent=None, provider_usd=None, batch_id=None, batch_index=None, custom_id=None, response_format=None,
    queue="local", microbatch_key="fake", microbatch_size=8, priority=3, project_priority=4, cost=1.0, fair_rank=1.0,
    precedence=0, not_before=TIME, expires_at=TIME, lease=None, lease_expires_at=None, attempt_deadline=None,
    worker=None, attempts=0, failures=0, crashes=0, max_attempts=3, cancel_requested_at=None, error_code=None,
    error_message=None, warnings=[], moderation=None, created_at=TIME, started_at=None, finished_at=None,
)  # fmt: skip
IMAGE: dict[str, Any] = {
    "id": "img_1", "job_id": "job_1", "project_id": "default", "index": 0, "seed": 7, "storage_key": "jobs/1",
    "media_type": "image/png", "width": 64, "height": 64, "bytes": 100, "sha256": "0" * 64, "reproduction": None,
    "receipt": {"device": "cpu", "seconds": 1e-07, "big": 1e16, "list": [1, None, True, 2.0]},
    "created_at": "2026-11-29T12:00:00.9+00:00",
}  # fmt: skip
PARAMETERS: dict[str, Any] = {
    "size": "64x64", "steps": 4, "guidance_scale": 7, "seed": 0, "strength": 1, "eta": 0.1, "negative_prompt": "é",
    "loras": [{"name": "pixel", "weight": 1}], "hires": {"scale": 2.0}, "postprocess": {"upscale": 2},
    "output_compression": 3, "true_cfg_scale": 4,
}  # fmt: skip
WARNING = {"param": None, "code": "x", "message": "y"}  # not in the order of the model, as JSONB stores it
STEP = Step(step=2, steps=4, attempt=1)


def sign(image_id: str, key: str) -> str:
    return f"http://127.0.0.1/{image_id}?{key}"


def check(step: Step | None = None, **fields: Any) -> None:
    row = replace(ROW, **fields)
    expected = job_object(row, "http://127.0.0.1:8000", sign, step).model_dump_json().encode()
    assert job_json(row, "http://127.0.0.1:8000", sign, step) == expected


def test_the_bytes_are_those_of_the_model() -> None:
    check()
    check(
        parameters=ResolvedParameters.load(PARAMETERS), operation="edit", inputs={"image": "file-1", "mask": "file-2"}
    )
    check(parameters=ResolvedParameters.model_construct(**vars(ResolvedParameters.load(PARAMETERS)) | {"eta": 1}))
    check(parameters=ResolvedParameters.load(PARAMETERS | {"of_a_newer_version": 1}))
    check(inputs={"image": "file-1", "image_2": "file-3", "image_3": "file-2"}, metadata={"b": "1", "a": "ü"})
    check(webhook={"url": "http://example.com", "secret": "s", "events": ["job.completed"]}, api_key_id="key_1")
    check(status="in_progress", attempts=1, step=STEP, started_at=TIME, cancel_requested_at=TIME)
    check(status="in_progress", attempts=2, step=STEP, started_at=TIME)
    check(status="failed", error_code="out_of_memory", error_message=None, finished_at=TIME, attempts=3)
    check(status="completed", images=[IMAGE, IMAGE | {"index": 1}], finished_at=TIME, warnings=[WARNING])
    check(has_worker=False, is_queue_paused=True, queue_position=1000, warnings=[WARNING], retried_from="job_0")
    check(batch_id="batch_1", batch_index=0, custom_id="a")
    check(moderation={"outcome": "pass", "checks": ["words"]})
    check(reproduces={"job_id": "job_0", "image_ids": ["img_0"]}, images=[IMAGE])
    check(parameters=ResolvedParameters.load(PARAMETERS | {"control": [{"type": "canny"}]}), inputs={"control_1": "f"})
