"""Masks of edits: outside the mask, an edited image gets the pixels of the original back.

Models work on latents, whose cells are larger than pixels, and so they change the whole image a little. Every
generator of edits calls `paste` at the end. This module uses Pillow only, for generators without torch.
"""

from PIL import Image, ImageFilter


def paste(generated: Image.Image, original: Image.Image, mask: Image.Image) -> Image.Image:
    """The generated image where the mask is white, the exact pixels of the original where it is black.

    The edge between them is soft and lies inside the mask. All three images have the same size; RGB, RGB, L.
    """
    return Image.composite(generated, original, _softened(mask))


def _softened(mask: Image.Image) -> Image.Image:
    """The mean of the mask and of up to four smaller masks, each one pixel smaller than the last."""
    mean = smaller = mask
    for pixels in range(1, min(4, max(1, min(mask.size) // 64)) + 1):
        smaller = smaller.filter(ImageFilter.MinFilter(3))
        mean = Image.blend(mean, smaller, 1 / (pixels + 1))
    return mean
