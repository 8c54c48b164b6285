"""How a batch is shown while it is followed: a bar on a terminal, else a line for about each tenth. All on stderr."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cli.batch.client import Batch, ended, is_final
from cli.table import counted, span
from cli.watch import is_lively

Show = Callable[[Batch, int], None]
"""Shows a batch as it is now, and how many of its images are in the directory."""

REFRESHES_PER_SECOND = 2


@contextmanager
def shown(batch_id: str) -> Iterator[Show]:
    """A bar, or lines, as stderr allows."""
    with _bar(batch_id) if is_lively() else _lines() as show:
        yield show


@contextmanager
def _bar(batch_id: str) -> Iterator[Show]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rest]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=REFRESHES_PER_SECOND) as progress:
        progress.console.print(batch_id, markup=False, highlight=False)
        task = progress.add_task("validating", total=None, rest="")

        def show(batch: Batch, here: int) -> None:
            total = batch["request_counts"]["total"] or None
            rest = ", ".join(_rest(batch, here))
            progress.update(task, description=batch["status"], completed=ended(batch), total=total, rest=rest)

        yield show


@contextmanager
def _lines() -> Iterator[Show]:
    shown_before: tuple[str, int] | None = None

    def show(batch: Batch, here: int) -> None:
        nonlocal shown_before
        total = batch["request_counts"]["total"]
        now = (batch["status"], 10 * ended(batch) // max(total, 1))
        if now == shown_before:
            return
        shown_before = now
        said = [f"{batch['id']}: {batch['status']}"]
        if total:
            # How many images there are in the end is said once they are.
            said = [f"{said[0]} {ended(batch)} of {counted(total, 'line')}"]
            said += _rest(batch, None if is_final(batch) else here)
        print(", ".join(said), file=sys.stderr, flush=True)

    yield show


def _rest(batch: Batch, here: int | None) -> list[str]:
    """What there is to say beside how many lines have ended."""
    counts, progress = batch["request_counts"], batch["progress"]
    said = [] if here is None else [f"{counted(here, 'image')} here"]
    said += [f"{counts[name]} {name}" for name in ("failed", "cancelled", "expired") if counts[name]]
    if not is_final(batch) and progress is not None and progress["lines_per_second"]:
        said.append(f"{progress['lines_per_second']:.3g}/s")
        if progress["estimated_finish_at"] is not None:
            said.append(f"{span(progress['estimated_finish_at'] - time.time())} left")
    return said
