"""Writes docs/reference/models.md: `python -m tests.families.table`, or `make families`."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy
from PIL import ImageChops

from tests.contract.kinds import BUNDLED, RecordingReporter, a_diffusers_generator, a_request

from .matrix import FAMILIES, PROMPTS, STEPS, Row, measure

_PAGE = Path(__file__).parents[2] / "docs" / "reference" / "models.md"
_HEAD = """# Model families

`make families` writes this page. It builds a tiny pipeline of each family, with diffusers' own classes and random
weights, and draws with it through the worker's generator. In every family, all steps are reported, a job stops
between two steps, and broken numbers (NaN or infinity) are an error. A family that is not listed here was not tried.
Qwen-Image-Edit and OmniGen need the package torchvision, which the worker's extra does not have; without it, a job says
so.

- **edit**, **inpaint**: whether diffusers has a pipeline for an edit without and with a mask.
- **previews**: whether a job has previews of unfinished images.
- **guidance**: whether `guidance_scale` changes the image. Where it is `no`, another value than
  the default is a warning of the job, or is refused if the pipeline has no such parameter.
- **shares a pass with**: which other requests may go through one call. Other requests wait for the next call.
- **batch of four**: the largest difference of a colour value, of 255, between an image in a batch of four and the same
  image alone, on the CPU in float32.

| family | pipeline | edit | inpaint | previews | guidance | shares a pass with | batch of four |
|---|---|---|---|---|---|---|---|
"""


def _line(row: Row) -> str:
    capabilities = (row.edit, row.inpaint, row.previews, row.guidance)
    cells = (row.family, f"`{row.pipeline}`", *capabilities, row.neighbours, str(row.difference))
    return f"| {' | '.join(cells)} |\n"


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
    rows = []
    for name in FAMILIES:
        with TemporaryDirectory() as place:
            rows.append(measure(name, Path(place) / "model"))
        print(_line(rows[-1]), end="", flush=True)
    _PAGE.write_text(_HEAD + "".join(map(_line, rows)) + _bundled(), encoding="utf-8")


if __name__ == "__main__":
    main()
