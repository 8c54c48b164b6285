"""Dry runs of batches: every line is validated as the batch processor does it, and nothing is stored."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from core.batches.input_file import max_line_bytes, parse_lines
from core.batches.input_summary import InputSummary
from core.batches.line import ReadOptions
from core.batches.requests import BatchRequest
from core.batches.transitions import LineError
from core.batches.validation import BatchCheck
from core.catalog import Catalog
from core.estimates import Estimates
from core.images.normalize import Normalized
from core.parameters.image_source import ImageSource
from core.requests import inputs
from core.requests.job import JobRequest
from core.settings import Settings

CheckImages = Callable[[Mapping[str, ImageSource], Sequence[str]], bool]
"""Checks the images of a line, by field; the second argument has the fields of those that are no files yet.

Returns whether the image of an edit is transparent. Raises InvalidParameter.
"""


@dataclass(frozen=True, slots=True)
class Totals:
    """The totals of a batch's lines. All values are those of JSON."""

    total: int
    models: Mapping[str, int]  # lines, by model
    images: Mapping[str, int]  # images, by model
    seconds: Mapping[str, float]  # of the device, by queue
    errors: Sequence[LineError] = ()
    input: Mapping[str, Any] | None = None  # see `InputSummary`


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a dry run needs beside the lines."""

    catalog: Catalog
    estimates: Estimates
    project_id: str
    filename: str
    request: BatchRequest

    def run(self, settings: Settings, chunks: Iterable[bytes], check_images: CheckImages) -> Totals:
        """Validate all lines. chunks: of the input file."""

        def read_inputs(request: JobRequest) -> Mapping[str, str]:
            """The ids of images that would be stored; see `BatchInputs` of the batch processor."""
            names = inputs.new_names(request)
            is_transparent = check_images(inputs.sources(request), names)
            normalized = Normalized(is_transparent, dict.fromkeys(names, b""))
            return inputs.assemble(self.project_id, request, normalized, settings).ids

        options = ReadOptions(
            self.request.target_endpoint,
            self.request.shared_parameters,
            max_line_bytes(settings),
            self.request.extra_columns,
        )
        check = BatchCheck(self.catalog, settings, self.project_id, read_inputs, estimates=self.estimates)
        summary = InputSummary()
        with closing(parse_lines(self.filename, chunks, options, summary)) as lines:  # with its temporary files
            for line in lines:
                if not check.add(line):
                    break
        return Totals(
            check.total - summary.header_errors,
            dict(check.models),
            dict(check.images),
            dict(check.seconds),
            check.errors,
            summary.as_json(),
        )
