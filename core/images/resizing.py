"""Resizes input images as AUTOMATIC1111's webui does. It runs in a decoder process (`core/images/decoders.py`)."""

from collections.abc import Mapping
from typing import Literal, TypedDict

from PIL import Image, ImageOps

from core.errors import InvalidParameter
from core.images import decode
from core.images.decode import Limits

ResizeMode = Literal["stretch", "crop", "fill"]

_OPAQUE = 128
"""Alpha above which a pixel of a mask counts as painted, for the webui."""


class Preparation(TypedDict):
    """How the images of an edit are brought to the size of the result, in pixels.

    mode: `stretch` ignores the aspect ratio, `crop` cuts the sides off, `fill` continues the edges of the image.
    is_inverted: whether the edit changes the black pixels of the mask, not the white ones.
    """

    width: int
    height: int
    mode: ResizeMode
    is_inverted: bool


class Enlargement(TypedDict):
    """How images are resized: by a factor or, if `size` is set, to cover a size, and be cropped to it. In pixels.

    max_bytes: of all results together.
    """

    factor: float
    is_nearest: bool
    size: tuple[int, int] | None
    is_cropped: bool
    max_side: int
    max_bytes: int


def prepare(data: Mapping[str, bytes], options: Preparation, limits: Limits) -> dict[str, bytes]:
    """The image and the mask of an edit as PNGs of one size. The mask is white where the edit may change the image.

    Raises InvalidParameter if a file cannot be used, or if the mask leaves nothing to change.
    """
    pngs = {}
    for name, content in data.items():
        image = decode.load(content, limits, name)
        image = _mask(image, options["is_inverted"]) if name == "mask" else decode.opaque(image)
        result = _resize(image, (options["width"], options["height"]), options["mode"])
        if name == "mask":
            result = result.point(lambda value: 255 if value >= _OPAQUE else 0)
            _check_mask(result, options["is_inverted"])
        pngs[name] = decode.png(result)
    return pngs


def enlarge(data: Mapping[str, bytes], options: Enlargement, limits: Limits) -> dict[str, bytes]:
    """Resize images, as PNGs. No side of a result exceeds `max_side`. Raises InvalidParameter."""
    resampling = Image.Resampling.NEAREST if options["is_nearest"] else Image.Resampling.LANCZOS
    pngs = {}
    for name, content in data.items():
        image = decode.load(content, limits, name)
        factor, size = options["factor"], options["size"]
        if size is not None:
            factor = max(size[0] / image.width, size[1] / image.height)
        factor = min(factor, options["max_side"] / max(image.size))
        image = image.resize((max(1, round(image.width * factor)), max(1, round(image.height * factor))), resampling)
        if size is not None and options["is_cropped"]:
            image = decode.crop(image, min(size[0], image.width), min(size[1], image.height))
        pngs[name] = decode.png(image)
        if sum(map(len, pngs.values())) > options["max_bytes"]:
            raise InvalidParameter(
                f"{name}: the enlarged images have more than {options['max_bytes']} bytes together. Send fewer images, "
                "or enlarge them less.",
                param=name,
            )
    return pngs


def _mask(image: Image.Image, is_inverted: bool) -> Image.Image:
    """A mask as L: its alpha, if some of it is transparent, else its brightness."""
    mask = image.getchannel("A") if image.mode == "RGBA" else image.convert("L")
    mask = mask.point(lambda value: 255 if value > _OPAQUE else 0) if image.mode == "RGBA" else mask
    return ImageOps.invert(mask) if is_inverted else mask


def _check_mask(mask: Image.Image, is_inverted: bool) -> None:
    if mask.getextrema() == (0, 0):
        colour, value = ("black", 0) if is_inverted else ("white", 1)
        raise InvalidParameter(
            f"mask has no {colour} area: the edit would change nothing. With inpainting_mask_invert {value} it changes "
            "the other colour.",
            param="mask",
        )


def _resize(image: Image.Image, size: tuple[int, int], mode: ResizeMode) -> Image.Image:
    if mode == "crop":
        return ImageOps.fit(image, size, Image.Resampling.LANCZOS)
    if mode == "stretch":
        return image.resize(size, Image.Resampling.LANCZOS)
    inner = ImageOps.contain(image, size, Image.Resampling.LANCZOS)
    left, upper = (size[0] - inner.width) // 2, (size[1] - inner.height) // 2
    canvas = Image.new(image.mode, size)
    # The first and last row, or column, of the image continue to the edge.
    first, last = (0, 0, inner.width, inner.height), (0, 0, inner.width, inner.height)
    if upper:
        first, last = (0, 0, inner.width, 1), (0, inner.height - 1, inner.width, inner.height)
        canvas.paste(inner.crop(first).resize((size[0], upper)), (0, 0))
        canvas.paste(inner.crop(last).resize((size[0], size[1] - upper)), (0, upper))
    elif left:
        first, last = (0, 0, 1, inner.height), (inner.width - 1, 0, inner.width, inner.height)
        canvas.paste(inner.crop(first).resize((left, size[1])), (0, 0))
        canvas.paste(inner.crop(last).resize((size[0] - left, size[1])), (left, 0))
    canvas.paste(inner, (left, upper))
    return canvas
