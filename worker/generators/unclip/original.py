"""The original image of an edit, as latents with noise.

An edit starts from the original with as much noise as the strength says (SDEdit, Meng et al. 2021, arXiv:2108.01073).
Outside the mask, the original replaces the latents after each step, with the noise of that time. The pixels are
restored elsewhere, by worker/generators/mask.py.
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
        """The originals with the noise of a time from 0 (no noise) to 1 (only noise); (N, C, H, W)."""
        return (1 - time) * self.latents + time * self.noise

    def hold(self, latents: Tensor, time: Tensor | float) -> Tensor:
        """`latents` in the free cells, and the originals everywhere else."""
        return latents if self.free is None else torch.where(self.free, latents, self.at(time))


def free_cells(masks: Sequence[Image.Image], side: int) -> Tensor:
    """The latent cells, `side` x `side` for each mask, that contain some white; (N, 1, side, side) bool."""
    # Enlarged first if necessary, so that every cell has pixels of its own.
    resized_masks = [mask.convert("L").resize(_multiple(mask.size, side), Image.Resampling.NEAREST) for mask in masks]
    cells = [
        numpy.asarray(mask).reshape(side, mask.height // side, side, mask.width // side).max((1, 3)) > 0
        for mask in resized_masks
    ]
    return torch.from_numpy(numpy.stack(cells))[:, None]


def _multiple(size: tuple[int, int], side: int) -> tuple[int, int]:
    width, height = (-(-length // side) * side for length in size)
    return width, height
