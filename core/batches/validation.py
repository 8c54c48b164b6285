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
from core.new_job import NewJob
from core.requests.adaptation import adapt
from core.requests.inputs import sources
from core.requests.job import JobRequest
from core.requests.plan import check_length, plan, random_seeds, uses_seeds
from core.settings import Settings
from core.text import quote

MAX_ERRORS = 200
"""Errors that are listed; a last entry has the number of further errors."""

MAX_CACHED_INPUTS = 10_000
"""Combinations of input images that are cached after their check."""

ReadInputs = Callable[[JobRequest], Mapping[str, str]]
"""Reads the images of a request and returns their file ids. Raises InvalidParameter."""


class _Template:
    """What consecutive lines with one request share. count: those that are not in the totals yet."""

    __slots__ = ("count", "has_seeds", "job", "model", "request")

    def __init__(self, request: JobRequest, job: NewJob, model: Model) -> None:
        self.request = request
        self.job = job
        self.model = model
        self.has_seeds = uses_seeds(model)
        self.count = 0


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
        self._template: _Template | None = None
        self._seeds = random_seeds()
        self._estimates = estimates
        self._errors: list[LineError] = []
        self._invalid_count = 0
        self.total = 0
        self._images: Counter[str] = Counter()
        self._seconds: dict[str, float] = {}
        self._models: Counter[str] = Counter()

    @property
    def images(self) -> Counter[str]:
        """The images of the valid lines, by model."""
        self._count()
        return self._images

    @property
    def seconds(self) -> dict[str, float]:
        """Estimated seconds of the device, by queue."""
        self._count()
        return self._seconds

    @property
    def models(self) -> Counter[str]:
        """The valid lines, by model."""
        self._count()
        return self._models

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
        request, prompt, seed, response_format, _ = line_request
        template = self._template
        if template is None or template.request is not request:
            template = self._plan(line_request)
        job, model = template.job, template.model
        if prompt is None:
            prompt = job.prompt
        if len(prompt) > model.max_prompt_chars:
            check_length("prompt", prompt, model)
        template.count += 1
        if self._rows is not None and not self._invalid_count:
            if seed is None:
                seed = job.parameters.seed
                if request.seed is None:
                    seed = next(self._seeds) if template.has_seeds else 0
            self._rows.add(
                job, prompt, seed, line.custom_id, response_format or self._response_format, request.expires_after
            )

    def _plan(self, line_request: LineRequest) -> "_Template":
        """The job of a line, except prompt and seed. Consecutive lines with one request share it."""
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
        self._count()
        self._template = _Template(line_request.request, job, self._catalog.model(job.model))
        return self._template

    def _count(self) -> None:
        """Add the lines of the last template to the totals."""
        template = self._template
        if template is None or not template.count:
            return
        job, count = template.job, template.count
        seconds = job.cost
        if self._estimates is not None:
            model = template.model
            seconds = job.n * self._estimates.seconds(model, job.operation, job.parameters, model.microbatch_size)
        self._images[job.model] += count * job.n
        self._seconds[job.queue] = self._seconds.get(job.queue, 0.0) + count * seconds
        self._models[job.model] += count
        template.count = 0

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
