"""`safelight batch prompts.csv --out dir/`: submit many prompts, follow the batch, and download its images.

The output directory stores the id of its batch. So the same command, run again after Ctrl-C or a crash, resumes the
batch: nothing is submitted, generated or downloaded twice. Progress and summary go to stderr, the manifest's path to
stdout.
"""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.batch.client import FinalJobs, is_successful
from cli.batch.contact_sheet import write_contact_sheet
from cli.batch.downloads import Downloads
from cli.batch.input import BatchInput, Kind, read_input
from cli.batch.manifest import write_manifest
from cli.batch.output_directory import OutputDirectory, State, open_output_directory
from cli.batch.progress import show_progress
from cli.batch.submission import ensure_submitted, estimate, load_state, retry, submit
from cli.batch.summary import format_errors, format_input, summarize, write_errors
from cli.client import Key, Url, check_batch_id, connect, explain
from cli.errors import CommandError, RequestRejected
from cli.parameters import request_options, with_options
from cli.watch import INTERRUPTED
from core.batches.requests import BatchRequest
from core.status import BatchStatus
from safelight_client import Batch, Safelight, SafelightError

OPTIONS = tuple(
    request_options(
        BatchRequest,
        skip=(
            "input_file_id",
            "prompts",
            "requests",
            "endpoint",
            "output_expires_after",
            "response_format",
            "dry_run",
            "extra_columns",
        ),
    )
)

INCOMPLETE = 3
"""Exit code when the batch has ended and not every line completed."""

PATIENCE_SECONDS = 600.0
"""How long the API may be unavailable during a batch: long enough to replace a server."""

MIN_INTERVAL, MAX_INTERVAL = 0.2, 2.0
"""Limits of the seconds between two requests for a batch: a tenth of the time since the start."""


@with_options(OPTIONS)
def batch(
    *,
    source: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="Prompts: .csv, .tsv, .xlsx, .txt or .jsonl; `-` is standard input."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Directory for the images and the state of the batch.")
    ] = None,
    input_format: Annotated[
        Kind | None, typer.Option("--input-format", help="What FILE is. Default: by its content and name.")
    ] = None,
    keep_columns: Annotated[
        bool,
        typer.Option("--keep-columns", help="Store columns that are no parameters as metadata. Default: an error."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print counts, an estimate and all errors; submit nothing.")
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Submit the batch, print its id and exit.")] = False,
    batch_id: Annotated[
        str | None,
        typer.Option("--batch", help="Download the images of this batch.", metavar="BATCH", callback=check_batch_id),
    ] = None,
    retry_failed: Annotated[
        bool,
        typer.Option("--retry-failed", help="When the batch has ended, submit the lines that did not complete again."),
    ] = False,
    cancel_on_interrupt: Annotated[
        bool, typer.Option("--cancel-on-interrupt", help="Ctrl-C cancels the batch. Default: it goes on.")
    ] = False,
    is_new: Annotated[
        bool, typer.Option("--new", help="Start a new batch in --out, even if it has files or another batch.")
    ] = False,
    url: Url = None,
    key: Key = None,
    request: dict[str, Any],
) -> None:
    """Generate images for many prompts. The same command, run again, continues where it stopped.

    Options for the images apply to each line that does not set them itself. Exit codes: 0 every line
    completed, 1 it cannot be done (or --dry-run found errors), 3 it has ended and not every line completed, 130 Ctrl-C.
    """
    _check_options(source, out, batch_id, request, dry_run=dry_run, detach=detach)
    batch_input = None if source is None else _read(source, input_format, request, keep_columns=keep_columns)
    with connect(url, key, PATIENCE_SECONDS, partial(print, file=sys.stderr, flush=True)) as client:
        if batch_input is not None and dry_run:
            raise typer.Exit(0 if estimate(client, batch_input, request) else 1)
        if out is None:
            _submit_only(client, batch_input, request)
            return
        with open_output_directory(out) as directory:
            state = load_state(client, directory, batch_input, batch_id, request, is_new=is_new)
            with _interruptible(client, directory, state, cancels=cancel_on_interrupt):
                ensure_submitted(client, directory, state, batch_input)
                if not detach:
                    raise typer.Exit(_collect(client, directory, state, retries=retry_failed))
                print(state["batches"][-1])


def _check_options(
    source: Path | None,
    out: Path | None,
    batch_id: str | None,
    request: Mapping[str, Any],
    *,
    dry_run: bool,
    detach: bool,
) -> None:
    """Raise CommandError if options contradict each other, or one is missing."""
    if source is None:
        _check_without_prompts(out, batch_id, request, dry_run=dry_run)
    elif batch_id is not None:
        raise CommandError("--batch is there already: it takes no FILE.")
    elif out is None and not (dry_run or detach):
        raise CommandError("Say where the images go: --out DIR (or --detach, to submit only).")


def _check_without_prompts(
    out: Path | None, batch_id: str | None, request: Mapping[str, Any], *, dry_run: bool
) -> None:
    if dry_run or (out is None and batch_id is None):
        raise CommandError("Name a FILE of prompts: safelight batch prompts.csv --out images/")
    if request:
        raise CommandError(f"{', '.join(request)}: a batch that is there already cannot be changed; name a FILE.")


def _read(source: Path, input_format: Kind | None, request: dict[str, Any], *, keep_columns: bool) -> BatchInput:
    """Read the file of prompts, and set the fields of the request that depend on it."""
    batch_input = read_input(source, input_format)
    if batch_input.endpoint is not None:
        request["endpoint"] = batch_input.endpoint
    if keep_columns:
        request["extra_columns"] = "metadata"
    return batch_input


def _submit_only(client: Safelight, batch_input: BatchInput | None, request: Mapping[str, Any]) -> None:
    """Submit a batch whose images go nowhere, and print its id."""
    if batch_input is None:
        raise CommandError("Say where the images go: --out DIR.")
    print(submit(client, batch_input, request).id)


def _collect(client: Safelight, directory: OutputDirectory, state: State, *, retries: bool) -> int:
    """Follow a batch and its retries to their end, and download their images. Returns the exit code."""
    final_batches: list[Batch] = []
    with Downloads(directory) as downloads:
        for batch_id in state["batches"]:  # `retry` appends a batch during the loop
            final_batches.append(_follow(client, batch_id, downloads))
            _check_accepted(final_batches[-1], directory, state)
            if retries and batch_id == state["batches"][-1] and not is_successful(final_batches[-1]):
                retries = False
                retry(client, directory, state)
    manifest = write_manifest(final_batches, directory)
    write_contact_sheet(final_batches[0], directory)
    write_errors(client, final_batches[-1], directory)
    summarize(final_batches, downloads, directory)
    print(manifest)
    return 0 if is_successful(final_batches[-1]) and not downloads.missing_count else INCOMPLETE


def _follow(client: Safelight, batch_id: str, downloads: Downloads) -> Batch:
    """Show a batch until its end and download images as its lines end. Returns the ended batch."""
    jobs, started_at = FinalJobs(client, batch_id), time.monotonic()
    with show_progress(batch_id) as show:
        while True:
            now = time.monotonic()
            next_request_at = now + min(MAX_INTERVAL, max(MIN_INTERVAL, (now - started_at) / 10))
            batch = client.batches.retrieve(batch_id)
            show(batch, downloads.image_count)
            for job in jobs.list_new(batch):
                downloads.add(job)
                if batch.is_final:
                    show(batch, downloads.image_count)
                elif time.monotonic() > next_request_at:
                    break
            if batch.is_final:
                return batch
            time.sleep(max(0.0, next_request_at - time.monotonic()))  # less often, the longer it takes


def _check_accepted(batch: Batch, directory: OutputDirectory, state: State) -> None:
    """If a batch failed, print the errors and raise RequestRejected.

    If its lines were wrong, the directory's state is deleted, so that the command can be run again. If they have run,
    it stays: the same command must not generate them again. A refused retry leaves the batches before it in the state.
    """
    if batch.status != BatchStatus.FAILED:
        return
    errors = batch.errors.data if batch.errors else []
    for line in [*format_input(batch.input), *format_errors(errors)]:
        print(line, file=sys.stderr)
    if batch.request_counts.completed:
        raise RequestRejected(
            f"{batch.id} failed after its lines had run: {directory.path} has their images, but no manifest. "
            "--new generates all of them again."
        )
    if batch.id != state["batches"][0]:
        state["batches"].remove(batch.id)
        directory.save_state(state)
        raise RequestRejected(
            f"The retry {batch.id} was refused, and its lines were not generated again. `{directory.command}` still "
            "collects the images of the batch before it."
        )
    directory.delete_state()
    raise RequestRejected(
        f"{batch.id} was refused, and nothing was generated: correct these lines and run the command again."
    )


@contextmanager
def _interruptible(client: Safelight, directory: OutputDirectory, state: State, *, cancels: bool) -> Iterator[None]:
    """If the command ends early, print what happens to the batch and how to resume it."""
    hint = f"`{directory.command}` goes on from here."
    try:
        yield
    except KeyboardInterrupt:
        print(_after_interrupt(client, state, hint, cancels=cancels), file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    except (CommandError, SafelightError) as failure:
        error = explain(failure) if isinstance(failure, SafelightError) else failure
        if isinstance(error, RequestRejected):
            raise error from None
        raise CommandError(f"{error} {hint}") from None


def _after_interrupt(client: Safelight, state: State, hint: str, *, cancels: bool) -> str:
    if not state["batches"]:
        return "Interrupted while submitting: the same command goes on from here."
    batch_id = state["batches"][-1]
    if not cancels:
        return f"{batch_id} goes on: {hint} `safelight batches cancel {batch_id}` stops it."
    try:
        return f"{batch_id} is {client.batches.cancel(batch_id).status}: {hint}"
    except SafelightError as error:
        return f"{batch_id} could not be cancelled: {explain(error)} {hint}"
