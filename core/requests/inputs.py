"""The input images of a request: read and checked before its job is created, then stored as files.

An image is a file, an image of an earlier job, or bytes in the request. The latter two become files of the project
that are stored for as long as the job may need them, so that workers only read files. The callers read the bytes: the
API without blocking (`api/inputs.py`), the batch processor for the lines of a batch (`worker/batches/inputs.py`).
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from core import files, queries
from core.db import Statement
from core.errors import InvalidParameter
from core.files import NewFile
from core.images.normalize import Normalized
from core.parameters.control import CONTROL_ROLES
from core.parameters.image_source import ImageSource
from core.parameters.reference_images import REFERENCE_ROLES
from core.requests.job import JobRequest
from core.rows.file import FileRow
from core.rows.job import ImageRow
from core.settings import Settings
from core.text import quote


@dataclass(frozen=True, slots=True)
class Inputs:
    """The files of a request's images. Those in `new` are not stored yet.

    ids: by role: `image`, `mask`, for the reference images of an edit `image_2` and so on, and for control images
    `control_1` and so on.
    """

    ids: dict[str, str] = field(default_factory=dict)
    new: dict[NewFile, bytes] = field(default_factory=dict)


def sources(request: JobRequest) -> dict[str, ImageSource]:
    """The images of a request, by field."""
    images: dict[str, ImageSource | None] = {"image": request.image}
    images |= {f"reference_images.{index}": source for index, source in enumerate(request.reference_images or ())}
    images["mask"] = request.mask
    images |= {f"control.{index}.image": control.image for index, control in enumerate(request.control or ())}
    return {name: source for name, source in images.items() if source is not None}


def inline_bytes(name: str, source: ImageSource) -> bytes | None:
    """The bytes of an image that the request contains; None for a reference. Raises InvalidParameter."""
    if source.image_url is not None:
        return decode_data_url(f"{name}.image_url", source.image_url)
    return source.content


def find_source(project_id: str, source: ImageSource) -> Statement[FileRow] | Statement[ImageRow]:
    """The statement that reads the row of a referenced image."""
    if source.file_id is not None:
        return files.get_file(project_id, source.file_id)
    return queries.get_image(project_id, source.image_id or "")


def storage_key(
    name: str, source: ImageSource, rows: Sequence[FileRow] | Sequence[ImageRow], settings: Settings
) -> str:
    """The storage key of a referenced image. Raises InvalidParameter if there is none, or if its file is too large."""
    if not rows:
        raise not_found_error(name, source)
    if source.file_id is not None and rows[0].bytes > settings.max_image_bytes:
        raise InvalidParameter(
            f"{name}.file_id: the file has {rows[0].bytes} bytes; "
            f"an image may have at most {settings.max_image_bytes}.",
            param=f"{name}.file_id",
        )
    return rows[0].storage_key


def not_found_error(name: str, source: ImageSource) -> InvalidParameter:
    """The error for a reference to an image that does not exist."""
    kind = "file" if source.file_id is not None else "image"
    return InvalidParameter(f"There is no {kind} {quote(source.reference)}.", param=f"{name}.{kind}_id")


def new_names(request: JobRequest) -> list[str]:
    """The images of a request that are not files yet."""
    return [name for name, source in sources(request).items() if source.file_id is None]


def assemble(project_id: str, request: JobRequest, normalized: Normalized, settings: Settings) -> Inputs:
    """The files of a request's images, after their check."""
    inputs = Inputs()
    for name, source in sources(request).items():
        role = _role(name)
        inputs.ids[role] = source.file_id or _add_file(project_id, request, name, normalized, settings, inputs)
    if "mask" not in inputs.ids and request.operation == "edit" and normalized.is_transparent:
        inputs.ids["mask"] = inputs.ids["image"]
    return inputs


def _role(name: str) -> str:
    """The role of an image in a job's inputs, from its field."""
    field_name, *path = name.split(".")
    if field_name == "control":
        return CONTROL_ROLES[int(path[0])]
    return REFERENCE_ROLES[int(path[0])] if field_name == "reference_images" else name


def _add_file(
    project_id: str, request: JobRequest, name: str, normalized: Normalized, settings: Settings, inputs: Inputs
) -> str:
    content = normalized.pngs[name]
    ttl = _lifetime(request, settings)
    file = NewFile(files.new_file_id(), project_id, "vision", f"{_role(name)}.png", len(content), ttl=ttl, is_copy=True)
    inputs.new[file] = content
    return file.id


def _lifetime(request: JobRequest, settings: Settings) -> timedelta:
    """The maximum time in the queue and the retention after it, during which the job may be retried."""
    wait = settings.job_ttl if request.expires_after is None else timedelta(seconds=request.expires_after)
    return wait + settings.retention


def decode_data_url(param: str, url: str) -> bytes:
    """The bytes of a data URL. Raises InvalidParameter, which names `param`."""
    head, comma, body = url.partition(",")
    if not head.startswith("data:") or not comma or not head.endswith(";base64"):
        raise InvalidParameter(
            f"{param} must be a data URL, data:image/png;base64,...; other URLs are not fetched. "
            "Upload the image with POST /v1/files and use its file_id, or use the image_id of an earlier job.",
            param=param,
        )
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error:
        raise InvalidParameter(f"{param} is not valid base64.", param=param) from None
