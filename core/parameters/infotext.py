"""The infotext of an image: how it was generated, as AUTOMATIC1111's webui writes it into PNG files.

    a cat
    Negative prompt: a dog
    Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512, Model: unclip-mini

Image viewers, image sites and the webui's clients read it from the text chunk `parameters`.
"""

import json
import re
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from core.parameters.job import Operation, ResolvedParameters
from core.parameters.samplers import AUTOMATIC, label_of
from core.text import storable

CHUNK = "parameters"
"""The keyword of the text chunk of a PNG file."""

MIN_PAIRS = 3
"""A last line with fewer pairs is a part of the prompt, as for the webui."""

MAX_LINE_CHARS = 20_000
"""Characters of the last line that are read."""

_VERSION = f"Safelight {version('safelight')}"
_PAIR = re.compile(r'(?:^|,)\s*([^:,"]{1,100}):\s*("(?:\\.|[^\\"])*"|[^,]*)')
_SIZE = re.compile(r"(\d{1,6})x(\d{1,6})")
_SEPARATOR = re.compile("[,:\n]")
_NEGATIVE = "Negative prompt:"


def infotext(prompt: str, model: str, operation: Operation, parameters: ResolvedParameters) -> str:
    """The infotext of an image. parameters: those of the image itself, with its own seed."""
    label = label_of(parameters.scheduler)
    width, height = parameters.output_dimensions
    filters = parameters.postprocess
    values: dict[str, Any] = {
        "Steps": parameters.steps,
        "Sampler": label.sampler,
        "Schedule type": None if label.schedule == AUTOMATIC else label.schedule,
        "CFG scale": f"{parameters.guidance_scale:g}",
        "Seed": parameters.seed,
        "Size": f"{width}x{height}",
        "Model": model,
        "Clip skip": parameters.clip_skip + 1 if parameters.clip_skip else None,
        "Tiling": True if parameters.tiling else None,
        "Denoising strength": None if operation != "edit" or parameters.strength is None else parameters.strength,
        "Postprocess upscale by": None if filters is None else filters.upscale,
        "Version": _VERSION,
    }
    pairs = ", ".join(f"{name}: {_quote(str(value))}" for name, value in values.items() if value is not None)
    negative = f"\n{_NEGATIVE} {parameters.negative_prompt}" if parameters.negative_prompt else ""
    return f"{prompt}{negative}\n{pairs}".strip()


def parse(text: str) -> Mapping[str, str]:
    """The fields of an infotext, by the webui's names: `Prompt`, `Negative prompt`, `Steps`; a size as two fields."""
    *lines, last = text.strip().split("\n")
    pairs = _PAIR.findall(last[:MAX_LINE_CHARS])
    if len(pairs) < MIN_PAIRS:
        lines, pairs = [*lines, last], []
    start = next((number for number, line in enumerate(lines) if line.strip().startswith(_NEGATIVE)), len(lines))
    fields = {"Prompt": "\n".join(lines[:start]).strip()}
    fields["Negative prompt"] = "\n".join(lines[start:]).strip().removeprefix(_NEGATIVE).strip()
    for name, value in pairs:
        value = _unquote(value.strip())
        if size := _SIZE.fullmatch(value):
            fields[f"{name.strip()}-1"], fields[f"{name.strip()}-2"] = size[1], size[2]
        else:
            fields[name.strip()] = value
    return fields


def _quote(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if _SEPARATOR.search(value) else value


def _unquote(value: str) -> str:
    if len(value) < 2 or not value.startswith('"') or not value.endswith('"'):
        return value
    try:
        return str(storable(json.loads(value)))  # a hex escape may be half a character
    except ValueError:
        return value
