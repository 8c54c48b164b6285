"""Fields that several kinds of requests share: metadata, input images, webhooks."""

from typing import Annotated, Self

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, StringConstraints, model_validator

from core.errors import InvalidParameter
from core.event_types import event_names
from core.outbox.signing import is_secret
from core.text import Text, check_printable
from core.webhooks.fields import BatchEventName, JobEventName

UnixSeconds = Annotated[int, Ge(0), Le(253_402_300_799)]
"""A moment up to the end of the year 9999, after which Python's calendar ends."""
MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(check_printable)]
MetadataValue = Annotated[str, StringConstraints(max_length=512), AfterValidator(check_printable)]


class ImageSource(BaseModel):
    """An input image: exactly one of these fields. It is read when the job is submitted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    file_id: Text | None = Field(None, description="Id of a file; see `POST /v1/files`, purpose `vision`.")
    image_id: Text | None = Field(None, description="Id of an image of an earlier job.")
    image_url: str | None = Field(
        None, description="A data URL, `data:image/png;base64,...`. Other URLs are not fetched."
    )

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if self.content is None and (len(self.model_fields_set) != 1 or self.named is None):
            raise ValueError("must have one of file_id, image_id, image_url")
        return self

    _content: bytes | None = PrivateAttr(None)

    @classmethod
    def of(cls, content: bytes) -> "ImageSource":
        """An image from a part of a form."""
        source = cls.model_construct()
        source._content = content
        return source

    @property
    def content(self) -> bytes | None:
        """The bytes, if they came as a part of a form."""
        return self._content

    @property
    def named(self) -> str | None:
        """The value of whichever field is set."""
        return self.file_id or self.image_id or self.image_url


InputImage = Annotated[
    ImageSource | None,
    Field(description="Input of an edit or a variation, cropped to its middle and scaled to the size of the job."),
]
InputMask = Annotated[
    ImageSource | None,
    Field(
        description="Area that an edit may change: where this image is fully transparent or, if it is opaque, white. "
        "Same size as `image`. Default: where `image` is transparent, else everywhere."
    ),
]


class Webhook(BaseModel):
    """Where events are posted to, in addition to the project's webhook endpoints."""

    model_config = ConfigDict(extra="forbid", strict=True)

    url: Annotated[Text, MaxLen(2048)] = Field(
        description="URL that events are posted to.", json_schema_extra={"pattern": "^https?://"}
    )
    secret: Text | None = Field(
        None, description="Secret that signs the events: `whsec_` and 24 to 64 bytes in base64. Default: no signature."
    )

    @model_validator(mode="after")
    def _is_signed_as_libraries_verify(self) -> Self:
        if self.secret is not None and not is_secret(self.secret):
            raise InvalidParameter(
                "webhook.secret must be whsec_ and 24 to 64 bytes in base64.", param="webhook.secret"
            )
        return self


class JobWebhook(Webhook):
    """A webhook of one job."""

    events: Annotated[list[JobEventName], MinLen(1)] = Field(
        default_factory=lambda: event_names("job", final=True), description="Event types. Default: all that end a job."
    )


class BatchWebhook(Webhook):
    """A webhook of one batch."""

    events: Annotated[list[BatchEventName], MinLen(1)] = Field(
        default_factory=lambda: event_names("batch", final=True),
        description="Event types. Default: all that end a batch.",
    )
