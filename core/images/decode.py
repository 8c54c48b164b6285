"""Decoding of input images from untrusted files.

The type of a file is read from its first bytes, not from its name. Bytes and pixels are limited before the file is
decoded. The result is upright, RGB or RGBA with 8 bits in the colour space sRGB, and without metadata (location,
camera, profile). Of a GIF it is the first frame, of a HEIC file its main image. `mask_of`
makes the mask of an edit, and `fit` crops and scales an image to the size of the output.
"""

import io
import struct
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from core.errors import InvalidParameter, first_line
from core.images import structure

if TYPE_CHECKING:  # a decoder process reads no settings, and starts faster without them
    from core.settings import Settings

_SIGNATURES = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG", b"GIF87a": "GIF", b"GIF89a": "GIF"}
_BRANDS = {b"avif": "AVIF"} | dict.fromkeys(
    [b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"], "HEIF"
)
"""The formats of ISO base media files, by their main brand."""
FORMATS = "PNG, JPEG, WebP, GIF, AVIF or HEIC"
_DECODE_ERRORS = (
    OSError, SyntaxError, ValueError, RuntimeError, TypeError, LookupError, EOFError, OverflowError, struct.error,
    Image.DecompressionBombError,
)  # fmt: skip
"""What Pillow raises on truncated or malicious files."""

_WHITE = 128
"""Brightness from which a pixel of an opaque mask counts as white."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The maximum size of an image."""

    bytes: int  # of its file
    pixels: int

    @classmethod
    def from_settings(cls, settings: "Settings") -> "Limits":
        """The limits of input images."""
        return cls(settings.max_image_bytes, settings.max_image_pixels)


def load(data: bytes, limits: Limits, param: str = "image") -> Image.Image:
    """Decode the file of an input image, as RGB, or as RGBA if some of it is transparent.

    Raises InvalidParameter, with `param` as its field, if it has another format than FORMATS, is too large, broken or,
    unless it is a GIF, animated.
    """
    if len(data) > limits.bytes:
        raise InvalidParameter(f"{param} has {len(data)} bytes; an image may have at most {limits.bytes}.", param=param)
    kind = _kind(data)
    if kind is None:
        raise InvalidParameter(f"{param} has an unknown format; it must be {FORMATS}.", param=param)
    if kind == "HEIF":
        _register_heif()
    name = "HEIC" if kind == "HEIF" else kind
    try:
        structure.check(kind, data)
        with Image.open(io.BytesIO(data), formats=[kind]) as image:
            _check(image, limits, param)
            ImageOps.exif_transpose(image, in_place=True)
            return _decode(image)
    except Image.DecompressionBombError:
        raise _too_many_pixels(param, limits) from None
    except UnidentifiedImageError:  # its message has an address in memory
        raise InvalidParameter(f"{param} cannot be decoded as {name}: its header is damaged.", param=param) from None
    except _DECODE_ERRORS as error:
        reason = first_line(error).removesuffix(".") or type(error).__name__
        raise InvalidParameter(f"{param} cannot be decoded as {name}: {reason}.", param=param) from None


def png(image: Image.Image) -> bytes:
    """Encode an image from `load` as a PNG without metadata."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def is_transparent(image: Image.Image) -> bool:
    """Whether an image from `load` has fully transparent pixels."""
    return image.mode == "RGBA" and image.getchannel("A").getextrema()[0] == 0


def mask_of(image: Image.Image) -> Image.Image:
    """The area that an edit may change, as L: 255 there, 0 elsewhere.

    As at OpenAI, it consists of the fully transparent pixels. In an image without transparency, it consists of the
    white pixels.
    """
    if is_transparent(image):
        return image.getchannel("A").point(lambda alpha: 255 if alpha == 0 else 0)
    return image.convert("RGB").convert("L").point(lambda brightness: 255 if brightness >= _WHITE else 0)


def opaque(image: Image.Image) -> Image.Image:
    """An image as RGB, on a white background."""
    if image.mode != "RGBA":
        return image.convert("RGB")
    background = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(background, image).convert("RGB")


def fit(image: Image.Image, width: int, height: int) -> Image.Image:
    """Crop an image around its centre to the aspect ratio of a size in px, and resample it to that size by Lanczos.

    A mask (L) is cropped in the same way, and stays black and white.
    """
    if image.mode == "L":
        return _black_or_white(ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR))
    return ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)


def crop(image: Image.Image, width: int, height: int) -> Image.Image:
    """Crop an image around its centre to the aspect ratio of a size, without resampling."""
    scale = min(image.width / width, image.height / height)
    new_width, new_height = max(1, round(width * scale)), max(1, round(height * scale))
    left, upper = (image.width - new_width) // 2, (image.height - new_height) // 2
    return image.crop((left, upper, left + new_width, upper + new_height))


def stretch(image: Image.Image, width: int, height: int) -> Image.Image:
    """Resample an image or a mask (L) to a size in px, whatever its aspect ratio."""
    if image.mode == "L":
        return _black_or_white(image.resize((width, height), Image.Resampling.BILINEAR))
    return image.resize((width, height), Image.Resampling.LANCZOS)


def shrink(image: Image.Image, longest_side: int) -> Image.Image:
    """An image with no side longer than `longest_side` px, in its aspect ratio."""
    if max(image.size) <= longest_side:
        return image
    return ImageOps.contain(image, (longest_side, longest_side), Image.Resampling.LANCZOS)


def _black_or_white(mask: Image.Image) -> Image.Image:
    return mask.point(lambda value: 255 if value >= _WHITE else 0)


def _kind(data: bytes) -> str | None:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        brands = [data[8:12], *(data[start : start + 4] for start in range(16, min(len(data), 64), 4))]
        return "AVIF" if b"avif" in brands else _BRANDS.get(brands[0])
    return next((kind for signature, kind in _SIGNATURES.items() if data.startswith(signature)), None)


@cache
def _register_heif() -> None:
    """Let Pillow read HEIC, the format of photos of an iPhone. Its library is loaded when the first one comes."""
    import pi_heif  # libheif without its GPL encoder

    pi_heif.register_heif_opener(thumbnails=False)


def _check(image: Image.Image, limits: Limits, param: str) -> None:
    """Reject images with too many pixels, or with several frames, by the header alone."""
    if image.width * image.height > limits.pixels:
        raise _too_many_pixels(param, limits, image.size)
    # In a JPEG, further frames are a gain map or a thumbnail. Those of a GIF are not used.
    if image.format in ("PNG", "WEBP", "AVIF") and getattr(image, "n_frames", 1) > 1:
        raise InvalidParameter(f"{param} is an animation; it must be a single image.", param=param)


def _too_many_pixels(param: str, limits: Limits, size: tuple[int, int] | None = None) -> InvalidParameter:
    amount = "too many pixels" if size is None else f"{size[0]}x{size[1]} pixels"
    return InvalidParameter(f"{param} has {amount}; an image may have at most {limits.pixels}.", param=param)


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert an image from the colour space of its profile. A profile that cannot be used is ignored."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = "RGBA" if image.mode == "RGBA" else "RGB"
        in_srgb = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode=mode)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image
    return image if in_srgb is None else in_srgb


def _decode(image: Image.Image) -> Image.Image:
    """Decode to RGB or RGBA, without metadata."""
    if image.mode in ("I;16", "I;16B", "I;16L", "I"):  # 16 bits of grey; convert() would clip them
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    has_alpha = image.has_transparency_data
    profile = image.info.get("icc_profile")
    if image.mode not in ("CMYK", "L"):  # profiles of these describe their own channels
        image = image.convert("RGBA" if has_alpha else "RGB")
    if profile:
        image = _to_srgb(image, profile)
    result = image.convert("RGBA" if has_alpha else "RGB")
    result.info = {}
    if has_alpha and result.getchannel("A").getextrema()[0] == 255:
        return result.convert("RGB")
    return result
