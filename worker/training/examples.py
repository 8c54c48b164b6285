"""The images and captions of a fine-tuning job, from its training file."""

import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from PIL import Image

from core import files
from core.catalog import Model
from core.db import Database
from core.errors import InvalidParameter, InvalidRequest, NotFound, SafelightError
from core.fine_tuning.rows import FineTuningJobRow
from core.fine_tuning.training_file import Bounds, Pair, PairError, read_pairs
from core.generation_errors import InvalidTrainingFile
from core.images import decode
from core.images.decoders import Decoders
from core.settings import Settings
from core.storage import Storage
from core.text import quote
from worker.training.directory import training_directory


class Examples:
    """Reads the training file of one job. Its images are decoded in processes of their own."""

    def __init__(
        self, settings: Settings, database: Database, storage: Storage, decoders: Decoders, job: FineTuningJobRow
    ) -> None:
        self._settings = settings
        self._database = database
        self._storage = storage
        self._decoders = decoders
        self._job = job

    def read(self, model: Model) -> Iterator[tuple[Image.Image, str] | PairError]:
        """Each image, in RGB, with its caption, or what is wrong with it. Raises InvalidTrainingFile."""
        bounds = Bounds(self._settings.max_training_images, self._settings.max_image_bytes, model.max_prompt_chars)
        with self._open() as file:
            try:
                for pair in read_pairs(file, bounds):
                    yield pair if isinstance(pair, PairError) else self._decode(pair)
            except InvalidRequest as error:
                raise InvalidTrainingFile(error.message, param="training_file") from None

    @contextmanager
    def _open(self) -> Iterator[IO[bytes]]:
        rows = self._database.execute(files.get_file(self._job.project_id, self._job.training_file))
        if not rows:
            raise InvalidTrainingFile("The training file was deleted or has expired.", param="training_file")
        with tempfile.TemporaryFile(dir=training_directory(self._settings)) as file:
            try:
                for chunk in self._storage.stream(rows[0].storage_key):
                    file.write(chunk)
            except NotFound:
                raise InvalidTrainingFile("The training file was deleted.", param="training_file") from None
            file.seek(0)
            yield file

    def _decode(self, pair: Pair) -> tuple[Image.Image, str] | PairError:
        try:
            content = pair.image if isinstance(pair.image, bytes) else self._read_file(pair.image)
            normalized = self._decoders.submit(self._job.project_id, {"image": content}, ["image"]).result()
        except SafelightError as error:
            return PairError(pair.place, error.message)
        # The decoder process has written this file.
        with Image.open(io.BytesIO(normalized.pngs["image"]), formats=["PNG"]) as image:
            image.load()
            return decode.opaque(image), pair.caption

    def _read_file(self, file_id: str) -> bytes:
        rows = self._database.execute(files.get_file(self._job.project_id, file_id))
        if not rows:
            raise InvalidParameter(f"image: there is no file {quote(file_id)}.")
        if rows[0].bytes > self._settings.max_image_bytes:
            raise InvalidParameter(f"image has {rows[0].bytes} bytes; there may be {self._settings.max_image_bytes}.")
        return self._storage.get(rows[0].storage_key)
