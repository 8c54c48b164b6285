"""Images that come in: from the bytes of a stranger's file to an image that is safe to draw on.

What a file is, its first bytes say, not its name. Size and pixels are checked before anything is decoded; the image
comes out upright, as RGB or RGBA in 8 bits, and with nothing else that was in the file (place, camera, profile).
`mask_of` reads where an edit may draw, and `fit` brings an image to the size of the one that is drawn.
"""

import io
import struct

from PIL import Image, ImageOps

from core.errors import InvalidParameter, first_line
from core.settings import Settings

_BEGINNINGS = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG"}
_BROKEN = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, OverflowError, struct.error,
    Image.DecompressionBombError,
)  # fmt: skip
"""What Pillow raises on files that are cut off or forged."""

_WHITE = 128
"""From this brightness on, a pixel of an opaque mask counts as white."""


def read(data: bytes, settings: Settings, param: str = "image") -> Image.Image:
    """Decode the file of an input image, as RGB, or as RGBA if some of it is transparent.

    Raises InvalidParameter, with `param` as its field, for what is no PNG, JPEG or WebP, too large, moving or broken.
    """
    if len(data) > settings.max_image_bytes:
        raise InvalidParameter(
            f"{param} has {len(data)} bytes; an image may have at most {settings.max_image_bytes}.", param=param
        )
    kind = _kind(data)
    if kind is None:
        raise InvalidParameter(f"{param} is no image that is read here: it must be PNG, JPEG or WebP.", param=param)
    try:
        with Image.open(io.BytesIO(data), formats=[kind]) as image:
            _check(image, settings, param)
            return _plain(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError:
        raise _too_many_pixels(param, settings) from None
    except _BROKEN as error:
        reason = first_line(error).removesuffix(".") or type(error).__name__
        raise InvalidParameter(f"{param} cannot be decoded as {kind}: {reason}.", param=param) from None


def png(image: Image.Image) -> bytes:
    """An image that was `read`, as a PNG without anything beside it."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def is_transparent(image: Image.Image) -> bool:
    """Whether an image that was `read` has fully transparent areas."""
    return image.mode == "RGBA" and image.getchannel("A").getextrema()[0] == 0


def mask_of(image: Image.Image) -> Image.Image:
    """Where an edit may draw, as L: 255 there, 0 elsewhere.

    As at OpenAI, that is where the image is fully transparent. An image without transparency is read by its
    brightness: white may be drawn on, black stays.
    """
    if is_transparent(image):
        return image.getchannel("A").point(lambda alpha: 255 if alpha == 0 else 0)
    return image.convert("RGB").convert("L").point(lambda brightness: 255 if brightness >= _WHITE else 0)


def opaque(image: Image.Image) -> Image.Image:
    """An image as RGB; what was transparent is laid on white."""
    if image.mode != "RGBA":
        return image.convert("RGB")
    paper = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(paper, image).convert("RGB")


def fit(image: Image.Image, width: int, height: int) -> Image.Image:
    """Bring an image to a size in px: the largest part of its middle with that aspect, resampled by Lanczos.

    A mask (L) is cut out in the same way, and stays black and white.
    """
    if image.mode == "L":
        fitted = ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)
        return fitted.point(lambda value: 255 if value >= _WHITE else 0)
    return ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)


def _kind(data: bytes) -> str | None:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return next((kind for beginning, kind in _BEGINNINGS.items() if data.startswith(beginning)), None)


def _check(image: Image.Image, settings: Settings, param: str) -> None:
    """Refuse by the header alone what would be too much to decode."""
    if image.width * image.height > settings.max_image_pixels:
        raise _too_many_pixels(param, settings, image.size)
    if image.format in ("PNG", "WEBP") and getattr(image, "n_frames", 1) > 1:  # in a JPEG: a gain map, a thumbnail
        raise InvalidParameter(f"{param} is a moving image; it must be a single one.", param=param)


def _too_many_pixels(param: str, settings: Settings, size: tuple[int, int] | None = None) -> InvalidParameter:
    found = "too many pixels" if size is None else f"{size[0]}x{size[1]} pixels"
    return InvalidParameter(
        f"{param} has {found}; an image may have at most {settings.max_image_pixels} in all.", param=param
    )


def _plain(image: Image.Image) -> Image.Image:
    """Decode to RGB or RGBA and let go of everything that is not a pixel."""
    if image.mode in ("I;16", "I;16B", "I;16L", "I"):  # 16 bits of grey; convert() would clip them
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    with_alpha = image.has_transparency_data
    plain = image.convert("RGBA" if with_alpha else "RGB")
    plain.info = {}
    if with_alpha and plain.getchannel("A").getextrema()[0] == 255:
        return plain.convert("RGB")
    return plain
