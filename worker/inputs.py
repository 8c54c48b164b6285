"""The pictures that the jobs of a micro-batch begin with, from storage, at the size that is drawn.

An input that is gone or broken is its own job's error and no other's. Nothing here is on the device.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from PIL.Image import Image

from core import files, pictures
from core.errors import GenerationError, InputUnavailable, InvalidParameter, NotFound, StorageFailed, StorageUnavailable
from worker.context import Context


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a job begins with; see `core.generation.ImageRequest`."""

    image: Image | None = None  # RGB
    mask: Image | None = None  # L


class InputReader:
    """Reads the inputs of one micro-batch; a file that several of its jobs name is read once."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._read: dict[str, Image | GenerationError] = {}

    def inputs(self, job: sa.Row[Any]) -> Inputs:
        """A job's pictures. Raises InputUnavailable, or StorageFailed while the store is away."""
        if not job.inputs:
            return Inputs()
        width, height = (int(side) for side in job.size.split("x"))
        image = pictures.opaque(self._picture(job.inputs["image"]))
        mask = pictures.mask_of(self._picture(job.inputs["mask"])) if "mask" in job.inputs else None
        return Inputs(
            image=pictures.fit(image, width, height),
            mask=None if mask is None else pictures.fit(mask, width, height),
        )

    def _picture(self, file_id: str) -> Image:
        if file_id not in self._read:
            self._read[file_id] = self._load(file_id)
        found = self._read[file_id]
        if isinstance(found, GenerationError):
            raise found
        return found

    def _load(self, file_id: str) -> Image | GenerationError:
        try:
            data = self._context.storage.get(files.storage_key(file_id))
            return pictures.read(data, self._context.settings)
        except NotFound:
            return InputUnavailable(f"The input {file_id} was deleted or has expired.")
        except InvalidParameter as error:
            return InputUnavailable(f"The input {file_id} is no picture: {error.message}")
        except StorageUnavailable:
            return StorageFailed(f"The input {file_id} could not be read: the image store does not answer.")


def read_all(context: Context, batch: Sequence[sa.Row[Any]]) -> dict[str, Inputs | GenerationError]:
    """The inputs of every job of a micro-batch, or why there are none, by the job's id."""
    reader = InputReader(context)
    found: dict[str, Inputs | GenerationError] = {}
    for job in batch:
        try:
            found[job.id] = reader.inputs(job)
        except GenerationError as error:
            found[job.id] = error
    return found
