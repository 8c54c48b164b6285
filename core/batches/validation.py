"""The check of all lines of a batch before any job is inserted: errors, cost, and the rows of the jobs.

A dry run uses the same check and inserts nothing. The check reports all errors, up to a maximum number.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping

from core.batches.line import Line
from core.batches.line_errors import line_error
from core.batches.line_parser import LineRequest
from core.batches.requests import MAX_LINES
from core.batches.transitions import LineError
from core.catalog import Catalog, Model
from core.errors import DuplicateCustomId, InvalidRequest, SafelightError, StorageUnavailable
from core.estimates import Estimates
from core.job_inserts import JobRows
from core.jobs import NewJob
from core.requests.adaptation import adapt
from core.requests.inputs import sources
from core.requests.job import JobRequest
from core.requests.plan import check_length, plan, random_seed
from core.settings import Settings
from core.text import quote

MAX_ERRORS = 200
"""Errors that are listed; a last entry has the number of further errors."""

MAX_CACHED_INPUTS = 10_000
"""Combinations of input images that are cached after their check."""

ReadInputs = Callable[[JobRequest], Mapping[str, str]]
"""Reads the images of a request and returns their file ids. Raises InvalidParameter."""


class BatchCheck:
    """Checks lines and collects the result."""

    def __init__(
        self,
        catalog: Catalog,
        settings: Settings,
        project_id: str,
        read_inputs: ReadInputs,
        rows: JobRows | None = None,
        response_format: str = "url",
        api_key_id: str | None = None,
        estimates: Estimates | None = None,
    ) -> None:
        """estimates: for `seconds`; default: the jobs' costs, which are those of the catalogue."""
        self._catalog = catalog
        self._settings = settings
        self._project_id = project_id
        self._read_input = read_inputs
        self._rows = rows
        self._response_format = response_format
        self._api_key_id = api_key_id
        self._lines_by_name: dict[str, int] = {}
        self._input_cache: dict[bytes, Mapping[str, str]] = {}
        self._template: tuple[JobRequest, NewJob, Model] | None = None
        self._estimates = estimates
        self._line_estimate: tuple[NewJob, float] | None = None
        self._errors: list[LineError] = []
        self._invalid_count = 0
        self.total = 0
        self.images: Counter[str] = Counter()  # images, by model
        self.seconds: dict[str, float] = {}  # estimated, of the device, by queue
        self.models: Counter[str] = Counter()  # lines, by model

    @property
    def cost(self) -> float:
        """Estimated device-seconds of the valid lines."""
        return sum(self.seconds.values())

    @property
    def model(self) -> str | None:
        """The model, if all lines have the same."""
        return next(iter(self.models)) if len(self.models) == 1 else None

    @property
    def errors(self) -> list[LineError]:
        """The errors; empty if all lines are valid."""
        if not self.total and not self._errors:
            return [line_error(None, InvalidRequest("The file has no lines."))]
        if self._invalid_count > MAX_ERRORS:
            remainder = InvalidRequest(f"{self._invalid_count - MAX_ERRORS} more lines are invalid.")
            return [*self._errors, line_error(None, remainder)]
        return self._errors

    def add(self, line: Line | LineError) -> bool:
        """Check the next line. Returns False if there are too many lines.

        Raises StorageUnavailable if the input images of the line could not be read.
        """
        self.total += 1
        if self.total > MAX_LINES:
            self._reject(line_error(None, InvalidRequest(f"There are more than {MAX_LINES} lines.")))
            return False
        if not isinstance(line, Line):
            self._reject(line)
            return True
        try:
            self._accept(line)
        except StorageUnavailable:
            raise
        except SafelightError as error:
            self._reject(line_error(line.number, error))
        return True

    def _accept(self, line: Line) -> None:
        first_number = self._lines_by_name.setdefault(line.custom_id, line.number)
        if first_number != line.number:
            raise DuplicateCustomId(
                f"custom_id {quote(line.custom_id)} is already used by line {first_number}.", param="custom_id"
            )
        line_request = line.request
        job, model = self._plan(line_request)
        prompt = job.prompt if line_request.prompt is None else line_request.prompt
        check_length("prompt", prompt, model)
        self.images[job.model] += job.n
        self.seconds[job.queue] = self.seconds.get(job.queue, 0.0) + self._estimated_seconds(job, model)
        self.models[job.model] += 1
        if self._rows is not None and not self._invalid_count:
            seed = line_request.seed
            if seed is None:
                seed = random_seed(model) if line_request.request.seed is None else job.parameters.seed
            self._rows.add(
                job,
                prompt,
                seed,
                line.custom_id,
                line_request.response_format or self._response_format,
                line_request.request.expires_after,
            )

    def _estimated_seconds(self, job: NewJob, model: Model) -> float:
        """The device-seconds of a line; consecutive lines with one request share them."""
        if self._estimates is None:
            return job.cost
        if self._line_estimate is None or self._line_estimate[0] is not job:
            self._line_estimate = (
                job,
                job.n * self._estimates.seconds(model, job.operation, job.parameters, model.microbatch_size),
            )
        return self._line_estimate[1]

    def _plan(self, line_request: LineRequest) -> tuple[NewJob, Model]:
        """The job of a line, except prompt and seed, and its model. Consecutive lines with one request share it."""
        request = line_request.request
        if self._template is None or self._template[0] is not request:
            adapted_request = adapt(line_request.with_own_prompt(), self._catalog, self._settings)
            job = plan(
                adapted_request,
                self._catalog,
                self._settings,
                self._project_id,
                inputs=self._inputs(adapted_request),
                api_key_id=self._api_key_id,
                is_repeat=line_request.is_repeat,
            )
            self._template = request, job, self._catalog.model(job.model)
        return self._template[1:]

    def _inputs(self, request: JobRequest) -> Mapping[str, str]:
        """The file ids of the input images; images that several lines share are read once."""
        image_sources = sources(request)
        if not image_sources:
            return {}
        names = [request.operation, *(f"{name} {source.reference}" for name, source in image_sources.items())]
        fingerprint = hashlib.sha256("\n".join(names).encode()).digest()  # a data URL has megabytes
        if (file_ids := self._input_cache.get(fingerprint)) is None:
            file_ids = self._read_input(request)
            if len(self._input_cache) < MAX_CACHED_INPUTS:
                self._input_cache[fingerprint] = file_ids
        return file_ids

    def _reject(self, error: LineError) -> None:
        self._invalid_count += 1
        if self._invalid_count <= MAX_ERRORS:
            self._errors.append(error)
