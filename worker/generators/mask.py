"""Masks of edits: what lies outside one keeps the pixels of the original, whatever a model has done to it.

Models work on latents, whose cells are larger than pixels, and give back the whole image changed a little. So the
edits of every generator end here. Pillow only, for the generators that have no torch.
"""

from PIL import Image, ImageFilter


def paste(drawn: Image.Image, original: Image.Image, mask: Image.Image) -> Image.Image:
    """The drawn image where the mask is white, the very pixels of the original where it is black.

    In between the edge is soft, and all of it lies inside the mask. All three have one size; RGB, RGB, L.
    """
    return Image.composite(drawn, original, _softened(mask))


def _softened(mask: Image.Image) -> Image.Image:
    """The mean of a mask and of that mask made smaller by one pixel, by two, and so on; up to four."""
    mean = smaller = mask
    for pixels in range(1, min(4, max(1, min(mask.size) // 64)) + 1):
        smaller = smaller.filter(ImageFilter.MinFilter(3))
        mean = Image.blend(mean, smaller, 1 / (pixels + 1))
    return mean
