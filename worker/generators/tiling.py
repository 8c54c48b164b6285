"""Seamless images: the networks read beyond an edge from the opposite one.

A network of convolutions has no other sense of place than the zeros around the image. Other denoisers know the place of
each patch, so their edges would not match.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch

from worker.generators.denoiser import denoisers

_CONVOLUTIONAL: Final = ("UNet2DConditionModel", "UNet2DModel")
_NOT_SPATIAL: Final = ("PriorTransformer",)  # its output is a vector
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
