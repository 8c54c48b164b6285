"""The pictures that a batch's lines name or carry: each looked at once, however many lines begin with it."""

from core import inputs
from core.db import Database
from core.errors import NotFound
from core.fields import PictureSource
from core.files import NewFile
from core.requests import JobRequest
from core.settings import Settings
from core.storage import Storage

REMEMBERED = 1000
"""Combinations of pictures whose check is remembered."""

Named = tuple[str, ...]


class BatchInputs:
    """Reads and checks pictures for the lines of one batch. Those that are not files yet become some: `new`."""

    def __init__(self, settings: Settings, database: Database, storage: Storage, project_id: str) -> None:
        self._settings = settings
        self._database = database
        self._storage = storage
        self._project_id = project_id
        self._seen: dict[Named, dict[str, str]] = {}
        self.new: list[NewFile] = []

    def bring(self, request: JobRequest) -> dict[str, str]:
        """Under which ids a request's pictures are files. Raises InvalidParameter."""
        found = inputs.sources(request)
        if not found:
            return {}
        named = (request.operation, *(f"{name} {source.named}" for name, source in found.items()))
        if (seen := self._seen.get(named)) is not None:
            return seen
        data = {name: self._read(name, source) for name, source in found.items()}
        brought = inputs.assemble(self._project_id, request, data, self._settings)
        for file, content in brought.new.items():
            self._storage.put(file.storage_key, content, "image/png")
            self.new.append(file)
        if len(self._seen) < REMEMBERED:
            self._seen[named] = brought.ids
        return brought.ids

    def _read(self, name: str, source: PictureSource) -> bytes:
        if (content := inputs.carried(name, source)) is not None:
            return content
        rows = self._database.execute(inputs.row_of(self._project_id, source))
        key = inputs.storage_key(name, source, rows, self._settings)
        try:
            return self._storage.get(key)
        except NotFound:
            raise inputs.absent(name, source) from None
