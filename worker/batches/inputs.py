"""Reads the input images that the lines of a batch name or contain. `core/batches/validation.py` asks for each once."""

from collections.abc import Callable
from concurrent.futures import Future, wait

from core.catalog import Catalog
from core.db import Database
from core.errors import NotFound
from core.files import NewFile
from core.fine_tuning import queries
from core.images.decoders import Decoders
from core.images.normalize import Normalized
from core.parameters.image_source import ImageSource
from core.requests import inputs
from core.requests.job import JobRequest
from core.settings import Settings
from core.storage import Storage

DECODE_CHECK_SECONDS = 1.0
"""While an image is decoded, `meanwhile` is called at this interval."""


class BatchInputs:
    """Reads and checks images for the lines of one batch. Images that are not files yet become files: `new`.

    meanwhile: called from time to time while an image waits or is decoded.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        storage: Storage,
        decoders: Decoders,
        project_id: str,
        meanwhile: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._database = database
        self._storage = storage
        self._decoders = decoders
        self._project_id = project_id
        self._meanwhile = meanwhile
        self.new: list[NewFile] = []

    def read_inputs(self, request: JobRequest) -> dict[str, str]:
        """The file ids of a request's images. Raises InvalidParameter."""
        sources = inputs.sources(request)
        data = {name: self._read_source(name, source) for name, source in sources.items()}
        if not data:
            return {}
        normalized = self._wait(self._decoders.submit(self._project_id, data, inputs.new_names(request)))
        assembled = inputs.assemble(self._project_id, request, normalized, self._settings)
        for file, content in assembled.new.items():
            self._storage.put(file.storage_key, content, "image/png")
            self.new.append(file)
        return assembled.ids

    def _wait(self, future: "Future[Normalized]") -> Normalized:
        try:
            while not wait([future], DECODE_CHECK_SECONDS).done:
                self._meanwhile()
        except BaseException:
            future.cancel()
            raise
        return future.result()

    def _read_source(self, name: str, source: ImageSource) -> bytes:
        if (content := inputs.inline_bytes(name, source)) is not None:
            return content
        rows = self._database.execute(inputs.find_source(self._project_id, source))
        key = inputs.storage_key(name, source, rows, self._settings)
        try:
            return self._storage.get(key)
        except NotFound:
            raise inputs.not_found_error(name, source) from None


def catalog_of_project(database: Database, catalog: Catalog, project_id: str) -> Catalog:
    """The catalogue with the fine-tuned models of a project, also those of checkpoints: lines may name any."""
    rows = database.execute(queries.list_models(project_id, checkpoints=True))
    return catalog.with_fine_tuned({row.id: row.model for row in rows}) if rows else catalog
