"""Postprocesses a generated image: denoise, upscale, sharpen, in this order.

Filters of Pillow, no network. `core/images/postprocess.py` defines and checks the parameters. A strength of 0 returns
the same pixels.
"""

from PIL import Image, ImageChops, ImageFilter

from core.images.postprocess import Postprocess

_EDGE = (20, 40)
"""A pixel that differs by this much (of 255) from its smoothed self is an edge and stays: at strength 0, and at 1."""


def apply_filters(image: Image.Image, postprocess: Postprocess) -> Image.Image:
    """Return the postprocessed RGB image; the same object if `postprocess` sets no filter."""
    if postprocess.denoise:
        image = denoise(image, postprocess.denoise)
    if postprocess.upscale:
        image = upscale(image, postprocess.upscale)
    if postprocess.sharpen:
        image = sharpen(image, postprocess.sharpen)
    return image


def denoise(image: Image.Image, strength: float) -> Image.Image:
    """Smooth an image where it is even; strength above 0, up to 1.

    A median and a little blur give the smooth image. It is mixed in by the strength, and less the more a pixel
    differs from it: grain differs a little, an edge much.
    """
    edge = _EDGE[0] + strength * (_EDGE[1] - _EDGE[0])
    smooth = image.filter(ImageFilter.MedianFilter(5)).filter(ImageFilter.GaussianBlur(0.6))
    difference = ImageChops.difference(image, smooth)
    red, green, blue = difference.split()
    largest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    share = largest.point([round(255 * strength * max(0.0, 1 - (value / edge) ** 2)) for value in range(256)])
    return Image.composite(smooth, image, share)


def upscale(image: Image.Image, factor: int) -> Image.Image:
    """Multiply both sides by `factor`: Lanczos, made steeper, and clipped to the colours of the source.

    Lanczos and the unsharp mask after it overshoot beside an edge. Each pixel is therefore clipped between the smallest
    and the largest value of the 3x3 pixels around it in the source, so that no new colour appears.
    """
    size = (image.width * factor, image.height * factor)
    large = image.resize(size, Image.Resampling.LANCZOS)
    large = large.filter(ImageFilter.UnsharpMask(radius=factor, percent=120, threshold=0))
    return _clip(large, image)


def sharpen(image: Image.Image, strength: float) -> Image.Image:
    """Raise the contrast of edges with an unsharp mask of radius 1 to 2 px; strength above 0, up to 1."""
    return image.filter(ImageFilter.UnsharpMask(radius=1 + strength, percent=round(200 * strength), threshold=2))


def _clip(large: Image.Image, source: Image.Image) -> Image.Image:
    """Clip each pixel to the range of the source's 3x3 pixels around it."""
    minimum = source.filter(ImageFilter.MinFilter(3)).resize(large.size, Image.Resampling.NEAREST)
    maximum = source.filter(ImageFilter.MaxFilter(3)).resize(large.size, Image.Resampling.NEAREST)
    return ImageChops.darker(ImageChops.lighter(large, minimum), maximum)
