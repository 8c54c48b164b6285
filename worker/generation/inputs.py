"""Reads the input images of a micro-batch from storage and scales them to the size of their jobs.

A missing or broken input fails its own job only. Nothing here uses the device.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL.Image import Image

from core import files
from core.errors import InvalidParameter, NotFound, StorageUnavailable
from core.generation_errors import GenerationError, InputUnavailable, StorageFailed
from core.images import decode
from core.images.decode import Limits
from core.rows import JobRow
from worker.generation.context import Context


@dataclass(frozen=True, slots=True)
class Inputs:
    """The input images of a job; see `core.generation.ImageRequest`."""

    image: Image | None = None  # RGB
    mask: Image | None = None  # L


class InputReader:
    """Reads the inputs of one micro-batch. An image that several jobs use is read only the first time.

    Only the scaled images are cached: the originals of a micro-batch might fill the memory.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._images: dict[tuple[str, str, str], Image | GenerationError] = {}

    def inputs(self, job: JobRow) -> Inputs:
        """A job's images. Raises InputUnavailable, or StorageFailed while the storage is unavailable."""
        return Inputs(**{role: self._image(role, file_id, job.parameters.size) for role, file_id in job.inputs.items()})

    def _image(self, role: str, file_id: str, size: str) -> Image:
        key = (role, file_id, size)
        if key not in self._images:
            self._images[key] = self._fit(*key)
        result = self._images[key]
        if isinstance(result, GenerationError):
            raise result
        return result

    def _fit(self, role: str, file_id: str, size: str) -> Image | GenerationError:
        image = self._load(file_id)
        if isinstance(image, GenerationError):
            return image
        width, height = (int(side) for side in size.split("x"))
        return decode.fit(decode.mask_of(image) if role == "mask" else decode.opaque(image), width, height)

    def _load(self, file_id: str) -> Image | GenerationError:
        try:
            data = self._context.storage.get(files.storage_key(file_id))
            # The file was checked when the job was submitted. As a PNG it may be larger than what the client sent.
            limits = Limits(len(data), self._context.settings.max_image_pixels)
            return decode.load(data, limits)
        except NotFound:
            return InputUnavailable(f"The input {file_id} was deleted or has expired.")
        except InvalidParameter as error:
            return InputUnavailable(f"The input {file_id} is no image: {error.message}")
        except StorageUnavailable:
            return StorageFailed(f"The input {file_id} could not be read: the image store does not answer.")


def read_inputs(context: Context, claimed_jobs: Sequence[JobRow]) -> dict[str, Inputs | GenerationError]:
    """The inputs of each job of a micro-batch, or the error of reading them, by the job's id."""
    reader = InputReader(context)
    results: dict[str, Inputs | GenerationError] = {}
    for job in claimed_jobs:
        try:
            results[job.id] = reader.inputs(job)
        except GenerationError as error:
            results[job.id] = error
    return results
