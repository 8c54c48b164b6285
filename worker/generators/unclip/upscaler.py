"""The upscaler of unclip-mini: a convolutional network that doubles the side of an image.

It learns only what a bilinear enlargement lacks, the edges. It adds no content and has neither text nor noise as input.

Sources: sub-pixel convolution, Shi et al. 2016 (arXiv:1609.05158); residuals on an enlarged input, Kim et al. 2016
(1511.04587).
"""

import torch.nn.functional as F  # the name every torch reader knows
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from worker.generators.unclip.networks import PlainResidual, silence


class UnclipUpscaler(ModelMixin, ConfigMixin):  # type: ignore[misc]  # diffusers is untyped
    """Doubles width and height of images of any size; a bilinear enlargement at the start of training."""

    @register_to_config  # type: ignore[untyped-decorator]  # diffusers is untyped
    def __init__(self, channels: int = 48, blocks: int = 4) -> None:
        super().__init__()
        self.edges = nn.Sequential(
            nn.Conv2d(3, channels, 3, padding=1),
            *(PlainResidual(channels) for _ in range(blocks)),
            nn.SiLU(),
            nn.Conv2d(channels, 12, 3, padding=1),
            nn.PixelShuffle(2),  # (N, 3, 2H, 2W)
        )
        silence(self.edges[-2])

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) in [-1, 1] to (N, 3, 2H, 2W), about [-1, 1], not clamped, in float32."""
        images = images.to(self.dtype)
        bilinear = F.interpolate(images.float(), scale_factor=2, mode="bilinear", align_corners=False)
        edges: Tensor = self.edges(images)
        return bilinear + edges
