"""SHA-256 of the files that a model is loaded from, for receipts."""

from hashlib import file_digest, sha256
from pathlib import Path
from typing import Final

_READ_AT_LOAD: Final = {".safetensors", ".json", ".txt", ".model"}  # the latter two hold vocabularies


def folder_sha256(folder: Path, *files: Path) -> str:
    """`sha256:` and the digest of names and contents of the files that are loaded from a folder, and of more files."""
    total = sha256()
    for path in sorted(path for path in folder.rglob("*") if path.suffix in _READ_AT_LOAD):
        total.update(f"{path.relative_to(folder).as_posix()} {file_sha256(path)}\n".encode())
    for path in files:
        total.update(f"{path.name} {file_sha256(path)}\n".encode())
    return f"sha256:{total.hexdigest()}"


def file_sha256(path: Path) -> str:
    """The digest of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
