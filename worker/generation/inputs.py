"""Reads the input images of a micro-batch from storage and scales them to the size of their jobs.

A missing or broken input fails its own job only. Nothing here uses the device.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from PIL.Image import Image

from core import files
from core.errors import InvalidParameter, NotFound, StorageUnavailable
from core.generation_errors import GenerationError, InputUnavailable, StorageFailed
from core.images import decode
from core.images.decode import Limits
from core.parameters.control import CONTROL_ROLES
from core.parameters.reference_images import REFERENCE_ROLES
from core.rows.job import JobRow
from worker.generation import fine_tuned
from worker.generation.context import Context

Size = tuple[int, int]

MAX_REFERENCE_PX = 2048
"""The longest side of a reference image as it is sent to a provider, which may get 15 of them."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """The input images of a job; see `core.generation.ImageRequest`."""

    image: Image | None = None  # RGB
    mask: Image | None = None  # L
    reference_images: tuple[Image, ...] = ()  # RGB
    control_images: tuple[Image, ...] = ()  # RGB
    sha256: Mapping[str, str] = field(default_factory=dict)  # of the files, by role


class InputReader:
    """Reads the inputs of one micro-batch. An image that several jobs use is read only the first time.

    Only the scaled images are cached: the originals of a micro-batch might fill the memory.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._images: dict[tuple[bool, str, Size, Size], Image | GenerationError] = {}
        self._digests: dict[str, str] = {}

    def inputs(self, job: JobRow) -> Inputs:
        """A job's images. Raises InputUnavailable, or StorageFailed while the storage is unavailable."""
        images = {
            role: self._image(role == "mask", file_id, job)
            for role, file_id in job.inputs.items()
            if role not in REFERENCE_ROLES
        }
        references = (_reference(self._load(job.inputs[role])) for role in REFERENCE_ROLES if role in job.inputs)
        reference_images = tuple(references)
        control_images = tuple(images[role] for role in CONTROL_ROLES if role in images)
        digests = {role: self._digests[file_id] for role, file_id in job.inputs.items()}
        return Inputs(images.get("image"), images.get("mask"), reference_images, control_images, digests)

    def _image(self, is_mask: bool, file_id: str, job: JobRow) -> Image:
        parameters = job.parameters
        # An edit keeps all of its image: it is cropped to the aspect ratio of the result, and resized to that of the
        # model. The result is resized back (`postprocess_image`).
        aspect = parameters.output_dimensions if job.operation == "edit" else parameters.dimensions
        key = (is_mask, file_id, aspect, parameters.dimensions)
        if key not in self._images:
            self._images[key] = self._fit(*key)
        result = self._images[key]
        if isinstance(result, GenerationError):
            raise result
        return result

    def _fit(self, is_mask: bool, file_id: str, aspect: Size, size: Size) -> Image | GenerationError:
        image = self._load(file_id)
        if isinstance(image, GenerationError):
            return image
        image = decode.mask_of(image) if is_mask else decode.opaque(image)
        if aspect[0] * size[1] == aspect[1] * size[0]:
            return decode.fit(image, *size)
        return decode.stretch(decode.crop(image, *aspect), *size)

    def _load(self, file_id: str) -> Image | GenerationError:
        try:
            data = self._context.storage.get(files.storage_key(file_id))
            self._digests[file_id] = hashlib.sha256(data).hexdigest()
            # The file was checked when the job was submitted. As a PNG it may be larger than what the client sent.
            limits = Limits(len(data), self._context.settings.max_image_pixels)
            return decode.load(data, limits)
        except NotFound:
            return InputUnavailable(f"The input {file_id} was deleted or has expired.")
        except InvalidParameter as error:
            return InputUnavailable(f"The input {file_id} is no image: {error.message}")
        except StorageUnavailable:
            return StorageFailed(f"The input {file_id} could not be read: the image store does not answer.")


def _reference(image: Image | GenerationError) -> Image:
    """A reference image: not cropped, as only its content counts. Raises the error of reading it."""
    if isinstance(image, GenerationError):
        raise image
    return decode.shrink(decode.opaque(image), MAX_REFERENCE_PX)


def read_inputs(context: Context, claimed_jobs: Sequence[JobRow]) -> dict[str, Inputs | GenerationError]:
    """The inputs of each job of a micro-batch, or the error of reading them, by the job's id."""
    reader = InputReader(context)
    results: dict[str, Inputs | GenerationError] = {}
    for job in claimed_jobs:
        try:
            fine_tuned.fetch(context, job)
            results[job.id] = reader.inputs(job)
        except GenerationError as error:
            results[job.id] = error
    return results
