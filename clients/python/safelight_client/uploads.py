"""What can be uploaded."""

import os
from pathlib import Path

Content = bytes | str | os.PathLike[str]
"""A file for an upload: its bytes, or its path."""

UPLOAD_SECONDS = 120.0
"""Maximum wait for a response to an upload: the API stores the file before it responds."""


def read_content(file: Content, filename: str | None) -> tuple[str, bytes]:
    """The name and the bytes of a file. The API takes the format of a batch file from its name."""
    if isinstance(file, bytes):
        return filename or "upload", file
    path = Path(file)
    return filename or path.name, path.read_bytes()
