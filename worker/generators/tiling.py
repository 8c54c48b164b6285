"""Seamless images: the networks read beyond an edge from the opposite one.

A network of convolutions has no other sense of place than the zeros around the image. Other denoisers know the place of
each patch, so their edges would not match.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any, Final

import numpy
import torch
import torch.nn.functional as F  # the name every torch reader knows
from PIL import Image

from core.parameters.hires import Hires
from core.parameters.job import dimensions_of
from worker.generators.denoiser import denoisers

_CONVOLUTIONAL: Final = ("UNet2DConditionModel", "UNet2DModel")
_NOT_SPATIAL: Final = ("PriorTransformer",)  # its output is a vector
_MARGIN: Final = 8
"""How far an upscaler looks around a pixel, or a number of the latents."""
_OTHER_NETWORKS: Final = ("vae", "movq", "vqgan", "controlnet", "adapter")


def can_tile(pipe: Any) -> bool:
    """Whether all networks that draw are convolutions."""
    names = [type(network).__name__ for network in denoisers(pipe)]
    return any(name in _CONVOLUTIONAL for name in names) and {*names} <= {*_CONVOLUTIONAL, *_NOT_SPATIAL}


@contextmanager
def circular_padding(pipe: Any, is_on: bool | None) -> Iterator[None]:
    """Have the convolutions of a pipeline read across the edges, for the call in the `with` block."""
    networks = [*denoisers(pipe), *(pipe.components.get(name) for name in _OTHER_NETWORKS)] if is_on else []
    modules = [module for network in networks if isinstance(network, torch.nn.Module) for module in network.modules()]
    convolutions = [
        module for module in modules if isinstance(module, torch.nn.Conv2d) and module.padding_mode == "zeros"
    ]
    try:
        for convolution in convolutions:
            convolution.padding_mode = "circular"
        yield
    finally:
        for convolution in convolutions:
            convolution.padding_mode = "zeros"


def enlarge_seamless(enlarge: Callable[[Any, Hires], Any], tile: Any, hires: Hires, unit: int) -> Any:
    """A seamless image, or its latents (C, H, W), at the size of the second pass, which has the same ratio.

    A margin of what is beyond each edge, which is what is at the opposite one, is enlarged too and cut off.
    unit: the pixels of an image for a pixel of the tile: 1 of an image.
    """
    width, height = dimensions_of(str(hires.size))
    columns = tile.width if isinstance(tile, Image.Image) else tile.shape[-1]
    scale = Fraction(width, columns * unit)
    margin = scale.denominator * math.ceil(_MARGIN / scale.denominator)
    large_margin = int(margin * scale)
    sides = {"width": width + 2 * large_margin * unit, "height": height + 2 * large_margin * unit}
    large = enlarge(_with_margin(tile, margin), hires.model_copy(update=sides))
    if isinstance(large, Image.Image):
        return large.crop((large_margin, large_margin, large_margin + width, large_margin + height))
    return large[:, large_margin:-large_margin, large_margin:-large_margin]


def _with_margin(tile: Any, margin: int) -> Any:
    if isinstance(tile, Image.Image):
        return Image.fromarray(
            numpy.pad(numpy.asarray(tile), ((margin, margin), (margin, margin), (0, 0)), mode="wrap")
        )
    return F.pad(tile[None], (margin,) * 4, mode="circular")[0]
