"""The requests of an operator to cancel or retry all jobs that match a filter.

The first request has the filter: its answer counts the jobs and has a token. Each further request has a token, changes
some hundred jobs, and its answer has the token of the next one. So nothing is changed that was not counted before.
"""

import base64
import binascii
from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from core.errors import InvalidParameter
from core.ids import id_pattern
from core.requests.fields import MetadataKey, MetadataValue, UnixSeconds
from core.text import Text

BulkAction = Literal["cancel", "retry"]
BulkStatus = Literal["queued", "in_progress", "failed", "expired", "cancelled"]

STATUSES: dict[BulkAction, tuple[BulkStatus, ...]] = {
    "cancel": ("queued", "in_progress"),
    "retry": ("failed", "expired", "cancelled"),
}
"""The statuses that an action can have; the first ones are the default."""

DEFAULTS: dict[BulkAction, tuple[BulkStatus, ...]] = {"cancel": STATUSES["cancel"], "retry": ("failed",)}

ShortText = Annotated[Text, MinLen(1), MaxLen(200)]
JobId = Annotated[str, StringConstraints(pattern=id_pattern("job"))]
Position = tuple[Text, Text, Annotated[int, Ge(-32768), Le(32767)], Annotated[float, Field(allow_inf_nan=False)], JobId]
"""Where a job that waits or runs is in its index: queue, project, precedence, fair rank, id."""


class JobFilter(BaseModel):
    """Which jobs of all projects are meant: those that match every field that is set."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    status: Annotated[list[BulkStatus], MinLen(1), MaxLen(5)] | None = Field(
        None,
        description="To cancel: `queued`, `in_progress`, by default both. To retry: `failed` (the default), `expired`, "
        "`cancelled`.",
    )
    error_code: ShortText | None = Field(None, description="Only jobs that failed with this code.")
    model: ShortText | None = Field(None, description="Id of a model, no alias.")
    queue: ShortText | None = Field(None, description="Only jobs of this queue.")
    project_id: ShortText | None = Field(None, description="Only jobs of this project.")
    batch_id: ShortText | None = Field(
        None, description="To retry, lines of batches are left out unless this names their batch."
    )
    created_after: UnixSeconds | None = None
    created_before: UnixSeconds | None = None
    metadata: Annotated[dict[MetadataKey, MetadataValue], MaxLen(16)] = Field(
        default_factory=dict, description="Only jobs with this metadata."
    )

    def statuses(self, action: BulkAction) -> tuple[BulkStatus, ...]:
        """The statuses that are meant. Raises InvalidParameter for one that the action cannot have."""
        for status in self.status or ():
            if status not in STATUSES[action]:
                raise InvalidParameter(
                    f"filter.status: to {action} jobs it must be one of {', '.join(STATUSES[action])}, not {status}.",
                    param="filter.status",
                )
        return tuple(dict.fromkeys(self.status or DEFAULTS[action]))


class BulkRequest(BaseModel):
    """A filter, to count the jobs; or the token of an answer, to change them."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"filter": {"error_code": "storage_failed", "created_after": 1_790_000_000}}]},
    )

    filter: JobFilter | None = Field(None, description="Count the jobs that match. Nothing is changed.")
    token: Annotated[Text, MaxLen(20_000)] | None = Field(
        None, description="Change the next of the jobs that were counted; from the answer before."
    )

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if (self.filter is None) == (self.token is None):
            raise ValueError("must have exactly one of filter and token")
        return self


class BulkToken(BaseModel):
    """Where an action stands. until: jobs that were submitted, or ended, later are left alone.

    status: the one that is retried; after: the end and the id of the last job of it that was looked at.
    position: of the last job that was looked at, to cancel.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    action: BulkAction
    filter: JobFilter
    until: datetime
    status: BulkStatus | None = None
    after: tuple[datetime, JobId] | None = None
    position: Position | None = None

    def encode(self) -> str:
        """The token as text without special characters."""
        return base64.urlsafe_b64encode(self.model_dump_json(exclude_defaults=True).encode()).decode()


def decode_token(text: str, action: BulkAction) -> BulkToken:
    """The token of an action. Raises InvalidParameter for one of another action, or that no answer had."""
    try:
        token = BulkToken.model_validate_json(base64.urlsafe_b64decode(text.encode()))
        if token.status not in (None, *token.filter.statuses(token.action)):
            raise ValueError("the filter does not have this status")
        until = token.until.astimezone(UTC)
    except (binascii.Error, ValidationError, ValueError, OverflowError) as error:
        raise InvalidParameter("token must be the token of an earlier answer.", param="token") from error
    if token.action != action:
        raise InvalidParameter(f"token belongs to the action {token.action}, not to {action}.", param="token")
    return token.model_copy(update={"until": until})
