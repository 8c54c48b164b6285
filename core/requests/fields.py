"""Fields of several kinds of requests: metadata, input images, webhooks."""

from typing import Annotated, Self

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from core.errors import InvalidParameter
from core.event_types import event_names
from core.outbox.signing import is_secret
from core.parameters.image_source import ImageSource
from core.text import Text, check_printable
from core.webhooks.fields import BatchEventName, JobEventName

UnixSeconds = Annotated[int, Ge(0), Le(253_402_300_799)]
"""A time up to the end of the year 9999, the last one of Python's calendar."""
MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(check_printable)]
MetadataValue = Annotated[str, StringConstraints(max_length=512), AfterValidator(check_printable)]


InputImage = Annotated[
    ImageSource | None,
    Field(description="Input image of an edit or a variation. It is cropped around its centre and scaled."),
]
InputMask = Annotated[
    ImageSource | None,
    Field(
        description="Area that an edit may change: the fully transparent pixels or, in an opaque mask, the white ones. "
        "It has the same size as `image`. Default: the transparent pixels of `image`, or all if it has none."
    ),
]


class Webhook(BaseModel):
    """A URL that receives events, in addition to the project's webhook endpoints."""

    model_config = ConfigDict(extra="forbid", strict=True)

    url: Annotated[Text, MaxLen(2048)] = Field(
        description="URL that receives the events.", json_schema_extra={"pattern": "^https?://"}
    )
    secret: Text | None = Field(
        None, description="Secret that signs the events: `whsec_` and 24 to 64 bytes in base64. Default: no signature."
    )

    @model_validator(mode="after")
    def _has_valid_secret(self) -> Self:
        if self.secret is not None and not is_secret(self.secret):
            raise InvalidParameter(
                "webhook.secret must be whsec_ and 24 to 64 bytes in base64.", param="webhook.secret"
            )
        return self


class JobWebhook(Webhook):
    """A webhook for the events of one job."""

    events: Annotated[list[JobEventName], MinLen(1), MaxLen(20)] = Field(
        default_factory=lambda: event_names("job", final=True),
        description="Event types. Default: those of a finished job.",
    )


class BatchWebhook(Webhook):
    """A webhook for the events of one batch."""

    events: Annotated[list[BatchEventName], MinLen(1), MaxLen(20)] = Field(
        default_factory=lambda: event_names("batch", final=True),
        description="Event types. Default: those of a finished batch.",
    )
