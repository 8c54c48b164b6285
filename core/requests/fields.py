"""Fields of several kinds of requests: metadata, input images, webhooks."""

from typing import Annotated, Self

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    StringConstraints,
    model_validator,
)

from core.errors import InvalidParameter
from core.event_types import event_names
from core.outbox.signing import is_secret
from core.parameters import MAX_INPUT_IMAGES
from core.text import Text, check_printable
from core.webhooks.fields import BatchEventName, JobEventName

UnixSeconds = Annotated[int, Ge(0), Le(253_402_300_799)]
"""A time up to the end of the year 9999, the last one of Python's calendar."""
MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(check_printable)]
MetadataValue = Annotated[str, StringConstraints(max_length=512), AfterValidator(check_printable)]


class ImageSource(BaseModel):
    """An input image. Set exactly one field. The image is read when the job is submitted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    file_id: Text | None = Field(None, description="Id of a file, uploaded with `POST /v1/files` and purpose `vision`.")
    image_id: Text | None = Field(None, description="Id of an image of an earlier job.")
    image_url: str | None = Field(
        None, description="A data URL, `data:image/png;base64,...`. Other URLs are not fetched."
    )

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if self.content is None and (len(self.model_fields_set) != 1 or self.reference is None):
            raise ValueError("must have exactly one of file_id, image_id, image_url")
        return self

    _content: bytes | None = PrivateAttr(None)

    @classmethod
    def from_form(cls, content: bytes) -> "ImageSource":
        """An image that was uploaded in a form."""
        source = cls.model_construct()
        source._content = content
        return source

    @property
    def content(self) -> bytes | None:
        """The bytes of an image that was uploaded in a form."""
        return self._content

    @property
    def reference(self) -> str | None:
        """The value of the field that is set."""
        return self.file_id or self.image_id or self.image_url


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


ReferenceImages = Annotated[
    list[ImageSource],
    MaxLen(MAX_INPUT_IMAGES - 1),
    Field(description="Further input images of an edit, for models that take several. A mask is for `image`."),
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
