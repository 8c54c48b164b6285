"""The JSON of webhook endpoints and deliveries. Endpoints have the OpenAI SDK's format, with additional fields."""

from typing import Annotated, Literal

from annotated_types import MaxLen, MinLen
from pydantic import BaseModel, ConfigDict, Field

from core.requests.fields import UnixSeconds
from core.text import Text
from core.webhooks.fields import EventName

Name = Annotated[Text, MinLen(1), MaxLen(200)]
Url = Annotated[Text, MaxLen(2048), Field(json_schema_extra={"pattern": "^https?://"})]
EventTypes = Annotated[list[EventName], MinLen(1), MaxLen(20)]


class EndpointRequest(BaseModel):
    """A webhook endpoint to create."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Name = Field(description="A name for display.")
    url: Url = Field(description="The URL that receives events. It must be https, except on allowed internal hosts.")
    event_types: EventTypes = Field(description="The event types to receive.")


class EndpointChanges(BaseModel):
    """The fields of an endpoint to update."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Name | None = None
    url: Url | None = None
    event_types: EventTypes | None = None
    enabled: bool | None = Field(None, description="False: stop sending events. True: send new events again.")


class RotateRequest(BaseModel):
    """How to rotate a secret."""

    model_config = ConfigDict(extra="forbid", strict=True)

    keep_old_secret_active_for_24_hours: bool = Field(False, description="Sign with both secrets for 24 hours.")


class TestRequest(BaseModel):
    """The test event to send."""

    model_config = ConfigDict(extra="forbid", strict=True)

    event_type: EventName


class RedeliverRequest(BaseModel):
    """The events to redeliver."""

    model_config = ConfigDict(extra="forbid", strict=True)

    since: UnixSeconds = Field(description="Redeliver events since this time, in Unix seconds.")


class EndpointObject(BaseModel):
    """A webhook endpoint, in OpenAI's format."""

    id: str
    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    name: str
    url: str
    event_types: list[str]
    signing_secret_hint: str
    enabled: bool
    disabled_reason: str | None = Field(description="Why the endpoint is disabled; null if it is enabled.")
    failing_since: int | None = Field(description="When deliveries started to fail; null if the last one succeeded.")
    created_at: int
    updated_at: int


class EndpointWithSecret(EndpointObject):
    """An endpoint with its secret, which is returned only once."""

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
    """All event types."""

    object: Literal["list"] = "list"
    data: list[str]


class TestResult(BaseModel):
    """The response to a test event."""

    object: Literal["webhook_endpoint.test"] = "webhook_endpoint.test"
    webhook_endpoint_id: str
    event_type: str
    status_code: int
    success: Literal[True] = True


class AttemptObject(BaseModel):
    """An attempt of a delivery."""

    number: int
    started_at: int
    seconds: float
    status_code: int | None
    error_code: str | None = Field(
        description="`http_error`: the response was not 2xx. Otherwise why none came: `timeout`, `no_answer`, "
        "`connection_failed`, `name_not_found`, `destination_refused`, `certificate_expired`, "
        "`certificate_wrong_host`, `certificate_untrusted`, `tls_failed`."
    )
    answer: str | None = Field(description="The beginning of the response body.")


class DeliveryObject(BaseModel):
    """The delivery of an event to a webhook."""

    id: str
    object: Literal["webhook_delivery"] = "webhook_delivery"
    webhook_endpoint_id: str | None = Field(description="Null: the webhook of the job or batch itself.")
    job_id: str | None
    batch_id: str | None
    event_id: str
    event_type: str
    status: str = Field(description="`pending`, `delivered` or `failed`.")
    attempts: int
    next_attempt_at: int | None
    status_code: int | None = Field(description="The status code of the latest attempt.")
    error_code: str | None = Field(description="The error of the latest attempt, or why the delivery was aborted.")
    created_at: int
    finished_at: int | None


class DeliveryWithAttempts(DeliveryObject):
    """A delivery with all its attempts."""

    log: list[AttemptObject]


class DeliveryList(BaseModel):
    """A page of deliveries."""

    object: Literal["list"] = "list"
    data: list[DeliveryObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Redelivered(BaseModel):
    """The number of events that are redelivered."""

    object: Literal["webhook_endpoint.redelivery"] = "webhook_endpoint.redelivery"
    webhook_endpoint_id: str
    events: int
