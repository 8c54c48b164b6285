"""Preprocessing of control images: edges and lines of a photo, by OpenCV.

A depth map needs a network; `worker/generators/preprocess.py` has it. OpenCV comes with the worker's packages only.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, Final, TypedDict

from PIL import Image

from core.errors import InvalidParameter
from core.images import decode
from core.images.decode import Limits

BY_OPENCV: Final = ("canny", "lineart")
PACKAGE: Final = "opencv-python-headless"

_NO_MEMORY: Final = -4  # OpenCV's number of this error

_CANNY_THRESHOLDS: Final = (100, 200)  # those of the webui's extension and of diffusers' examples
_LINE_BLUR: Final = 6.0
_LINE_THRESHOLD: Final = 8


class Preprocessing(TypedDict):
    """What is made of images. max_bytes: of all results together."""

    kind: str
    max_bytes: int


def has_opencv() -> bool:
    """Whether OpenCV is installed."""
    return find_spec("cv2") is not None


def load_opencv() -> None:
    """Import OpenCV, which then uses one thread: each further one takes address space, of which a decoder has little.

    Raises ModuleNotFoundError without it.
    """
    import cv2

    cv2.setNumThreads(1)


def preprocess(image: Image.Image, kind: str) -> Image.Image:
    """The edges or the lines of an RGB image, white on black, in RGB.

    Raises ModuleNotFoundError without OpenCV, and MemoryError.
    """
    if kind not in BY_OPENCV:
        return image
    import cv2  # only where it is needed, as it is large
    import numpy

    pixels = numpy.asarray(image)
    try:
        grey = cv2.Canny(pixels, *_CANNY_THRESHOLDS) if kind == "canny" else _lines(cv2, numpy, pixels)
    except cv2.error as error:
        if error.code == _NO_MEMORY:
            raise MemoryError from error
        raise
    return Image.fromarray(grey).convert("RGB")


def _lines(cv2: Any, numpy: Any, pixels: Any) -> Any:
    """The dark lines: what is darker than its blurred surroundings, as the webui's `lineart_standard` has it.

    One channel after the other, in place: an image of the maximum size has to fit into the memory of a decoder.
    """
    darker = numpy.full(pixels.shape[:2], 255, numpy.float32)
    for channel in range(pixels.shape[2]):
        values = pixels[:, :, channel].astype(numpy.float32)
        surroundings = cv2.GaussianBlur(values, (0, 0), _LINE_BLUR)
        surroundings -= values
        numpy.minimum(darker, surroundings, out=darker)
    numpy.maximum(darker, 0, out=darker)
    visible = darker[darker > _LINE_THRESHOLD]
    scale = max(16.0, float(numpy.median(visible, overwrite_input=True)) if visible.size else 16.0)
    darker *= 127 / scale
    return numpy.minimum(darker, 255, out=darker).astype(numpy.uint8)


def preprocess_files(data: Mapping[str, bytes], options: Preprocessing, limits: Limits) -> dict[str, bytes]:
    """The preprocessed images of image files, as PNGs by the same names.

    Raises InvalidParameter for a file that is no image, and for results of too many bytes, and MemoryError.
    """
    pngs: dict[str, bytes] = {}
    for name, content in data.items():
        image = decode.opaque(decode.load(content, limits, name))
        pngs[name] = decode.png(preprocess(image, options["kind"]))
        if sum(map(len, pngs.values())) > options["max_bytes"]:
            raise InvalidParameter(
                f"{name}: the control images have more than {options['max_bytes']} bytes together. Send fewer or "
                "smaller images.",
                param=name,
            )
    return pngs
