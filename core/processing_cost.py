"""Estimated seconds of the work after generation: filters, encoding and previews.

A worker does this work on its CPU while the next micro-batch is on the device, but a job of which it takes long delays
all that follow. So it is part of a job's cost, as device-seconds are. The rates are CPU-seconds per megapixel, the
best of three runs on a server's core. A machine that is faster or slower is so for every project.
"""

from core.images.postprocess import output_size
from core.parameters.job import ResolvedParameters

DENOISE = 0.83
"""Per megapixel of the generated image."""

UPSCALE = {2: 0.16, 4: 0.10}
"""By factor, per megapixel of the upscaled image."""

SHARPEN = 0.05
"""Per megapixel of the output."""

ENCODE = {"png": 0.06, "webp": 0.12, "jpeg": 0.005}
"""By format, per megapixel of the output."""

PREVIEW = 0.03
"""Per preview: decoding a small image and encoding it as WebP. Estimated, not measured."""


def processing_seconds(parameters: ResolvedParameters) -> float:
    """Estimated CPU-seconds of the work on one image after its generation."""
    generated = _megapixels(parameters.generated_size)
    output = _megapixels(output_size(parameters.generated_size, parameters.postprocess))
    seconds = ENCODE[parameters.output_format] * output + PREVIEW * parameters.partial_images
    filters = parameters.postprocess
    if filters is None:
        return seconds
    if filters.denoise:
        seconds += DENOISE * generated
    if filters.upscale:
        seconds += UPSCALE[filters.upscale] * output
    if filters.sharpen:
        seconds += SHARPEN * output
    return seconds


def _megapixels(size: str) -> float:
    width, _, height = size.partition("x")
    return int(width) * int(height) / 1e6
