"""The options that say how to draw, alike in every command that posts jobs. The API checks what they say."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import typer

from cli.errors import CommandError

Format = Literal["png", "webp", "jpeg"]

FORMATS: dict[str, Format] = {".png": "png", ".webp": "webp", ".jpg": "jpeg", ".jpeg": "jpeg"}
"""Which extension means which format; the first of a format is the one that our own names get."""

MAX_IMAGES = 64  # the most that any model of a catalogue may draw at a time

Model = Annotated[str | None, typer.Option(help="Default: the catalogue's.")]
Size = Annotated[str | None, typer.Option(help="Such as 256x256. Default: the model's.")]
Seed = Annotated[int | None, typer.Option(help="The same seed draws the same image. Default: drawn.")]
Steps = Annotated[int | None, typer.Option(help="Denoising steps. Default: the model's.")]
GuidanceScale = Annotated[float | None, typer.Option(help="How closely to follow the prompt.")]
NegativePrompt = Annotated[str | None, typer.Option(help="What to keep away from.")]
Denoise = Annotated[float | None, typer.Option(help="Smooth grain, 0 to 1.")]
Sharpen = Annotated[float | None, typer.Option(help="Sharpen edges, 0 to 1.")]
Upscale = Annotated[int | None, typer.Option(help="Multiply both sides by 2 or 4.")]


def extension_of(output_format: str) -> str:
    """What the name of an image of a format ends in: `.png`, `.webp` or `.jpg`."""
    return next(extension for extension, meant in FORMATS.items() if meant == output_format)


def filters(denoise: float | None, sharpen: float | None, upscale: int | None) -> dict[str, float] | None:
    """`postprocess` of a request; None if there is nothing to do."""
    given = {"denoise": denoise, "sharpen": sharpen, "upscale": upscale}
    return {name: value for name, value in given.items() if value is not None} or None


def said(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given. Raises CommandError for text that is none."""
    given = {name: value for name, value in options.items() if value is not None}
    for name, value in given.items():
        try:
            str(value).encode()
        except UnicodeEncodeError:  # the shell gave bytes that are no UTF-8
            raise CommandError(f"{name} is not valid UTF-8.") from None
    return given
