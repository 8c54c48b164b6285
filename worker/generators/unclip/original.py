"""An image that is edited, on its way through the decoder: as latents, drowned in its own noise.

An edit starts where the original is as noisy as its strength says (SDEdit, Meng et al. 2021, arXiv:2108.01073). Where
a mask forbids it to draw, the original is put back after each step, as noisy as it then must be. The pixels themselves
are not kept here: worker/generators/mask.py pastes them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy
import torch
from PIL import Image
from torch import Tensor


@dataclass(frozen=True)
class Original:
    """The latents of N originals, with the noise of each and the cells in which they may change."""

    latents: Tensor  # (N, C, H, W)
    noise: Tensor  # (N, C, H, W)
    free: Tensor | None  # (N, 1, H, W) bool; None where everything may change

    def at(self, time: Tensor | float) -> Tensor:
        """The originals as they are at a time from 0 (themselves) to 1 (noise only); (N, C, H, W)."""
        return (1 - time) * self.latents + time * self.noise

    def hold(self, latents: Tensor, time: Tensor | float) -> Tensor:
        """`latents` in the free cells, and the originals everywhere else."""
        return latents if self.free is None else torch.where(self.free, latents, self.at(time))


def free_cells(masks: Sequence[Image.Image], side: int) -> Tensor:
    """Of masks, the cells of `side` x `side` that some white lies in; (N, 1, side, side) bool."""
    # Enlarged first if need be, so that every cell has pixels of its own.
    scaled = [mask.convert("L").resize(_multiple(mask.size, side), Image.Resampling.NEAREST) for mask in masks]
    cells = [
        numpy.asarray(mask).reshape(side, mask.height // side, side, mask.width // side).max((1, 3)) > 0
        for mask in scaled
    ]
    return torch.from_numpy(numpy.stack(cells))[:, None]


def _multiple(size: tuple[int, int], side: int) -> tuple[int, int]:
    width, height = (-(-length // side) * side for length in size)
    return width, height
