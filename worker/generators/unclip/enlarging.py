"""From the 128 px that unclip-mini draws to the size asked for: by its upscaler, or by a Lanczos kernel without one.

Pictures are enlarged one by one, so that a batch needs hardly more memory than a single one does.
"""

from typing import Any

import numpy
import torch
from PIL import Image

from worker.generators.unclip.precision import quick
from worker.generators.unclip.upscaler import UnclipUpscaler

Pixels = numpy.ndarray[Any, numpy.dtype[numpy.float32]]


def enlarge(pixels: Pixels, size: int, upscaler: UnclipUpscaler | None) -> Pixels:
    """Bring (N, H, H, 3) in [0, 1] to squares of `size` px, which is H times a power of two."""
    if pixels.shape[1] == size:
        return pixels
    enlarged = numpy.empty((len(pixels), size, size, 3), numpy.float32)
    for index, picture in enumerate(pixels):
        enlarged[index] = _resampled(picture, size) if upscaler is None else _doubled(picture, size, upscaler)
    return enlarged.clip(0, 1, out=enlarged)


def _resampled(picture: Pixels, size: int) -> Pixels:
    """Enlarge (H, H, 3) with a Lanczos kernel."""
    planes = [Image.fromarray(picture[:, :, channel]) for channel in range(3)]  # mode "F": 32-bit float
    return numpy.stack(
        [numpy.asarray(plane.resize((size, size), Image.Resampling.LANCZOS)) for plane in planes], axis=-1
    )


def _doubled(picture: Pixels, size: int, upscaler: UnclipUpscaler) -> Pixels:
    """Double (H, H, 3) until it has the size."""
    device = upscaler.device
    grown = torch.from_numpy(picture).permute(2, 0, 1)[None].to(device) * 2 - 1
    with quick(device):
        while grown.shape[-1] < size:
            # Channels last, in which a CPU convolves in half the time.
            grown = upscaler(grown.contiguous(memory_format=torch.channels_last)).clamp(-1, 1)
    doubled: Pixels = (grown[0].permute(1, 2, 0) / 2 + 0.5).cpu().numpy()
    return doubled
