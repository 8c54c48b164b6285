"""Bodies that a client compressed: gzip is expanded up to a limit, and every other encoding is refused."""

import zlib

from core.errors import InvalidRequest, UnsupportedMediaType

_GZIP = 16 + zlib.MAX_WBITS


class Expander:
    """Expands a body, chunk by chunk.

    encoding: the header `Content-Encoding`. Raises UnsupportedMediaType for any other than gzip.
    """

    def __init__(self, encoding: str) -> None:
        name = encoding.strip().lower()
        if name not in ("", "identity", "gzip", "x-gzip"):
            raise UnsupportedMediaType(
                f"A body may be compressed with gzip, not with {name[:100]!r}: set Content-Encoding.", param="body"
            )
        self._decompressor = zlib.decompressobj(_GZIP) if name.endswith("gzip") else None

    def expand(self, chunk: bytes, max_bytes: int) -> bytes:
        """The next bytes of the body; more than max_bytes, but at most one more, if there are more.

        Raises InvalidRequest.
        """
        if self._decompressor is None:
            return chunk
        try:
            content = self._decompressor.decompress(chunk, max_bytes + 1)
        except zlib.error:
            raise InvalidRequest("The body is not valid gzip.", param="body") from None
        if self._decompressor.unused_data:
            raise InvalidRequest("The body has bytes after the end of its gzip data.", param="body")
        return content

    def check_end(self) -> None:
        """Raise InvalidRequest if the body ends before its gzip data."""
        if self._decompressor is not None and not self._decompressor.eof:
            raise InvalidRequest("The body ends before the end of its gzip data.", param="body")
