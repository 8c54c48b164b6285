"""Enlarges the 128 px of unclip-mini to the requested size: by its upscaler, or by a Lanczos kernel without one.

Images are enlarged one by one, so that a batch needs hardly more memory than a single image.
"""

from functools import partial
from typing import Any

import numpy
import torch
from PIL import Image
from torch import Tensor

from worker.generators.unclip.threads import ImageThreads
from worker.generators.unclip.upscaler import UnclipUpscaler

Pixels = numpy.ndarray[Any, numpy.dtype[numpy.float32]]


def enlarge(pixels: Pixels, size: int, upscaler: UnclipUpscaler | None, threads: ImageThreads) -> Pixels:
    """Enlarge (N, H, H, 3) in [0, 1] to squares of `size` px, which is H times a power of two."""
    if pixels.shape[1] == size:
        return pixels
    if upscaler is None:
        images = numpy.stack([_resample(image, size) for image in pixels])
    else:
        upscale = partial(_upscale, upscaler, size)
        images = threads.run(upscale, torch.from_numpy(pixels).to(upscaler.device)).numpy()
    return images.clip(0, 1, out=images)


def _resample(image: Pixels, size: int) -> Pixels:
    """Enlarge (H, H, 3) with a Lanczos kernel."""
    planes = [Image.fromarray(image[:, :, channel]) for channel in range(3)]  # mode "F": 32-bit float
    return numpy.stack(
        [numpy.asarray(plane.resize((size, size), Image.Resampling.LANCZOS)) for plane in planes], axis=-1
    )


def _upscale(upscaler: UnclipUpscaler, size: int, pixels: Tensor) -> Tensor:
    """Double the sides of (N, H, H, 3) until they have the size. The result is on the CPU."""
    outputs = torch.empty(len(pixels), size, size, 3)
    for source, output in zip(pixels, outputs, strict=True):
        image = source.permute(2, 0, 1)[None] * 2 - 1
        while image.shape[-1] < size:
            # Channels last, in which a CPU convolves in half the time.
            image = upscaler(image.contiguous(memory_format=torch.channels_last)).clamp(-1, 1)
        output.copy_(image[0].permute(1, 2, 0) / 2 + 0.5)
    return outputs
