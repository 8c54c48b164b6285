"""`safelight bench model`: measures the speed of a model on this machine, with the generator of a worker.

It uses no database, queue or storage; the images are discarded. The speed of a machine changes within minutes, so each
round measures all batch sizes in turn. Ratios are computed within a round; the report has the medians over the rounds.
`make bench` measures the overhead of a job (docs/05-performance.md).
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
from cli.table import format_table

if TYPE_CHECKING:
    from PIL.Image import Image

    from core.catalog import Catalog
    from core.generation import Generator, ImageRequest
    from core.new_job import NewJob
    from core.settings import Settings

app = typer.Typer(
    name="bench",
    help="Measure the speed of a model on this machine.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

PROMPTS = ("A cat sitting on a sofa.", "A red car in the city at night.", "A robot in the desert.", "一只熊猫在雪地里")
SEED = 7
MIN_ROUNDS = 3
MAX_BATCH = 64
MIN_GAIN = 1.03
"""The batch size is doubled while the images per second grow at least by this factor."""


class SilentReporter:
    """A progress reporter that does nothing; see `core.generation.ProgressReporter`."""

    def step(self, current: int, total: int) -> None:
        """Ignore a step."""

    def preview(self, draw: Callable[[], "Sequence[Image]"]) -> None:
        """Ignore a preview."""


@dataclass(slots=True)
class Batch:
    """The measurements of a batch size: the seconds of each round."""

    size: int
    seconds: list[float] = field(default_factory=list)
    same_bytes: bool = True  # whether the first image is equal, byte by byte, to that of batch 1

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.size / median(self.seconds)


@dataclass(slots=True)
class Report:
    """All measurements of a model."""

    job: "NewJob"
    receipt: dict[str, str]
    cold: dict[str, float]
    warm_seconds: float
    batches: list[Batch]
    out_of_memory_at: int | None
    peak_bytes: int
    device_peak_bytes: int | None

    @property
    def best(self) -> Batch:
        """The batch with the largest speedup; of equal ones, the smallest."""
        return max(self.batches, key=lambda batch: (self.speedup(batch), -batch.size))

    def speedup(self, batch: Batch) -> float:
        """Images per second, divided by those of batch 1: the median of the ratios of all rounds."""
        single = self.batches[0].seconds
        return median(batch.size * base / seconds for base, seconds in zip(single, batch.seconds, strict=True))


@app.callback()
def _bench() -> None:
    """Make `app` a group, so that `model` is a subcommand."""


@app.command()
def model(
    model_id: Annotated[str | None, typer.Option("--model", help="Id of the model. Default: the catalogue's.")] = None,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT. Default: the model's.")] = None,
    batches: Annotated[
        str, typer.Option(help="Batch sizes, separated by commas. Larger ones are added while they are faster.")
    ] = "1,4,8",
    seconds: Annotated[float, typer.Option(min=0, help="Duration of the measurement; at least three rounds.")] = 30,
    steps: Annotated[int | None, typer.Option(min=1, help="Denoising steps. Default: the model's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure a model: images per second by batch size, time to the first image, memory, and reproducible seeds."""
    sizes = _parse_batch_sizes(batches)
    settings = read_settings()
    catalog = read_catalog(settings)
    job = _plan_job(catalog, settings, model=model_id, size=size, steps=steps)
    log = (lambda _: None) if as_json else (lambda line: print(line, file=sys.stderr))
    report = _measure(catalog, settings, job, sizes, seconds, log)
    print(json.dumps(_to_json(report)) if as_json else _to_text(report, catalog.model(job.model).microbatch_size))


def _parse_batch_sizes(text: str) -> list[int]:
    """Read `1,4,8`. Size 1 is added if missing, because the gains are relative to it."""
    try:
        sizes = {int(number) for number in text.split(",")}
    except ValueError:
        sizes = {0}
    if min(sizes) < 1 or max(sizes) > MAX_BATCH:
        raise CommandError(f"--batches must be numbers from 1 to {MAX_BATCH}, separated by commas, not {text!r}.")
    return sorted(sizes | {1})


def _plan_job(catalog: "Catalog", settings: "Settings", **parameters: Any) -> "NewJob":
    """The job for these parameters, validated as in the API. Raises CommandError."""
    from core.errors import InvalidRequest
    from core.requests.job import JobRequest
    from core.requests.plan import plan

    try:
        return plan(JobRequest(prompt=PROMPTS[0], **parameters), catalog, settings, "bench")
    except InvalidRequest as error:
        raise CommandError(error.message) from None


def _measure(
    catalog: "Catalog",
    settings: "Settings",
    job: "NewJob",
    sizes: list[int],
    min_seconds: float,
    log: Callable[[str], None],
) -> Report:
    from core.generation_errors import GenerationError

    log(f"Loading {job.model} ...")
    try:
        generator, cold, first = _generate_first(catalog, settings, job)
        log("Generating ...")
        warm_seconds, images = _time(partial(_generate, generator, job, 1))
        if images[0].tobytes() != first.tobytes():
            raise CommandError(f"{job.model} generates different images for the same seed, so it cannot be measured.")
        batches, out_of_memory_at = _select_batches(generator, job, sizes, first)
        _run_rounds(generator, job, batches, min_seconds, log)
    except GenerationError as error:
        raise CommandError(error.message) from None
    return Report(
        job, generator.receipt(), cold, warm_seconds, batches, out_of_memory_at, _peak_bytes(), _device_peak_bytes()
    )


def _generate_first(
    catalog: "Catalog", settings: "Settings", job: "NewJob"
) -> tuple["Generator", dict[str, float], "Image"]:
    """Load the generator and generate an image; returns the seconds of each phase too."""
    start = time.perf_counter()
    from worker.generators import build

    generator = build(catalog.model(job.model), settings)
    import_end = time.perf_counter()
    generator.load()
    load_end = time.perf_counter()
    first = _generate(generator, job, 1)[0]
    end = time.perf_counter()
    return generator, {"import": import_end - start, "load": load_end - import_end, "draw": end - load_end}, first


def _select_batches(
    generator: "Generator", job: "NewJob", sizes: list[int], first: "Image"
) -> tuple[list[Batch], int | None]:
    """Run each batch size once; returns the batches to measure, and the size that did not fit into memory.

    The largest size is doubled while that gives more images per second.
    """
    from core.generation_errors import OutOfMemory

    batches: list[Batch] = []
    rates: list[float] = []
    queue = list(sizes)
    while queue:
        batch = Batch(queue.pop(0))
        try:
            seconds, images = _time(partial(_generate, generator, job, batch.size))
        except OutOfMemory:
            if batch.size == 1:
                raise
            return batches, batch.size
        batch.same_bytes = images[0].tobytes() == first.tobytes()
        batches.append(batch)
        rates.append(batch.size / seconds)
        if not queue and 2 * batch.size <= MAX_BATCH and rates[-1] >= MIN_GAIN * max(rates[:-1], default=0):
            queue.append(2 * batch.size)
    return batches, None


def _run_rounds(
    generator: "Generator", job: "NewJob", batches: list[Batch], min_seconds: float, log: Callable[[str], None]
) -> None:
    """Measure all batches, round after round, until the time is over."""
    start, rounds = time.perf_counter(), 0
    while rounds < MIN_ROUNDS or time.perf_counter() - start < min_seconds:
        # The order alternates, so that a size does not always follow the same other size.
        for batch in batches if rounds % 2 == 0 else reversed(batches):
            seconds, images = _time(partial(_generate, generator, job, batch.size))
            batch.seconds.append(seconds)
            if len(images) != batch.size:
                raise CommandError(f"{job.model} generated {len(images)} images instead of {batch.size}.")
        rounds += 1
        log(f"Round {rounds}: {time.perf_counter() - start:.0f} of {min_seconds:.0f} s")


def _generate(generator: "Generator", job: "NewJob", count: int) -> "Sequence[Image]":
    return generator.generate(_make_requests(job, count), SilentReporter())


def _make_requests(job: "NewJob", count: int) -> "list[ImageRequest]":
    """Requests with different prompts and seeds; the first one is the same for every batch size."""
    from core.generation import ImageRequest

    return [
        ImageRequest(PROMPTS[index % len(PROMPTS)], job.parameters.model_copy(update={"seed": SEED + index}))
        for index in range(count)
    ]


def _time(work: "Callable[[], Sequence[Image]]") -> "tuple[float, Sequence[Image]]":
    start = time.perf_counter()
    images = work()
    return time.perf_counter() - start, images


def _peak_bytes() -> int:
    """The maximum memory of this process; 0 if the system does not report it (Windows)."""
    try:
        import resource
    except ModuleNotFoundError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _device_peak_bytes() -> int | None:
    """The maximum memory of torch on a CUDA device; None without one. Only a generator imports torch."""
    torch = sys.modules.get("torch")
    return int(torch.cuda.max_memory_allocated()) if torch is not None and torch.cuda.is_available() else None


def _to_json(report: Report) -> dict[str, Any]:
    """All measurements, with the seconds of each round."""
    return {
        "model": report.job.model,
        "size": report.job.parameters.size,
        "steps": report.job.parameters.steps,
        "guidance_scale": report.job.parameters.guidance_scale,
        "receipt": report.receipt,
        "cpus": _cpus(),
        "first_image_seconds": {"cold": report.cold, "warm": report.warm_seconds},
        "peak_bytes": report.peak_bytes,
        "device_peak_bytes": report.device_peak_bytes,
        "batches": [
            {
                "size": batch.size,
                "images_per_second": batch.rate,
                "against_one": report.speedup(batch),
                "same_bytes_as_alone": batch.same_bytes,
                "seconds": batch.seconds,
            }
            for batch in report.batches
        ],
        "best_batch": report.best.size,
        "out_of_memory_at": report.out_of_memory_at,
    }


def _to_text(report: Report, microbatch_size: int) -> str:
    job, receipt, cold = report.job, report.receipt, report.cold
    phases = ", ".join(f"{name} {value:.2f}" for name, value in cold.items())
    memory = f"peak {report.peak_bytes / 1e6:.0f} MB resident" if report.peak_bytes else "not reported by this system"
    if report.device_peak_bytes is not None:
        memory += f", {report.device_peak_bytes / 1e6:.0f} MB on the device"
    parameters = job.parameters
    device = f"{receipt.get('device', 'cpu')} ({receipt.get('dtype', '?')}), {_cpus()} CPUs"
    lines = [
        f"{job.model}, {parameters.size}, {parameters.steps} steps, guidance {parameters.guidance_scale:g}; {device}",
        f"first image   cold {sum(cold.values()):.2f} s ({phases}), warm {report.warm_seconds:.2f} s",
        f"memory        {memory}",
        "",
        *format_table([COLUMNS, *_rows(report)]),
        "",
        f"Best batch: {report.best.size}, {report.speedup(report.best):.2f} times the images per second of batch 1. "
        f"The catalogue's microbatch_size is {microbatch_size}.",
    ]
    if report.out_of_memory_at is not None:
        lines.append(f"A batch of {report.out_of_memory_at} does not fit into memory.")
    lines.append(
        f"Medians [min..max] of {len(report.batches[0].seconds)} rounds. Each round measures all batches; "
        "gains are ratios within a round."
    )
    return "\n".join(lines)


COLUMNS = ("batch", "images/s", "s/batch", "speedup over batch 1", "same bytes as batch 1")


def _rows(report: Report) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for batch in report.batches:
        rates = [batch.size / seconds for seconds in batch.seconds]
        rate = f"{batch.rate:.3g} [{min(rates):.3g}..{max(rates):.3g}]"
        is_equal = "yes" if batch.same_bytes else "NO"
        rows.append((str(batch.size), rate, f"{median(batch.seconds):.3g}", f"{report.speedup(batch):.2f}", is_equal))
    return rows


def _cpus() -> int:
    """The number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
