"""The content type of a body: a route reads JSON or multipart/form-data, and nothing else.

A web page may send `text/plain` and a form's default type to any address without asking the browser's permission.
"""

from core.errors import UnsupportedMediaType

JSON = "application/json"
MULTIPART = "multipart/form-data"


def media_type(header: str) -> str:
    """The media type in a `Content-Type`, in lower case and without its parameters."""
    return header.partition(";")[0].strip().lower()


def check(header: str, *expected: str) -> None:
    """Raises UnsupportedMediaType if a body has another type than a route reads. No header is accepted."""
    if header and media_type(header) not in expected:
        names = " or ".join(expected)
        raise UnsupportedMediaType(
            f"This call reads a body of the type {names}, not {media_type(header)[:100]!r}: set Content-Type.",
            param="body",
        )
