"""What a client may ask of a batch, and what a line of one may say: `BatchRequest` and `request_of`.

There are three doors: a file, prompts, requests. What all lines share is said once beside them; a line that says it
too has its own way.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from core.errors import InvalidParameter, MissingParameter
from core.parameters import Operation
from core.requests.fields import BatchWebhook, MetadataKey, MetadataValue
from core.requests.job import JobRequest, RequestT, SharedParameters, explain
from core.requests.openai import REQUESTS, job_request
from core.text import Text

Endpoint = Literal["/v1/images/generations", "/v1/images/edits", "/v1/images/variations", "/v1/jobs"]
ResponseFormat = Literal["url", "b64_json"]

OPERATIONS: dict[str, Operation] = {
    "/v1/images/generations": "generation",
    "/v1/images/edits": "edit",
    "/v1/images/variations": "variation",
}
"""Which of OpenAI's images calls means which operation."""

JOBS = "/v1/jobs"
MAX_LINES = 50_000
"""Lines of a batch; as at OpenAI."""

MAX_WINDOW_HOURS = 168
CustomId = Annotated[Text, MinLen(1), MaxLen(256)]


class OutputExpiresAfter(BaseModel):
    """When a batch's output files are to be deleted."""

    model_config = ConfigDict(extra="forbid", strict=True)

    anchor: Literal["created_at"]
    seconds: Annotated[int, Ge(3600), Le(2_592_000)] = Field(description="An hour to 30 days after they are written.")


class BatchRequest(SharedParameters):
    """Many requests at once: one of `input_file_id`, `prompts` and `requests`, and what they share."""

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
        None, description="A file of purpose `batch`: `.jsonl` as at OpenAI, `.csv` with a header, `.txt`: prompts."
    )
    prompts: Annotated[list[Text], MinLen(1), MaxLen(MAX_LINES)] | None = Field(
        None, description="Only prompts; what else there is to say, all share."
    )
    requests: Annotated[list[dict[str, Any]], MinLen(1), MaxLen(MAX_LINES)] | None = Field(
        None, description="Bodies as of the endpoint, each with a `custom_id` if it likes."
    )
    endpoint: Endpoint | None = Field(
        None,
        description="What each line is sent to. Default: `/v1/jobs` for requests, else `/v1/images/generations`.",
    )
    completion_window: Annotated[str, Field(pattern=r"^[1-9]\d{0,2}h$")] = Field(
        "24h", description=f"How long it may take, in hours, up to {MAX_WINDOW_HOURS}h; what waits then expires."
    )
    output_expires_after: OutputExpiresAfter | None = Field(
        None, description="Default: output files are kept as long as finished jobs are."
    )
    response_format: ResponseFormat = Field(
        "url", description="How the output file shows images: links that work for days, or the bytes in base 64."
    )
    metadata: Annotated[dict[MetadataKey, MetadataValue], MaxLen(16)] = Field(
        default_factory=dict, description="Up to 16 pairs of your own."
    )
    webhook: BatchWebhook | None = Field(None, description="Where this batch's events are posted to.")
    dry_run: bool = Field(False, description="Read and check every line and estimate; nothing is made.")

    @model_validator(mode="before")
    @classmethod
    def _null_is_left_out(cls, given: Any) -> Any:
        return {name: value for name, value in given.items() if value is not None} if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _has_one_door(self) -> Self:
        doors = [name for name in ("input_file_id", "prompts", "requests") if getattr(self, name) is not None]
        if not doors:
            raise MissingParameter("One of input_file_id, prompts and requests is required.", param="input_file_id")
        if len(doors) > 1:
            raise InvalidParameter(f"{doors[1]} must not be given beside {doors[0]}.", param=doors[1])
        if self.prompts is not None and self.door not in ("/v1/images/generations", JOBS):
            raise InvalidParameter(
                f"endpoint is {self.endpoint}; prompts are for /v1/images/generations or {JOBS}.", param="endpoint"
            )
        if self.window > timedelta(hours=MAX_WINDOW_HOURS):
            raise InvalidParameter(
                f"completion_window is {self.completion_window}; allowed is 1h to {MAX_WINDOW_HOURS}h.",
                param="completion_window",
            )
        return self

    @property
    def door(self) -> str:
        """What each line is sent to."""
        return self.endpoint or (JOBS if self.requests is not None else "/v1/images/generations")

    @property
    def window(self) -> timedelta:
        """How long it may take."""
        return timedelta(hours=int(self.completion_window.removesuffix("h")))

    @property
    def output_ttl(self) -> timedelta | None:
        """How long its output files are kept, if it says so."""
        after = self.output_expires_after
        return None if after is None else timedelta(seconds=after.seconds)

    @property
    def shared(self) -> dict[str, Any]:
        """What is said for all lines, as JSON."""
        return self.model_dump(mode="json", include=set(SharedParameters.model_fields), exclude_unset=True)


def request_of(
    endpoint: str, body: Mapping[str, Any], shared: Mapping[str, Any], *, strict: bool = True
) -> tuple[JobRequest, ResponseFormat | None]:
    """What a line asks for, and how its images are to be shown if it says so.

    strict: False where values come as text, from a table. Raises SafelightError.
    """
    said = {**shared, **{name: value for name, value in body.items() if value is not None}}
    if endpoint == JOBS:
        asked = _validated(JobRequest, said, strict)
        if asked.dry_run:
            raise InvalidParameter("dry_run is of the batch, not of a line.", param="dry_run")
        return asked, None
    operation = OPERATIONS[endpoint]
    wanted = _validated(REQUESTS[operation], said, strict)
    if wanted.streams:
        raise InvalidParameter("stream must be false in a batch; its events are those of the batch.", param="stream")
    shown = wanted.response_format if "response_format" in wanted.model_fields_set else None
    return job_request(wanted, operation), shown


def _validated(kind: type[RequestT], said: Mapping[str, Any], strict: bool) -> RequestT:
    try:
        return kind.model_validate(said, strict=strict)
    except ValidationError as error:
        raise explain(error.errors(include_url=False)[0], kind) from None
