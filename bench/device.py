"""A model on this machine's device: `python -m bench.device`, under four minutes with a CUDA device.

1. Images a second by micro-batch size, the peak of memory, and whether the bytes are those of an image drawn alone.
2. Each way to load a model: seconds for a micro-batch and memory, beside the plain one.
3. What happens when a micro-batch does not fit (CUDA only: half of what the model needs is hidden from it).
4. The share of the time in which the device draws while jobs come through the whole service.

It draws with a worker's own generators: the bundled model, and models with random weights in the shapes of SDXL and
FLUX.1. On a CPU the models are smaller and the figures show only that everything works.
"""

import argparse
import gc
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import torch
from PIL.Image import Image

from bench import pipelines
from bench.directory import own_directory
from bench.load import load
from bench.references import SilentReporter
from bench.service import Service
from bench.submit_to_done import DEVICE_SECONDS, PROMPT, check_files, seconds_of
from cli.environment import ROOT
from cli.table import align
from core.catalog import Model, parse_catalog
from core.generation import Generator, ImageRequest
from core.generation_errors import GenerationError, OutOfMemory
from core.parameters.job import ResolvedParameters
from core.settings import Settings
from worker.generators import build

IS_CUDA = torch.cuda.is_available()
STEPS = 12 if IS_CUDA else 2
SIDE = 512 if IS_CUDA else 128
SIZES = (1, 2, 4, 8, 16, 32) if IS_CUDA else (1, 2, 4)
ROUNDS = 3

VARIANTS: Sequence[tuple[str, Mapping[str, str]]] = (
    ("plain, float32", {"options": "{ dtype = 'float32' }"}),
    ("bfloat16", {"options": "{ dtype = 'bfloat16' }"}),
    ("bfloat16, compile", {"options": "{ dtype = 'bfloat16' }", "compile": "'regional'"}),
    ("bfloat16, cuDNN attention", {"options": "{ dtype = 'bfloat16' }", "attention": "'_native_cudnn'"}),
    ("bfloat16, VAE in slices", {"options": "{ dtype = 'bfloat16' }", "vae": "{ slicing = true }"}),
    ("bfloat16, weights in 8 bits", {"options": "{ dtype = 'bfloat16' }", "layerwise_casting": "true"}),
    ("bfloat16, components offloaded", {"options": "{ dtype = 'bfloat16' }", "offload": "'model'"}),
    ("bfloat16, blocks offloaded", {"options": "{ dtype = 'bfloat16' }", "offload": "'group'"}),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """One generator, loaded and used."""

    load_seconds: float
    seconds: float  # of a micro-batch, the median
    loaded_megabytes: float
    peak_megabytes: float


def entry(model_id: str, source: Path, **fields: str) -> str:
    """An entry of a catalogue, as TOML. fields: TOML values."""
    base = {
        "id": f"'{model_id}'",
        "generator": "'diffusers_local'",
        "source": f"'{source}'",
        "sizes": f"['{SIDE}x{SIDE}']",
        "steps": f"{{ default = {STEPS}, min = 1, max = 100 }}",
        "guidance_scale": "{ default = 5.0, min = 1.0, max = 20.0 }",
        "microbatch_size": "8",
        "seconds_per_image": "0.1",
    }
    return "[[models]]\n" + "\n".join(f"{name} = {value}" for name, value in {**base, **fields}.items()) + "\n"


def read_models(default: str, *entries: str) -> dict[str, Model]:
    """The models of a catalogue with these entries."""
    catalog = parse_catalog("\n".join((f"default = '{default}'", *entries)), Path("bench.toml"))
    return {model.id: model for model in catalog.models}


def draw(generator: Generator, model: Model, count: int) -> Sequence[Image]:
    """One micro-batch. The first request is the same, whatever the count."""
    requests = [
        ImageRequest(
            PROMPT,
            ResolvedParameters(
                size=model.sizes[0], steps=model.steps.default, guidance_scale=model.guidance_scale.default, seed=seed
            ),
        )
        for seed in range(count)
    ]
    return generator.generate(requests, SilentReporter())


def used_megabytes() -> float:
    """Memory in use now: on the device, or of this process."""
    return (torch.cuda.memory_allocated() if IS_CUDA else psutil.Process().memory_info().rss) / 1e6


def peak_megabytes() -> float:
    """The peak since `free`. On a CPU, what is used now: the kernel keeps only the peak of the whole life."""
    return (torch.cuda.max_memory_allocated() if IS_CUDA else psutil.Process().memory_info().rss) / 1e6


def free(generator: Generator | None = None) -> None:
    """Give back the memory of a generator, and begin a new peak."""
    if generator is not None:
        generator.unload()
    gc.collect()
    if IS_CUDA:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def measure(model: Model, settings: Settings, count: int) -> Measured:
    """Load a model, draw until it is warm, and draw again. Raises GenerationError."""
    free()
    before = used_megabytes()
    generator = build(model, settings)
    load_seconds = seconds_of(generator.load)
    loaded_size = used_megabytes() - before
    draw(generator, model, count)
    seconds = statistics.median(seconds_of(partial(draw, generator, model, count)) for _ in range(ROUNDS))
    result = Measured(load_seconds, seconds, loaded_size, peak_megabytes() - before)
    free(generator)
    return result


def sweep(models: Mapping[str, Model], settings: Settings) -> list[tuple[str, ...]]:
    """Images a second by the size of the micro-batch."""
    rows: list[tuple[str, ...]] = [("model", "micro-batch", "images/s", "over 1", "peak MB", "bytes as alone")]
    for name, model in models.items():
        free()
        generator = build(model, settings)
        generator.load()
        alone = draw(generator, model, 1)[0].tobytes()
        first = 0.0
        for count in SIZES:
            free()
            try:
                images = draw(generator, model, count)
                seconds = statistics.median(seconds_of(partial(draw, generator, model, count)) for _ in range(ROUNDS))
            except OutOfMemory:
                rows.append((name, str(count), "out of memory", "", "", ""))
                break
            rate = count / seconds
            first = first or rate
            is_same = "yes" if images[0].tobytes() == alone else "no"
            rows.append((name, str(count), f"{rate:.2f}", f"{rate / first:.2f}", f"{peak_megabytes():.0f}", is_same))
        free(generator)
    return rows


def variants(sources: Mapping[str, Path], settings: Settings) -> list[tuple[str, ...]]:
    """Each way to load a model beside the first. A way that this machine cannot do says why."""
    rows: list[tuple[str, ...]] = [("model", "loaded as", "s for a micro-batch", "speedup", "load s", "MB", "peak MB")]
    for name, source in sources.items():
        plain = 0.0
        for label, fields in VARIANTS:
            model = read_models("m", entry("m", source, **fields))["m"]
            try:
                figures = measure(model, settings, min(8, SIZES[-1]))
            except GenerationError as error:
                rows.append((name, label, str(error).splitlines()[0][:80], "", "", "", ""))
                continue
            plain = plain or figures.seconds
            rows.append(
                (
                    name, label, f"{figures.seconds:.3f}", f"{plain / figures.seconds:.2f}",
                    f"{figures.load_seconds:.1f}",
                    f"{figures.loaded_megabytes:.0f}", f"{figures.peak_megabytes:.0f}",
                )
            )  # fmt: skip
    return rows


def without_memory(model: Model, settings: Settings) -> list[tuple[str, ...]]:
    """The micro-batches that a worker tries when the largest does not fit, each half of the one before."""
    rows: list[tuple[str, ...]] = [("micro-batch", "result")]
    generator = build(model, settings)
    generator.load()
    free()
    draw(generator, model, 1)
    needed_bytes = torch.cuda.max_memory_reserved()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, 2 * needed_bytes / total))
    try:
        count = 64
        while count:
            free()
            try:
                draw(generator, model, count)
            except OutOfMemory as error:
                rows.append((str(count), f"out of memory: {str(error).splitlines()[0][:80]}"))
                count //= 2
                continue
            rows.append((str(count), "drawn"))
            break
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        free(generator)
    return rows


def through_service(directory: Path, bundled_entry: str, batches: int) -> list[tuple[str, ...]]:
    """The share of the time in which the device draws the bundled model, with jobs posted one by one."""
    place = directory / "service"
    place.mkdir(mode=0o755)
    with Service(place, catalog=f"default = 'bundled'\n{bundled_entry}") as service:
        jobs = batches * service.model("bundled").microbatch_size
        body = f'{{"prompt": "{PROMPT}", "model": "bundled"}}'
        load(f"{service.url}/v1/jobs", body, connections=8, requests=8, expect=202)
        service.until_done()
        service.clear()
        load(f"{service.url}/v1/jobs", body, connections=32, requests=jobs, expect=202)
        service.until_done()
        check_files(service, jobs)
        (row,) = service.query(DEVICE_SECONDS)
    share = row["busy"] / row["wall"]
    return [("images", "images/s", "device busy"), (str(jobs), f"{jobs / row['wall']:.2f}", f"{share:.3f}")]


def show(title: str, rows: Sequence[tuple[str, ...]]) -> None:
    """Print a table."""
    head, *body = align(rows)
    rule = ["-" * len(cell) for cell in head]
    print(f"\n{title}\n\n" + "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *body)), flush=True)


def run(directory: Path, parts: Sequence[str], batches: int) -> None:
    """Print the parts, one table each."""
    settings = Settings(data_dir=directory)
    bundled_entry = entry("bundled", ROOT / "models" / "unclip-mini", sizes="['256x256']" if IS_CUDA else "['128x128']")
    sources: dict[str, Path] = {}
    if set(parts) & {"sweep", "variants", "memory"}:
        sources["SDXL's shape"] = pipelines.sdxl(directory / "sdxl", 128 if IS_CUDA else 32)
        sources["FLUX's shape"] = pipelines.flux(directory / "flux", 1024 if IS_CUDA else 128)
    name = torch.cuda.get_device_name() if IS_CUDA else f"CPU, {torch.get_num_threads()} threads"
    print(f"{name}, torch {torch.__version__}, {SIDE}x{SIDE}, {STEPS} steps")
    if "sweep" in parts:
        models = read_models("bundled", bundled_entry, entry("sdxl", sources["SDXL's shape"]))
        show("Micro-batches", sweep(models, settings))
    if "variants" in parts:
        show("Ways to load a model", variants(sources, settings))
    if "memory" in parts and IS_CUDA:
        model = read_models("sdxl", entry("sdxl", sources["SDXL's shape"]))["sdxl"]
        show("A device with too little memory", without_memory(model, settings))
    if "service" in parts:
        show("Through the service", through_service(directory, bundled_entry, batches))


PARTS = ("sweep", "variants", "memory", "service")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS)
    parser.add_argument("--batches", type=int, default=20 if IS_CUDA else 3, help="micro-batches through the service")
    arguments = parser.parse_args()
    began = time.perf_counter()
    with own_directory() as directory:
        run(directory, arguments.only, arguments.batches)
    print(f"\n{time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    main()
