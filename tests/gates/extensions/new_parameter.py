"""Runs in a copy with the parameter `crispness`: it is in every place that has parameters."""

import json
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from api.app import create_app
from cli.main import app as command_line
from core.catalog import Catalog, Model, load_catalog
from core.job_inserts import COLUMNS, RowWriter
from core.new_job import NewJob
from core.parameters.job import ResolvedParameters
from core.requests.job import JobRequest
from core.requests.plan import plan, request_of
from core.rows.job import JobRow
from core.settings import Settings
from core.webhooks.events import sample
from worker.generation.image_files import receipt_parameters

DESCRIPTION = "How sharp the image is."
SHIPPED = load_catalog(Path("models/catalog.toml"))
FAKE = Model(id="fake", generator="fake", operations=("generation", "edit", "variation"), sizes=("64x64", "256x256"))
CATALOG = Catalog(default=SHIPPED.default, models=(*SHIPPED.models, FAKE))

BODIES = {
    "/v1/jobs": ["application/json"],
    "/v1/batches": ["application/json"],
    "/v1/images/generations": ["application/json"],
    "/v1/images/edits": ["application/json", "multipart/form-data"],
    "/v1/images/variations": ["application/json", "multipart/form-data"],
}


def plan_with(**parameters: Any) -> NewJob:
    request = JobRequest.model_validate({"model": "fake", "prompt": "a\tcat", "seed": 7} | parameters)
    return plan(request, CATALOG, Settings(), "default")


def row_of(job: NewJob, parameters: ResolvedParameters) -> JobRow:
    """The row of a job, with the columns that a request has."""
    values: dict[str, Any] = {field.name: None for field in fields(JobRow) if field.default is MISSING}
    values |= {field.name: getattr(job, field.name) for field in fields(job) if field.name in values}
    return JobRow(**values | {"parameters": parameters})


def read_copied_parameters(job: NewJob) -> ResolvedParameters:
    """The parameters of a job that was written as a row of COPY."""
    writer = RowWriter("batch_1", datetime.now(UTC))
    row = writer.row(job, job.id, job.prompt, job.parameters.seed, 0, "line-1", "url")
    cell = row.split("\t")[COLUMNS.index("parameters")]
    return ResolvedParameters.load(json.loads(cell.replace("\\\\", "\\")))


def schemas_of_parameters(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The schemas of all requests and responses that have the parameters of an image."""
    for path, media_types in BODIES.items():
        content = document["paths"][path]["post"]["requestBody"]["content"]
        assert sorted(content) == media_types
        for media_type in media_types:
            yield f"{path} {media_type}", content[media_type]["schema"]
    yield "JobObject", document["components"]["schemas"]["JobObject"]


def check_openapi() -> None:
    for name, schema in schemas_of_parameters(create_app(Settings()).openapi()):
        assert schema["properties"]["crispness"]["description"] == DESCRIPTION, name


def check_command_line() -> None:
    for command in ("generate", "batch"):
        result = CliRunner().invoke(command_line, [command, "--help"], env={"COLUMNS": "200"})
        assert result.exit_code == 0, result.output
        assert re.search(rf"--crispness .*{DESCRIPTION}", result.output), result.output


def check_microbatch_key() -> None:
    keys = {plan_with(crispness=value).microbatch_key for value in (None, 0.25, 0.5)}
    assert len(keys) == 3, keys


def check_job() -> None:
    job = plan_with(crispness=0.25)
    loaded = ResolvedParameters.load(job.parameters.dump())
    copied = read_copied_parameters(job)
    assert loaded == copied == job.parameters
    assert copied.unknown == []
    row = row_of(job, copied)
    assert request_of(row).model_dump()["crispness"] == 0.25
    assert plan(request_of(row), CATALOG, Settings(), "default").parameters == job.parameters
    assert receipt_parameters(row, copied, CATALOG.model("fake"))["crispness"] == 0.25
    assert replace(job, parameters=loaded) == job


def check_webhook() -> None:
    event = sample("evt_1", "job.completed", datetime.now(UTC), "https://images.test").model_dump(mode="json")
    assert "crispness" in event["data"]


if __name__ == "__main__":
    check_openapi()
    check_command_line()
    check_microbatch_key()
    check_job()
    check_webhook()
