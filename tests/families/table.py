"""Writes docs/reference/models.md: `python -m tests.families.table`, or `make families`."""

import resource
import sys
import traceback
from argparse import ArgumentParser
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy
from PIL import ImageChops

from tests.contract.kinds import BUNDLED, RecordingReporter, a_diffusers_generator, a_request

from .matrix import FAMILIES, PROMPTS, STEPS, Row, measure

MAX_BYTES = 6_000_000_000
"""Of the data of the process that measures a family."""

_PAGE = Path(__file__).parents[2] / "docs" / "reference" / "models.md"
_HEAD = """# Model families

`make families` writes this page. It builds a tiny pipeline of each family, with diffusers' own classes and random
weights, and draws with it through the worker's generator. In every family, all steps are reported, a job stops
between two steps, broken numbers (NaN or infinity) are an error, and a call that does not fit into memory is told as
such, so that the worker tries fewer images. A family that is not listed here was not tried.

- **generation**, **edit**, **inpaint**, **variation**: whether diffusers has a pipeline for a prompt, for an edit
  without and with a mask, and for a variation of an image. `1024x1024`: only in sizes of about a million pixels.
- **previews**: whether a job has previews of unfinished images.
- **LoRAs**: whether the pipeline takes LoRAs.
- **guidance**: whether `guidance_scale` changes the image. Where it is `no`, another value than
  the default is a warning of the job, or is refused if the pipeline has no such parameter.
- **shares a pass with**: which other requests may go through one call. Other requests wait for the next call. `none`:
  each image has a call of its own.
- **batch of four**: the largest difference of a colour value, of 255, between an image in a batch of four and the same
  image alone, on the CPU in float32 (Z-Image Omni: in bfloat16).

"""
_COLUMNS = (
    "family", "pipeline", "generation", "edit", "inpaint", "variation", "previews", "LoRAs", "guidance",
    "shares a pass with", "batch of four",
)  # fmt: skip


def _line(row: Row) -> str:
    tasks = (row.generation, row.edit, row.inpaint, row.variation)
    capabilities = (*tasks, row.previews, row.loras, row.guidance)
    cells = (row.family, f"`{row.pipeline}`", *capabilities, row.neighbours, str(row.difference))
    return f"| {' | '.join(cells)} |\n"


_REFUSALS = """
## What is refused

A model or a job of these says why it is refused:

| family | what | why |
|---|---|---|
| Chroma | inpaint | diffusers' class for it fails: it reads an option that Chroma's transformer does not have |
| FLUX.1 Kontext | several images | diffusers' class takes one: `max_input_images` must be 1 |
| FLUX.1 Redux | all | it draws nothing itself: it makes embeddings of an image, which no request to a FLUX.1 carries |
| GLM-Image | edit | diffusers' call for it fails with the versions of transformers that Safelight admits |
| OmniGen | all | needs torchvision, which the worker's extra does not have; it was not tried with it |
| Qwen-Image-Layered | all | gives several layers for an image, where a job has one image for each |
"""
_TOLERANCE = """
## The bundled model

The same difference for the bundled model at each size, with four prompts and {steps} steps, in {dtype} on a CPU:

| model | size | batch of four |
|---|---|---|
"""


def _bundled() -> str:
    generator = a_diffusers_generator(BUNDLED)
    lines = ""
    for side in (128, 256, 512):
        requests = [a_request("text-to-image", side, prompt, seed, steps=STEPS) for seed, prompt in enumerate(PROMPTS)]
        together = generator.generate(requests, RecordingReporter())
        alone = [generator.generate([request], RecordingReporter())[0] for request in requests]
        pairs = zip(together, alone, strict=True)
        difference = max(int(numpy.asarray(ImageChops.difference(*pair)).max()) for pair in pairs)
        lines += f"| `unclip-mini` | {side}x{side} | {difference} |\n"
    return _TOLERANCE.format(steps=STEPS, dtype=generator.receipt()["dtype"]) + lines


def main() -> None:
    """Measure each family whose line is not in the folder `--lines` yet, then write the page if none failed."""
    parser = ArgumentParser(prog="python -m tests.families.table", description=__doc__)
    parser.add_argument("--lines", type=Path, help="keep each line in this folder: a run that was cut goes on")
    parser.add_argument("--only", nargs="+", choices=FAMILIES, metavar="FAMILY", help="no page: the lines of these")
    arguments = parser.parse_args()
    with TemporaryDirectory() as place:
        folder = arguments.lines or Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        failures = [name for name in arguments.only or FAMILIES if not _has_line(name, folder)]
        if failures:
            sys.exit(f"No page was written, as these fail: {', '.join(failures)}")
        if not arguments.only:
            lines = "".join(_line_file(folder, name).read_text(encoding="utf-8") for name in FAMILIES)
            head = f"| {' | '.join(_COLUMNS)} |\n{'|---' * len(_COLUMNS)}|\n"
            _PAGE.write_text(_HEAD + head + lines + _REFUSALS + _bundled(), encoding="utf-8")


def _line_file(folder: Path, name: str) -> Path:
    return folder / f"{name.replace(' ', '-')}.md"


def _has_line(name: str, folder: Path) -> bool:
    """Whether the family's line is in the folder, after it was measured if need be."""
    file = _line_file(folder, name)
    if not file.exists():
        # A process for each, as what torch and the libraries keep of many models in turn fills the memory.
        with ProcessPoolExecutor(1, get_context("spawn"), initializer=limit_memory) as pool:
            try:
                file.write_text(pool.submit(measure_line, name).result(), encoding="utf-8")
            except Exception:  # the next families are measured all the same
                print(f"{name} fails:\n{traceback.format_exc()}", file=sys.stderr, flush=True)
                return False
    print(file.read_text(encoding="utf-8"), end="", flush=True)
    return True


def measure_line(name: str) -> str:
    """The line of a family."""
    with TemporaryDirectory() as place:
        return _line(measure(name, Path(place) / "model"))


def limit_memory() -> None:
    """Let a process fail that would take more than MAX_BYTES."""
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_BYTES, MAX_BYTES))


if __name__ == "__main__":
    main()
