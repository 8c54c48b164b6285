"""Where an input image of a request comes from: a file, an image of an earlier job, or bytes in the request."""

import re
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, model_validator

from core.errors import InvalidParameter
from core.text import Text, quote

SOURCE_DESCRIPTION = (
    "the `image_id` or `url` of an image that was generated here (`img_...`), the id of an uploaded file (`file-...`), "
    "or the image itself as a data URL or in base64. Other URLs are not fetched."
)

_IMAGE_LINK = re.compile(r"https?://[^?#]*/v1/images/(?P<id>img_[0-9a-z]+)/content(?:[?#].*)?")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{80,}={0,2}")
"""No image is shorter."""


def _is_none(value: object) -> bool:
    return value is None


class ImageSource(BaseModel):
    """An input image. Set exactly one field. The image is read when the job is submitted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    file_id: Text | None = Field(
        None,
        description="Id of a file, uploaded with `POST /v1/files` and purpose `vision`.",
        exclude_if=_is_none,
    )
    image_id: Text | None = Field(None, description="Id of an image of an earlier job.", exclude_if=_is_none)
    image_url: str | None = Field(
        None,
        description="A data URL, `data:image/png;base64,...`. Other URLs are not fetched.",
        exclude_if=_is_none,
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


def source_of_text(name: str, text: str) -> dict[str, str]:
    """The field of an `ImageSource` that a text stands for. Raises InvalidParameter, which names the field `name`."""
    if link := _IMAGE_LINK.fullmatch(text):
        return {"image_id": link["id"]}
    if text.startswith("img_"):
        return {"image_id": text}
    if text.startswith("file-"):
        return {"file_id": text}
    if text.startswith(("data:", "http:", "https:")):
        return {"image_url": text}
    content = "".join(text.split())
    if not _BASE64.fullmatch(content):
        raise InvalidParameter(f"{name} {quote(text)} is no image. It must be {SOURCE_DESCRIPTION}", param=name)
    return {"image_url": f"data:image/png;base64,{content}"}


def _read_text(value: Any) -> Any:
    try:
        return source_of_text("", value) if isinstance(value, str) else value
    except InvalidParameter as error:
        raise ValueError(error.message.strip()) from None


SourceOrText = Annotated[ImageSource, BeforeValidator(_read_text)]
"""An image source that may be a text: see `source_of_text`."""
