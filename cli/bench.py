"""`safelight bench model`: what a model costs on this machine, drawn by the generator that a worker would build.

No database, no queue, no files: images are drawn and thrown away. Batch sizes take turns within a round and the median
is taken over rounds, because a machine's speed moves within minutes; ratios are taken within a round. What a job costs
around the drawing is measured by `make bench` (docs/05-performance.md).
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.environment import read_catalog, read_settings
from cli.errors import CommandError

if TYPE_CHECKING:
    from PIL.Image import Image

    from core.catalog import Catalog
    from core.generation import Generator, ImageRequest
    from core.jobs import NewJob
    from core.settings import Settings

app = typer.Typer(
    name="bench",
    help="Measure what a model costs on this machine.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

PROMPTS = ("A cat sitting on a sofa.", "A red car in the city at night.", "A robot in the desert.", "一只熊猫在雪地里")
SEED = 7
LEAST_ROUNDS = 3
LARGEST_BATCH = 64
WORTH_DOUBLING = 1.03
"""A batch is doubled again while that brings at least this many times the images a second."""


class SilentReporter:
    """Hears the steps of a drawing and stops nothing; see `core.generation.Watch`."""

    def step(self, done: int, total: int) -> None:
        """Let it go on."""

    def preview(self, draw: Callable[[], "Sequence[Image]"]) -> None:
        """Look at nothing."""


@dataclass(slots=True)
class Batch:
    """A number of images drawn together: the seconds it took, one value a round."""

    size: int
    seconds: list[float] = field(default_factory=list)
    same_bytes: bool = True  # whether the first image is, byte by byte, the one that is drawn alone

    @property
    def rate(self) -> float:
        """Images a second."""
        return self.size / median(self.seconds)


@dataclass(slots=True)
class Report:
    """What was measured, and what on."""

    asked: "NewJob"
    receipt: dict[str, str]
    cold: dict[str, float]
    warm_seconds: float
    batches: list[Batch]
    no_memory_at: int | None
    peak_bytes: int
    device_peak_bytes: int | None

    @property
    def best(self) -> Batch:
        """The batch that gains most over a single image, by the ratios within rounds; of equals the smallest."""
        return max(self.batches, key=lambda batch: (self.against_one(batch), -batch.size))

    def against_one(self, batch: Batch) -> float:
        """Images a second of a batch over those of a single image: the median of the rounds' ratios."""
        alone = self.batches[0].seconds
        return median(batch.size * one / seconds for one, seconds in zip(alone, batch.seconds, strict=True))


@app.callback()
def _bench() -> None:
    """Hold the measurements together, so that `model` stays a word of the command."""


@app.command()
def model(
    model_id: Annotated[str | None, typer.Option("--model", help="Id of a model; by default the default.")] = None,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT; by default the model's.")] = None,
    batches: Annotated[str, typer.Option(help="Batch sizes, with commas; larger ones are tried.")] = "1,4,8",
    seconds: Annotated[float, typer.Option(min=0, help="How long to measure; three rounds at least.")] = 30,
    steps: Annotated[int | None, typer.Option(min=1, help="Denoising steps; by default the model's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure a model: images a second by batch size, seconds to the first image, memory, and whether seeds hold."""
    sizes = _batch_sizes(batches)
    settings = read_settings()
    catalog = read_catalog(settings)
    asked = _planned(catalog, settings, model=model_id, size=size, steps=steps)
    say = (lambda _: None) if as_json else (lambda line: print(line, file=sys.stderr))
    report = _measured(catalog, settings, asked, sizes, seconds, say)
    print(json.dumps(_as_json(report)) if as_json else _as_text(report, catalog.model(asked.model).microbatch_size))


def _batch_sizes(text: str) -> list[int]:
    """Read `1,4,8`; a single image is always among them, because the ratios are taken against it."""
    try:
        sizes = {int(part) for part in text.split(",")}
    except ValueError:
        sizes = {0}
    if min(sizes) < 1 or max(sizes) > LARGEST_BATCH:
        raise CommandError(f"--batches must be numbers from 1 to {LARGEST_BATCH} with commas between, not {text!r}.")
    return sorted(sizes | {1})


def _planned(catalog: "Catalog", settings: "Settings", **wishes: Any) -> "NewJob":
    """The job that these wishes make, checked as the API checks it. Raises CommandError."""
    from core.errors import InvalidRequest
    from core.requests.job import JobRequest
    from core.requests.plan import plan

    try:
        return plan(JobRequest(prompt=PROMPTS[0], **wishes), catalog, settings, "bench")
    except InvalidRequest as error:
        raise CommandError(error.message) from None


def _measured(
    catalog: "Catalog",
    settings: "Settings",
    asked: "NewJob",
    sizes: list[int],
    budget: float,
    say: Callable[[str], None],
) -> Report:
    from core.errors import GenerationError

    say(f"Loading {asked.model} ...")
    try:
        generator, cold, first = _first_image(catalog, settings, asked)
        say("Drawing ...")
        warm_seconds, again = _timed(partial(_drawn, generator, asked, 1))
        if again[0].tobytes() != first.tobytes():
            raise CommandError(f"{asked.model} draws two images for one seed; nothing else here would mean much.")
        measured, no_memory_at = _explored(generator, asked, sizes, first)
        _interleaved(generator, asked, measured, budget, say)
    except GenerationError as error:
        raise CommandError(error.message) from None
    return Report(
        asked, generator.receipt(), cold, warm_seconds, measured, no_memory_at, _peak_bytes(), _device_peak_bytes()
    )


def _first_image(
    catalog: "Catalog", settings: "Settings", asked: "NewJob"
) -> tuple["Generator", dict[str, float], "Image"]:
    """A generator that has drawn once, and the seconds from nothing to its first image, by part."""
    began = time.perf_counter()
    from worker.generators import build

    generator = build(catalog.model(asked.model), settings)
    built = time.perf_counter()
    generator.load()
    loaded = time.perf_counter()
    first = _drawn(generator, asked, 1)[0]
    drawn = time.perf_counter()
    return generator, {"import": built - began, "load": loaded - built, "draw": drawn - loaded}, first


def _explored(
    generator: "Generator", asked: "NewJob", sizes: list[int], alone: "Image"
) -> tuple[list[Batch], int | None]:
    """The batch sizes that are worth measuring, each drawn once; and the first that did not fit into memory.

    After the sizes asked for come doubled ones, while each brings more images a second than the one before.
    """
    from core.errors import OutOfMemory

    found: list[Batch] = []
    rates: list[float] = []
    waiting = list(sizes)
    while waiting:
        batch = Batch(waiting.pop(0))
        try:
            seconds, images = _timed(partial(_drawn, generator, asked, batch.size))
        except OutOfMemory:
            if batch.size == 1:
                raise
            return found, batch.size
        batch.same_bytes = images[0].tobytes() == alone.tobytes()
        found.append(batch)
        rates.append(batch.size / seconds)
        if not waiting and 2 * batch.size <= LARGEST_BATCH and rates[-1] >= WORTH_DOUBLING * max(rates[:-1], default=0):
            waiting.append(2 * batch.size)
    return found, None


def _interleaved(
    generator: "Generator", asked: "NewJob", batches: list[Batch], budget: float, say: Callable[[str], None]
) -> None:
    """Draw every batch in turn, round after round, until the time is spent."""
    began, rounds = time.perf_counter(), 0
    while rounds < LEAST_ROUNDS or time.perf_counter() - began < budget:
        # Every other round goes downwards, so that no size always follows the same neighbour.
        for batch in batches if rounds % 2 == 0 else reversed(batches):
            seconds, images = _timed(partial(_drawn, generator, asked, batch.size))
            batch.seconds.append(seconds)
            if len(images) != batch.size:
                raise CommandError(f"{asked.model} drew {len(images)} images instead of {batch.size}.")
        rounds += 1
        say(f"Round {rounds}: {time.perf_counter() - began:.0f} of {budget:.0f} s")


def _drawn(generator: "Generator", asked: "NewJob", count: int) -> "Sequence[Image]":
    return generator.generate(_requests(asked, count), SilentReporter())


def _requests(asked: "NewJob", count: int) -> "list[ImageRequest]":
    """Different prompts and seeds; the first is the same in every batch."""
    from core.generation import ImageRequest

    return [
        ImageRequest(PROMPTS[index % len(PROMPTS)], asked.parameters.model_copy(update={"seed": SEED + index}))
        for index in range(count)
    ]


def _timed(work: "Callable[[], Sequence[Image]]") -> "tuple[float, Sequence[Image]]":
    began = time.perf_counter()
    images = work()
    return time.perf_counter() - began, images


def _peak_bytes() -> int:
    """The most memory that this process has held; 0 where the system does not say (Windows)."""
    try:
        import resource
    except ModuleNotFoundError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _device_peak_bytes() -> int | None:
    """The most memory that torch has held on a CUDA device; None without one. Only a generator imports torch."""
    torch = sys.modules.get("torch")
    return int(torch.cuda.max_memory_allocated()) if torch is not None and torch.cuda.is_available() else None


def _as_json(report: Report) -> dict[str, Any]:
    """Everything that was measured; seconds of every round as they came."""
    return {
        "model": report.asked.model,
        "size": report.asked.parameters.size,
        "steps": report.asked.parameters.steps,
        "guidance_scale": report.asked.parameters.guidance_scale,
        "receipt": report.receipt,
        "cpus": _cpus(),
        "first_image_seconds": {"cold": report.cold, "warm": report.warm_seconds},
        "peak_bytes": report.peak_bytes,
        "device_peak_bytes": report.device_peak_bytes,
        "batches": [
            {
                "size": batch.size,
                "images_per_second": batch.rate,
                "against_one": report.against_one(batch),
                "same_bytes_as_alone": batch.same_bytes,
                "seconds": batch.seconds,
            }
            for batch in report.batches
        ],
        "best_batch": report.best.size,
        "out_of_memory_at": report.no_memory_at,
    }


def _as_text(report: Report, microbatch_size: int) -> str:
    asked, receipt, cold = report.asked, report.receipt, report.cold
    parts = ", ".join(f"{name} {value:.2f}" for name, value in cold.items())
    memory = f"peak {report.peak_bytes / 1e6:.0f} MB resident" if report.peak_bytes else "not told by this system"
    if report.device_peak_bytes is not None:
        memory += f", {report.device_peak_bytes / 1e6:.0f} MB on the device"
    parameters = asked.parameters
    guidance = parameters.guidance_scale
    what = f"{asked.model}, {parameters.size}, {parameters.steps} steps, guidance {guidance:g}"
    on = f"{receipt.get('device', 'cpu')} ({receipt.get('dtype', '?')}), {_cpus()} CPUs"
    lines = [
        f"{what}; {on}",
        f"first image   cold {sum(cold.values()):.2f} s ({parts}), warm {report.warm_seconds:.2f} s",
        f"memory          {memory}",
        "",
        *_table(report),
        "",
        f"Best batch: {report.best.size}, {report.against_one(report.best):.2f} times the images a second of batch 1. "
        f"The catalogue's microbatch_size is {microbatch_size}.",
    ]
    if report.no_memory_at is not None:
        lines.append(f"A batch of {report.no_memory_at} does not fit into memory.")
    lines.append(
        f"Medians [least..most] of {len(report.batches[0].seconds)} rounds, the batches in turn within each; "
        "ratios within a round."
    )
    return "\n".join(lines)


def _table(report: Report) -> list[str]:
    rows = [("batch", "images/s", "seconds a batch", "against batch 1", "same bytes as alone")]
    for batch in report.batches:
        rates = [batch.size / seconds for seconds in batch.seconds]
        rows.append(
            (
                str(batch.size),
                f"{batch.rate:.3g} [{min(rates):.3g}..{max(rates):.3g}]",
                f"{median(batch.seconds):.3g}",
                f"{report.against_one(batch):.2f}",
                "yes" if batch.same_bytes else "NO",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def _cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
