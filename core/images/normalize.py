"""Normalizes the input images of a request: checks them, and encodes those that are not files yet as PNG.

It runs in a decoder process (`core/images/decoders.py`).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from PIL import Image

from core.errors import InvalidParameter
from core.images import decode
from core.images.decode import Limits


@dataclass(frozen=True, slots=True)
class Normalized:
    """The result for the images of a request."""

    is_transparent: bool = False  # whether `image` has fully transparent pixels
    pngs: Mapping[str, bytes] = field(default_factory=dict)  # by field


def normalize(data: Mapping[str, bytes], new: Collection[str], limits: Limits) -> Normalized:
    """Check the images of a request, whose bytes are `data` by field. Those in `new` are encoded as PNG.

    Raises InvalidParameter if an image cannot be used, or if `mask` does not fit to `image`.
    """
    pngs: dict[str, bytes] = {}
    images: dict[str, Image.Image] = {}
    for name, content in data.items():
        images[name] = decode.load(content, limits, name)
        if name in new:
            pngs[name] = decode.png(images[name])
    if "mask" in images:
        _check_mask(images["mask"], images["image"])
    return Normalized("image" in images and decode.is_transparent(images["image"]), pngs)


def _check_mask(mask: Image.Image, image: Image.Image) -> None:
    if mask.size != image.size:
        sizes = [f"{pixels.width}x{pixels.height}" for pixels in (mask, image)]
        raise InvalidParameter(
            f"mask is {sizes[0]} but image is {sizes[1]}; they must have the same size.", param="mask"
        )
    if decode.mask_of(mask).getextrema() == (0, 0):
        raise InvalidParameter("mask has no transparent or white pixels: the edit would change nothing.", param="mask")
