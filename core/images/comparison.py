"""How much two images differ: whether their pixels are equal, the PSNR, the largest difference."""

import io
import math
from dataclasses import dataclass

from PIL import Image, ImageChops

MAX_VALUE = 255


@dataclass(frozen=True, slots=True)
class Comparison:
    """The difference of two images. Without a common size, the figures are None.

    psnr_db: peak signal-to-noise ratio in decibels; None for equal images. max_difference: of a channel, 0 to 255.
    """

    is_identical: bool
    psnr_db: float | None = None
    max_difference: int | None = None


def compare(first: bytes, second: bytes) -> Comparison:
    """Compare the pixels of two image files. Raises OSError or ValueError for a file that is no image."""
    if first == second:
        return Comparison(True, None, 0)
    images = [Image.open(io.BytesIO(data)) for data in (first, second)]
    mode = "RGBA" if any(image.has_transparency_data for image in images) else "RGB"
    original, other = (image.convert(mode) for image in images)
    if original.size != other.size:
        return Comparison(False)
    histogram = ImageChops.difference(original, other).histogram()  # 256 numbers for each channel
    counts = [sum(histogram[value::256]) for value in range(256)]
    max_difference = max(value for value, count in enumerate(counts) if count)
    if max_difference == 0:
        return Comparison(True, None, 0)
    mean_square = sum(count * value**2 for value, count in enumerate(counts)) / sum(counts)
    return Comparison(False, round(10 * math.log10(MAX_VALUE**2 / mean_square), 2), max_difference)
