"""Reads the input images of a micro-batch from storage, and fits them to the size of their jobs.

An input that is missing or broken is the error of its own job only. Nothing here is on the device.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL.Image import Image

from core import files
from core.errors import GenerationError, InputUnavailable, InvalidParameter, NotFound, StorageFailed, StorageUnavailable
from core.images import decode
from core.rows import JobRow
from worker.generation.context import Context


@dataclass(frozen=True, slots=True)
class Inputs:
    """The input images of a job; see `core.generation.ImageRequest`."""

    image: Image | None = None  # RGB
    mask: Image | None = None  # L


class InputReader:
    """Reads the inputs of one micro-batch; an image that several of its jobs share is read once.

    It keeps fitted images only: the originals of one micro-batch might fill the memory.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._images: dict[tuple[str, str, str], Image | GenerationError] = {}

    def inputs(self, job: JobRow) -> Inputs:
        """A job's images. Raises InputUnavailable, or StorageFailed while the store is away."""
        return Inputs(**{role: self._image(role, file_id, job.parameters.size) for role, file_id in job.inputs.items()})

    def _image(self, role: str, file_id: str, size: str) -> Image:
        key = (role, file_id, size)
        if key not in self._images:
            self._images[key] = self._fit(*key)
        found = self._images[key]
        if isinstance(found, GenerationError):
            raise found
        return found

    def _fit(self, role: str, file_id: str, size: str) -> Image | GenerationError:
        found = self._load(file_id)
        if isinstance(found, GenerationError):
            return found
        width, height = (int(side) for side in size.split("x"))
        return decode.fit(decode.mask_of(found) if role == "mask" else decode.opaque(found), width, height)

    def _load(self, file_id: str) -> Image | GenerationError:
        try:
            data = self._context.storage.get(files.storage_key(file_id))
            return decode.load(data, self._context.settings)
        except NotFound:
            return InputUnavailable(f"The input {file_id} was deleted or has expired.")
        except InvalidParameter as error:
            return InputUnavailable(f"The input {file_id} is no image: {error.message}")
        except StorageUnavailable:
            return StorageFailed(f"The input {file_id} could not be read: the image store does not answer.")


def read_all(context: Context, batch: Sequence[JobRow]) -> dict[str, Inputs | GenerationError]:
    """The inputs of every job of a micro-batch, or why there are none, by the job's id."""
    reader = InputReader(context)
    found: dict[str, Inputs | GenerationError] = {}
    for job in batch:
        try:
            found[job.id] = reader.inputs(job)
        except GenerationError as error:
            found[job.id] = error
    return found
