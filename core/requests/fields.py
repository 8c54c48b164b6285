"""What requests of several kinds have fields of: text, metadata, images that come along, receivers of events."""

import re
from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Gt, Le, MaxLen, MinLen
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, StringConstraints, model_validator

from core.egress import check_receiver
from core.errors import InvalidParameter
from core.event_types import event_names
from core.outbox.signing import is_secret
from core.settings import Settings
from core.webhooks.fields import BatchEventName, JobEventName

OutputFormat = Literal["png", "webp", "jpeg"]


_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


PRINTABLE = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"


def _printable(text: str) -> str:
    """Refuse characters that no prompt needs and Postgres or a terminal cannot take."""
    if found := _CONTROL.search(text):
        raise ValueError(f"must not contain the control character U+{ord(found[0]):04X}")
    return text


Text = Annotated[str, AfterValidator(_printable), Field(json_schema_extra={"pattern": PRINTABLE})]
UnixSeconds = Annotated[int, Ge(0), Le(253_402_300_799)]
"""A moment up to the end of the year 9999, after which Python's calendar ends."""
MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_printable)]
MetadataValue = Annotated[str, StringConstraints(max_length=512), AfterValidator(_printable)]


class ImageSource(BaseModel):
    """An image that comes with a request: one of these. It is read when the job is submitted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    file_id: Text | None = Field(None, description="A file of yours; see `POST /v1/files`, purpose `vision`.")
    image_id: Text | None = Field(None, description="An image of an earlier job of yours.")
    image_url: str | None = Field(None, description="A data URL, `data:image/png;base64,...`; others are not fetched.")

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if self.content is None and (len(self.model_fields_set) != 1 or self.named is None):
            raise ValueError("must have one of file_id, image_id, image_url")
        return self

    _content: bytes | None = PrivateAttr(None)

    @classmethod
    def of(cls, content: bytes) -> "ImageSource":
        """An image that came as a part of a form."""
        source = cls.model_construct()
        source._content = content
        return source

    @property
    def content(self) -> bytes | None:
        """The bytes, where they came as a part of a form."""
        return self._content

    @property
    def named(self) -> str | None:
        """What is given, whichever of the three it is."""
        return self.file_id or self.image_id or self.image_url


InputImage = Annotated[
    ImageSource | None,
    Field(description="What an edit or a variation begins with: the middle of it, at the size of the job."),
]
InputMask = Annotated[
    ImageSource | None,
    Field(
        description="Where an edit may draw: where this image is fully transparent or, if it is opaque, white. "
        "As large as `image`. Default: where `image` is transparent, else everywhere."
    ),
]
Strength = Annotated[
    Annotated[float, Gt(0), Le(1)] | None,
    Field(description="How far an edit goes from `image`, up to 1: nothing of it remains. Default: the model's."),
]


class Receiver(BaseModel):
    """Who is told of events, beside the project's webhook endpoints."""

    model_config = ConfigDict(extra="forbid", strict=True)

    url: Annotated[Text, MaxLen(2048)] = Field(
        description="Where events are posted to.", json_schema_extra={"pattern": "^https?://"}
    )
    secret: Text | None = Field(
        None, description="`whsec_` and 24 to 64 bytes in base64; signs. Without it there is no signature."
    )

    @model_validator(mode="after")
    def _is_signed_as_libraries_verify(self) -> Self:
        if self.secret is not None and not is_secret(self.secret):
            raise InvalidParameter(
                "webhook.secret must be whsec_ and 24 to 64 bytes in base64.", param="webhook.secret"
            )
        return self

    def allowed(self, settings: Settings) -> dict[str, Any]:
        """What is kept of it. Raises InvalidParameter where its address is not one that may be written to."""
        check_receiver(self.url, settings, "webhook.url")
        return self.model_dump()


class JobWebhook(Receiver):
    """A receiver of one job's events."""

    events: Annotated[list[JobEventName], MinLen(1)] = Field(
        default_factory=lambda: event_names("job", final=True),
        description="Which events; by default how the job ended.",
    )


class BatchWebhook(Receiver):
    """A receiver of one batch's events."""

    events: Annotated[list[BatchEventName], MinLen(1)] = Field(
        default_factory=lambda: event_names("batch", final=True),
        description="Which events; by default how the batch ended.",
    )
