"""Writes docs/reference/models.md: `python -m tests.families.table`, or `make families`."""

from pathlib import Path
from tempfile import TemporaryDirectory

from .matrix import FAMILIES, Row, measure

_PAGE = Path(__file__).parents[2] / "docs" / "reference" / "models.md"
_HEAD = """# Model families

`make families` writes this page. It builds a tiny pipeline of each family, with diffusers' own classes and random
weights, and draws with it through the worker's generator. In every family, all steps are reported, a job stops
between two steps, and broken numbers (NaN or infinity) are an error. A family that is not listed here was not tried.

- **edit**, **inpaint**: whether diffusers has a pipeline for an edit without and with a mask.
- **previews**: whether a job has previews of unfinished images.
- **shares a pass with**: which other requests may go through one call. Other requests wait for the next call.
- **batch of four**: the largest difference of a colour value, of 255, between an image in a batch of four and the same
  image alone, on the CPU in float32.

| family | pipeline | edit | inpaint | previews | shares a pass with | batch of four |
|---|---|---|---|---|---|---|
"""


def _line(row: Row) -> str:
    cells = (row.family, f"`{row.pipeline}`", row.edit, row.inpaint, row.previews, row.neighbours, str(row.difference))
    return f"| {' | '.join(cells)} |\n"


def main() -> None:
    rows = []
    for name in FAMILIES:
        with TemporaryDirectory() as place:
            rows.append(measure(name, Path(place) / "model"))
        print(_line(rows[-1]), end="", flush=True)
    _PAGE.write_text(_HEAD + "".join(map(_line, rows)), encoding="utf-8")


if __name__ == "__main__":
    main()
