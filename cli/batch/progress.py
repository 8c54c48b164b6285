"""The progress of a batch on stderr: a progress bar on a terminal, else a line per tenth of the lines."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cli.batch.client import count_final
from cli.table import format_count, format_duration
from cli.watch import is_interactive
from safelight_client import Batch

ShowBatch = Callable[[Batch, int], None]
"""Shows the state of a batch and the number of its images in the directory."""

REFRESHES_PER_SECOND = 2


@contextmanager
def show_progress(batch_id: str) -> Iterator[ShowBatch]:
    """Show the progress of a batch as a bar or as lines."""
    with _progress_bar(batch_id) if is_interactive() else _progress_lines() as show:
        yield show


@contextmanager
def _progress_bar(batch_id: str) -> Iterator[ShowBatch]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[details]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=REFRESHES_PER_SECOND) as progress:
        progress.console.print(batch_id, markup=False, highlight=False)
        task = progress.add_task("validating", total=None, details="")

        def show(batch: Batch, image_count: int) -> None:
            total = batch.request_counts.total or None
            details = ", ".join(_describe(batch, image_count))
            progress.update(task, description=batch.status, completed=count_final(batch), total=total, details=details)

        yield show


@contextmanager
def _progress_lines() -> Iterator[ShowBatch]:
    last: tuple[str, int] | None = None

    def show(batch: Batch, image_count: int) -> None:
        nonlocal last
        total, final = batch.request_counts.total, count_final(batch)
        state = (batch.status, 10 * final // max(total, 1))
        if state == last:
            return
        last = state
        line = f"{batch.id}: {batch.status}"
        if total:
            # The last downloads may still run when the batch is final, so the summary has the number of images.
            details = _describe(batch, None if batch.is_final else image_count)
            line = ", ".join([f"{line} {final} of {format_count(total, 'line')}", *details])
        print(line, file=sys.stderr, flush=True)

    yield show


def _describe(batch: Batch, image_count: int | None) -> list[str]:
    """The details besides the number of final lines: images, unsuccessful lines, rate, remaining time."""
    counts, progress = batch.request_counts.model_dump(), batch.progress
    details = [] if image_count is None else [f"{format_count(image_count, 'image')} downloaded"]
    details += [f"{counts[name]} {name}" for name in ("failed", "cancelled", "expired") if counts[name]]
    if not batch.is_final and progress is not None and progress.lines_per_second:
        details.append(f"{progress.lines_per_second:.3g}/s")
        if progress.estimated_finish_at is not None:
            details.append(f"{format_duration(progress.estimated_finish_at - time.time())} left")
    return details
