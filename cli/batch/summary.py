"""The results of a finished batch: errors.jsonl, and a summary on stderr."""

import sys
import time
from collections.abc import Iterator, Sequence

from cli.batch.client import UNSUCCESSFUL_STATUSES, is_successful
from cli.batch.downloads import Downloads
from cli.batch.output_directory import OutputDirectory
from cli.table import format_count, format_duration, format_table, one_line
from safelight_client import Batch, Job, Safelight
from safelight_client.models import BatchError, BatchEstimate, InputFileSummary

ERRORS = "errors.jsonl"

SEPARATOR_NAMES = {"\t": "tab"}

MAX_FAILURES = 10
"""The number of unsuccessful lines in the summary."""


def write_errors(client: Safelight, batch: Batch, directory: OutputDirectory) -> None:
    """Save the batch's error file, or delete the file of an earlier try if there are no errors."""
    if batch.error_file_id is None:
        (directory.path / ERRORS).unlink(missing_ok=True)
        return
    with directory.open_file(ERRORS) as file:
        client.download(f"/v1/files/{batch.error_file_id}/content", file)


def summarize(results: Sequence[Batch], downloads: Downloads, directory: OutputDirectory) -> None:
    """Print the numbers, the lines that did not complete, and how to retry them."""
    total, last = results[0].request_counts.total, results[-1]
    completed = sum(batch.request_counts.completed for batch in results)
    existing = f", {downloads.existing_count} of them from an earlier run" if downloads.existing_count else ""
    for line in format_input(results[0].input):
        _print(line)
    _print(f"{last.id} is {last.status}: {completed} of {format_count(total, 'line')} completed.")
    _print(f"Images in {directory.path}: {downloads.image_count}{existing}.")
    if downloads.missing_count:
        _print(f"Images that were deleted from Safelight: {downloads.missing_count}.")
    if is_successful(last):
        return
    for line in format_table([("LINE", "CODE", "MESSAGE"), *_list_failures(last)]):
        _print(line)
    failures = total - completed
    if failures > MAX_FAILURES:
        _print(f"... and {failures - MAX_FAILURES} more.")
    reference = f"{directory.path / ERRORS} has all errors. " if last.error_file_id else ""
    _print(f"{reference}`{directory.command} --retry-failed` retries these lines.")


def _list_failures(batch: Batch) -> Iterator[tuple[str, str, str]]:
    """The first lines that did not complete: custom_id, code, message."""
    for job in batch.jobs(status=UNSUCCESSFUL_STATUSES, limit=MAX_FAILURES):
        yield one_line(job.custom_id or job.id), *_describe_failure(job)


def _describe_failure(job: Job) -> tuple[str, str]:
    error = job.error
    if error is None:
        return f"batch_{job.status}", f"The line was {job.status} before it finished."
    return error.code, one_line(error.message)


def format_errors(errors: Sequence[BatchError]) -> Iterator[str]:
    """The errors of an input, each on its own line: `line 3: ...`."""
    for error in errors:
        position = "" if error.line is None else f"line {error.line}: "
        yield f"{position}{one_line(error.message)} ({error.code})"


def format_input(summary: InputFileSummary | None) -> Iterator[str]:
    """How the input file was read, and a warning if that is a guess."""
    if summary is None:
        return
    separator = summary.separator
    details = [
        summary.format,
        f"sheet {summary.sheet}" if summary.sheet else "",
        f"separator {SEPARATOR_NAMES.get(separator, separator)}" if separator else "",
        f"encoding {summary.encoding}" if summary.encoding else "",
        f"{format_count(summary.empty_rows, 'empty row')} ignored" if summary.empty_rows else "",
        f"metadata: {', '.join(map(one_line, summary.metadata_columns))}" if summary.metadata_columns else "",
    ]
    yield f"Input: {', '.join(filter(None, details))}."
    if summary.encoding_is_guess:
        example = summary.example
        text = "the prompts are" if example is None else "this text is"
        yield (
            f"The encoding {summary.encoding} is a guess: check whether {text} right, or save the file as UTF-8"
            f"{'.' if example is None else f': {one_line(example)}'}"
        )


def format_estimate(estimate: BatchEstimate) -> Iterator[str]:
    """An estimate: counts, device time, finish, cost."""
    yield f"{format_count(estimate.total, 'line')}, {format_count(estimate.images, 'image')}."
    if not estimate.images:
        return
    yield f"Models: {', '.join(f'{model} ({lines})' for model, lines in estimate.models.items())}."
    yield f"Device time: {_format_about(estimate.device_seconds)}."
    finish = estimate.estimated_finish_at
    if finish is not None:
        # Several models may have several devices; with one model, the end is not before its device time is over.
        minimum = estimate.device_seconds if len(estimate.models) == 1 else 0.0
        seconds = max(finish - time.time(), minimum)
        yield f"Estimated finish, behind the jobs in the queue: in {_format_about(seconds)}."
    if estimate.cost_usd:
        yield f"Estimated cost at the provider: {estimate.cost_usd:.2f} US dollars."


def _format_about(seconds: float) -> str:
    return f"about {format_duration(seconds)}" if seconds >= 1 else "less than 1 s"


def _print(line: str) -> None:
    print(line, file=sys.stderr)
