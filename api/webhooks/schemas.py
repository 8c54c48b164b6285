"""The JSON of webhook endpoints and deliveries. An endpoint has the OpenAI SDK's shape, and facts beside it."""

from typing import Annotated, Literal

from annotated_types import MaxLen, MinLen
from pydantic import BaseModel, ConfigDict, Field

from core.requests.fields import Text, UnixSeconds
from core.webhooks.fields import EventName

Name = Annotated[Text, MinLen(1), MaxLen(200)]
Url = Annotated[Text, MaxLen(2048), Field(json_schema_extra={"pattern": "^https?://"})]
EventTypes = Annotated[list[EventName], MinLen(1)]


class EndpointRequest(BaseModel):
    """A receiver of a project's events."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Name = Field(description="For people.")
    url: Url = Field(description="Where events are posted to; https, unless the receiver is inside.")
    event_types: EventTypes = Field(description="Which events.")


class EndpointChanges(BaseModel):
    """What to change of an endpoint."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Name | None = None
    url: Url | None = None
    event_types: EventTypes | None = None
    enabled: bool | None = Field(None, description="False: nothing more is sent. True: from now on again.")


class RotateRequest(BaseModel):
    """How to replace a secret."""

    model_config = ConfigDict(extra="forbid", strict=True)

    keep_old_secret_active_for_24_hours: bool = Field(False, description="Sign by both until then.")


class TestRequest(BaseModel):
    """What to send as a test."""

    model_config = ConfigDict(extra="forbid", strict=True)

    event_type: EventName


class RedeliverRequest(BaseModel):
    """Which events to send again."""

    model_config = ConfigDict(extra="forbid", strict=True)

    since: UnixSeconds = Field(description="Unix seconds.")


class EndpointObject(BaseModel):
    """A receiver of a project's events, in OpenAI's shape."""

    id: str
    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    name: str
    url: str
    event_types: list[str]
    signing_secret_hint: str
    enabled: bool
    disabled_reason: str | None = Field(description="Why nothing is sent to it any more.")
    failing_since: int | None = Field(description="No delivery has got through since then.")
    created_at: int
    updated_at: int


class EndpointWithSecret(EndpointObject):
    """An endpoint with its secret, which is shown once."""

    signing_secret: str


class EndpointList(BaseModel):
    """A page of endpoints."""

    object: Literal["list"] = "list"
    data: list[EndpointObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class EndpointDeleted(BaseModel):
    """An endpoint was deleted."""

    id: str
    object: Literal["webhook_endpoint.deleted"] = "webhook_endpoint.deleted"
    deleted: Literal[True] = True


class EventTypeList(BaseModel):
    """Every event that there is."""

    object: Literal["list"] = "list"
    data: list[str]


class TestResult(BaseModel):
    """What a receiver answered to a test."""

    object: Literal["webhook_endpoint.test"] = "webhook_endpoint.test"
    webhook_endpoint_id: str
    event_type: str
    status_code: int
    success: Literal[True] = True


class AttemptObject(BaseModel):
    """One try at a delivery."""

    number: int
    started_at: int
    seconds: float
    status_code: int | None
    error_code: str | None = Field(
        description="`http_error`: an answer other than 2xx. Else what kept it from answering: `timeout`, `no_answer`, "
        "`connection_failed`, `name_not_found`, `destination_refused`, `certificate_expired`, "
        "`certificate_wrong_host`, `certificate_untrusted`, `tls_failed`."
    )
    answer: str | None = Field(description="The beginning of what the receiver said.")


class DeliveryObject(BaseModel):
    """An event on its way to a receiver."""

    id: str
    object: Literal["webhook_delivery"] = "webhook_delivery"
    webhook_endpoint_id: str | None = Field(description="Null: the job's or the batch's own receiver.")
    job_id: str | None
    batch_id: str | None
    event_id: str
    event_type: str
    status: str = Field(description="`pending`, `delivered` or `failed`.")
    attempts: int
    next_attempt_at: int | None
    status_code: int | None = Field(description="Of the latest attempt.")
    error_code: str | None = Field(description="Of the latest attempt, or why it was given up.")
    created_at: int
    finished_at: int | None


class DeliveryWithAttempts(DeliveryObject):
    """A delivery with all that was tried."""

    log: list[AttemptObject]


class DeliveryList(BaseModel):
    """A page of deliveries."""

    object: Literal["list"] = "list"
    data: list[DeliveryObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Redelivered(BaseModel):
    """How many events are sent again."""

    object: Literal["webhook_endpoint.redelivery"] = "webhook_endpoint.redelivery"
    webhook_endpoint_id: str
    events: int
