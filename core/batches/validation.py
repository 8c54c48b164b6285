"""Every line of a batch, looked at before any of them runs: what is wrong, what it would cost, the jobs to insert.

The same check serves a dry run, which inserts nothing. It says all that is wrong, up to a bound, not only what it comes
upon first.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import timedelta

from core.batches.input_file import Line, wrong
from core.batches.requests import MAX_LINES
from core.batches.transitions import LineError
from core.catalog import Catalog
from core.errors import DuplicateCustomId, InvalidRequest, SafelightError, StorageUnavailable
from core.job_inserts import JobRows
from core.requests.inputs import sources
from core.requests.job import JobRequest
from core.requests.plan import plan
from core.settings import Settings

MAX_ERRORS = 200
"""Errors that are told of one by one; a last entry says how many more there are."""

MAX_CACHED_INPUTS = 10_000
"""Combinations of images that are known to be right."""

ReadInputs = Callable[[JobRequest], Mapping[str, str]]
"""Reads the images that a request names, and says under which ids they are files. Raises InvalidParameter."""


class BatchCheck:
    """What is known of a batch's lines so far."""

    def __init__(
        self,
        catalog: Catalog,
        settings: Settings,
        project_id: str,
        bring: ReadInputs,
        rows: JobRows | None = None,
        response_format: str = "url",
    ) -> None:
        self._catalog = catalog
        self._settings = settings
        self._project_id = project_id
        self._read_input = bring
        self._rows = rows
        self._response_format = response_format
        self._lines_by_name: dict[str, int] = {}
        self._seen: dict[bytes, Mapping[str, str]] = {}
        self._errors: list[LineError] = []
        self._wrong = 0
        self.total = 0
        self.images: Counter[str] = Counter()  # images, by model
        self.seconds: dict[str, float] = {}  # estimated, of the device, by queue
        self.models: Counter[str] = Counter()  # lines, by model

    @property
    def cost(self) -> float:
        """Estimated device-seconds of the lines that are right."""
        return sum(self.seconds.values())

    @property
    def model(self) -> str | None:
        """The model of all lines, if it is one."""
        return next(iter(self.models)) if len(self.models) == 1 else None

    @property
    def errors(self) -> list[LineError]:
        """What is wrong. Empty: nothing is."""
        if not self.total and not self._errors:
            return [wrong(None, InvalidRequest("The file has no lines."))]
        if self._wrong > MAX_ERRORS:
            more = InvalidRequest(f"{self._wrong - MAX_ERRORS} more lines are wrong.")
            return [*self._errors, wrong(None, more)]
        return self._errors

    def take(self, line: Line | LineError) -> bool:
        """Look at the next line. Returns False once there are too many of them to go on.

        Raises StorageUnavailable: then nothing is known of the line.
        """
        self.total += 1
        if self.total > MAX_LINES:
            self._reject(wrong(None, InvalidRequest(f"There are more than {MAX_LINES} lines.")))
            return False
        if not isinstance(line, Line):
            self._reject(line)
            return True
        try:
            self._accept(line)
        except StorageUnavailable:
            raise
        except SafelightError as error:
            self._reject(wrong(line.number, error))
        return True

    def _accept(self, line: Line) -> None:
        first = self._lines_by_name.setdefault(line.custom_id, line.number)
        if first != line.number:
            raise DuplicateCustomId(f"custom_id {line.custom_id!r} is that of line {first} already.", param="custom_id")
        job = plan(
            line.request,
            self._catalog,
            self._settings,
            self._project_id,
            inputs=self._inputs(line.request),
            is_repeat=line.is_repeat,
        )
        self.images[job.model] += job.n
        self.seconds[job.queue] = self.seconds.get(job.queue, 0.0) + job.cost
        self.models[job.model] += 1
        if self._rows is not None and not self._wrong:
            after = line.request.expires_after
            self._rows.add(
                job,
                line.custom_id,
                line.response_format or self._response_format,
                None if after is None else timedelta(seconds=after),
            )

    def _inputs(self, request: JobRequest) -> Mapping[str, str]:
        """The images of a request as files; those that many lines begin with are brought once."""
        found = sources(request)
        if not found:
            return {}
        named = [request.operation, *(f"{name} {source.named}" for name, source in found.items())]
        fingerprint = hashlib.sha256("\n".join(named).encode()).digest()  # a data URL has megabytes
        if (seen := self._seen.get(fingerprint)) is None:
            seen = self._read_input(request)
            if len(self._seen) < MAX_CACHED_INPUTS:
                self._seen[fingerprint] = seen
        return seen

    def _reject(self, error: LineError) -> None:
        self._wrong += 1
        if self._wrong <= MAX_ERRORS:
            self._errors.append(error)
