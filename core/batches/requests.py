"""The request for a batch, `BatchRequest`, and the request of each of its lines, `parse_body`.

The lines come from one of three sources: a file, prompts, or requests. Parameters of the batch apply to all lines; a
line may override them.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import BaseModel, ConfigDict, Field, model_validator

from core.errors import InvalidParameter, MissingParameter
from core.parameters.job import Operation
from core.requests.fields import BatchWebhook, MetadataKey, MetadataValue
from core.requests.job import JobRequest, SharedParameters, validate
from core.requests.openai import REQUESTS, ResponseFormat, job_request
from core.text import Text

Endpoint = Literal["/v1/images/generations", "/v1/images/edits", "/v1/images/variations", "/v1/jobs"]
OPERATIONS: dict[str, Operation] = {
    "/v1/images/generations": "generation",
    "/v1/images/edits": "edit",
    "/v1/images/variations": "variation",
}
"""The operation of each of OpenAI's images calls."""

JOBS_ENDPOINT = "/v1/jobs"
MAX_LINES = 50_000
"""Maximum lines of a batch, as at OpenAI."""

MAX_BATCH_SEPARATORS = 2_000_000
"""Commas and opening brackets of the body of a batch. Those of 50,000 requests and their prompts are fewer."""

MAX_WINDOW_HOURS = 168
ExtraColumns = Literal["refuse", "metadata"]
"""What happens to the columns of a table that are no parameters."""

CustomId = Annotated[Text, MinLen(1), MaxLen(256)]


class OutputExpiresAfter(BaseModel):
    """When the output files of a batch are deleted."""

    model_config = ConfigDict(extra="forbid", strict=True)

    anchor: Literal["created_at"]
    seconds: Annotated[int, Ge(3600), Le(2_592_000)] = Field(
        description="Time after the files are written: an hour to 30 days."
    )


class BatchRequest(SharedParameters):
    """Many requests together: one of `input_file_id`, `prompts` and `requests`, and parameters for all of them."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"prompts": ["A cat sitting on a sofa.", "A red house by the sea."], "size": "256x256"},
                {
                    "requests": [
                        {"custom_id": "cat", "prompt": "A cat sitting on a sofa.", "seed": 7},
                        {"custom_id": "house", "prompt": "A red house by the sea.", "n": 2},
                    ]
                },
                {
                    "input_file_id": "file-01kc3m9w8yq6k0v2t5x7z1b4dn",
                    "endpoint": "/v1/images/generations",
                    "completion_window": "24h",
                },
            ]
        },
    )

    input_file_id: str | None = Field(
        None,
        description="File with purpose `batch`: JSONL as at OpenAI, CSV or Excel (`.xlsx`) with a header, or a text "
        "with one prompt per line. The format, the separator and the encoding are recognised by the content.",
    )
    extra_columns: ExtraColumns = Field(
        "refuse",
        description="What happens to columns of a table that are no parameters: they are an error, or each becomes an "
        "entry of the `metadata` of the jobs.",
    )
    prompts: Annotated[list[Text], MinLen(1), MaxLen(MAX_LINES)] | None = Field(
        None,
        fail_fast=True,
        description="Prompts, one per line of the batch. They share all other parameters.",
    )
    requests: Annotated[list[dict[str, Any]], MinLen(1), MaxLen(MAX_LINES)] | None = Field(
        None,
        fail_fast=True,
        description="Request bodies for the endpoint, each with an optional `custom_id`.",
    )
    endpoint: Endpoint | None = Field(
        None,
        description="Endpoint of the lines. Default: `/v1/jobs` for requests, else `/v1/images/generations`.",
    )
    completion_window: Annotated[str, Field(pattern=r"^[1-9]\d{0,2}h$")] = Field(
        "24h", description=f"Maximum time in hours, up to {MAX_WINDOW_HOURS}h. Jobs that are still queued then expire."
    )
    output_expires_after: OutputExpiresAfter | None = Field(
        None, description="When the output files are deleted. Default: with the finished jobs."
    )
    response_format: ResponseFormat = Field(
        "url", description="Images in the output file: links that are valid for days, or base64."
    )
    metadata: Annotated[dict[MetadataKey, MetadataValue], MaxLen(16)] = Field(
        default_factory=dict, description="Up to 16 key-value pairs of your choice."
    )
    webhook: BatchWebhook | None = Field(None, description="URL that receives the events of this batch.")
    dry_run: bool = Field(False, description="Only validate all lines and estimate; no batch is created.")

    @model_validator(mode="before")
    @classmethod
    def _remove_nulls(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {name: value for name, value in values.items() if value is not None}

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        sources = [name for name in ("input_file_id", "prompts", "requests") if getattr(self, name) is not None]
        if not sources:
            raise MissingParameter("One of input_file_id, prompts and requests is required.", param="input_file_id")
        if len(sources) > 1:
            raise InvalidParameter(f"{sources[0]} and {sources[1]} must not both be set.", param=sources[1])
        if self.prompts is not None and self.target_endpoint not in ("/v1/images/generations", JOBS_ENDPOINT):
            raise InvalidParameter(
                f"endpoint is {self.endpoint}; prompts are for /v1/images/generations or {JOBS_ENDPOINT}.",
                param="endpoint",
            )
        if self.window > timedelta(hours=MAX_WINDOW_HOURS):
            raise InvalidParameter(
                f"completion_window is {self.completion_window}; the allowed range is 1h to {MAX_WINDOW_HOURS}h.",
                param="completion_window",
            )
        return self

    @model_validator(mode="after")
    def _shares_only_references(self) -> Self:
        """An image in the parameters of the batch would be stored with them, where no erasure deletes it."""
        images = {f"control.{index}.image": control.image for index, control in enumerate(self.control or ())}
        references = enumerate(self.reference_images or ())
        for param, source in (images | {f"reference_images.{index}": source for index, source in references}).items():
            if source is not None and source.image_url is not None:
                raise InvalidParameter(
                    f"{param} must be a file_id or an image_id, as all lines share it. Upload the image first with "
                    "POST /v1/files and purpose vision.",
                    param=param,
                )
        return self

    @property
    def target_endpoint(self) -> str:
        """The endpoint of the lines."""
        return self.endpoint or (JOBS_ENDPOINT if self.requests is not None else "/v1/images/generations")

    @property
    def window(self) -> timedelta:
        """The maximum time of the batch."""
        return timedelta(hours=int(self.completion_window.removesuffix("h")))

    @property
    def output_ttl(self) -> timedelta | None:
        """How long the output files are stored, if the request sets it."""
        after = self.output_expires_after
        return None if after is None else timedelta(seconds=after.seconds)

    @property
    def shared_parameters(self) -> dict[str, Any]:
        """The parameters for all lines, as JSON."""
        names = set(SharedParameters.model_fields)
        if self.target_endpoint != JOBS_ENDPOINT:
            names.add("response_format")  # if set, it precedes the default of the model that a line names
        return self.model_dump(mode="json", include=names, exclude_unset=True)


def parse_body(
    endpoint: str, body: Mapping[str, Any], shared_parameters: Mapping[str, Any], *, strict: bool = True
) -> tuple[JobRequest, ResponseFormat | None]:
    """The job request of a line, and its response format; None: the batch's.

    strict: False if all values are text, from a table. Raises SafelightError.
    """
    values = {**shared_parameters, **{name: value for name, value in body.items() if value is not None}}
    if endpoint == JOBS_ENDPOINT:
        request = validate(JobRequest, values, strict=strict)
        if request.dry_run:
            raise InvalidParameter("dry_run is a parameter of the batch, not of a line.", param="dry_run")
        return request, None
    operation = OPERATIONS[endpoint]
    images_request = validate(REQUESTS[operation], values, strict=strict)
    if images_request.streams:
        raise InvalidParameter("stream must be false in a batch; use the events of the batch.", param="stream")
    return job_request(images_request, operation), images_request.image_format
