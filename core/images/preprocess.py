"""Preprocessing of control images: edges and lines of a photo, by OpenCV.

A depth map needs a network; `worker/generators/preprocess.py` has it. OpenCV comes with the worker's packages only.
"""

import io
from importlib.util import find_spec
from typing import Any, Final

from PIL import Image

from core.images import decode
from core.images.decode import Limits

BY_OPENCV: Final = ("canny", "lineart")
PACKAGE: Final = "opencv-python-headless"

_CANNY_THRESHOLDS: Final = (100, 200)  # those of the webui's extension and of diffusers' examples
_LINE_BLUR: Final = 6.0
_LINE_THRESHOLD: Final = 8


def has_opencv() -> bool:
    """Whether OpenCV is installed."""
    return find_spec("cv2") is not None


def preprocess(image: Image.Image, kind: str) -> Image.Image:
    """The edges or the lines of an RGB image, white on black, in RGB. Raises ModuleNotFoundError without OpenCV."""
    if kind not in BY_OPENCV:
        return image
    import cv2  # only where it is needed, as it is large
    import numpy

    pixels = numpy.asarray(image)
    grey = cv2.Canny(pixels, *_CANNY_THRESHOLDS) if kind == "canny" else _lines(cv2, numpy, pixels)
    return Image.fromarray(grey).convert("RGB")


def _lines(cv2: Any, numpy: Any, pixels: Any) -> Any:
    """The dark lines: what is darker than its blurred surroundings, as the webui's `lineart_standard` has it."""
    values = pixels.astype(numpy.float32)
    darker = (cv2.GaussianBlur(values, (0, 0), _LINE_BLUR) - values).min(axis=2).clip(0, 255)
    visible = darker[darker > _LINE_THRESHOLD]
    scale = max(16.0, float(numpy.median(visible)) if visible.size else 16.0)
    return (darker / scale * 127).clip(0, 255).astype(numpy.uint8)


def preprocess_file(data: bytes, limits: Limits, param: str, kind: str) -> bytes:
    """The preprocessed image of an image file, as PNG. Raises InvalidParameter for a file that is no image."""
    output = io.BytesIO()
    preprocess(decode.opaque(decode.load(data, limits, param)), kind).save(output, "PNG")
    return output.getvalue()
