"""The prior of unclip-mini: predicts for a text the CLIP image embedding of an image that would fit it.

Image embeddings are standardised here, to mean 0 and standard deviation 1 in every dimension, so that noise and signal
have the same size in each. `standardise` and `restore` convert them. Letters: N images, T text tokens,
C width of the text, E width of the embedding.

Sources: the diffusion prior of unCLIP, Ramesh et al. 2022, section 2.2 (arXiv:2204.06125), which predicts the clean
embedding too; rectified flow, Liu et al. 2022 (2209.03003).
"""

import torch
import torch.nn.functional as F  # the name every torch reader knows
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from worker.generators.unclip.networks import Attention, silence, time_features

_TIME_FEATURES = 128


class PriorBlock(nn.Module):
    """Self-attention over all tokens that are not padding, and an MLP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = Attention(width)
        self.widen = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x: (N, L, width); mask: (N, 1, 1, L), added to the scores."""
        shape = x.shape[-1:]
        x = x + self.attention(F.rms_norm(x, shape), mask=mask)
        change: Tensor = self.narrow(F.gelu(self.widen(F.rms_norm(x, shape)), approximate="tanh"))
        return x + change


class UnclipPrior(ModelMixin, ConfigMixin):  # type: ignore[misc]  # diffusers is untyped
    """Predicts the clean image embedding from a noised one and the text.

    With a standardised embedding x, noise n and time t in [0, 1] its input is (1 - t) x + t n, and it predicts
    x itself; the flow from embedding to noise is then (input - prediction) / t. The tokens of its transformer are the
    text's hidden states, the pooled text embedding, the time, and the noised embedding, whose place has the output.
    """

    # Standardisation of the image embedding, set from the training set before the first step; each (E,).
    mean: Tensor
    scale: Tensor  # 1 / standard deviation

    @register_to_config  # type: ignore[untyped-decorator]  # diffusers is untyped
    def __init__(self, embedding: int = 192, text_width: int = 192, width: int = 256, layers: int = 4) -> None:
        super().__init__()
        self.text_in = nn.Linear(text_width, width)
        self.pooled_in = nn.Linear(embedding, width)
        self.time_in = nn.Sequential(nn.Linear(_TIME_FEATURES, width), nn.SiLU(), nn.Linear(width, width))
        self.image_in = nn.Linear(embedding, width)
        self.role = nn.Parameter(torch.randn(1, 3, width) * 0.02)  # of pooled text, time, image
        self.blocks = nn.ModuleList([PriorBlock(width) for _ in range(layers)])
        self.image_out = nn.Linear(width, embedding)
        silence(self.image_out)
        self.register_buffer("mean", torch.zeros(embedding))
        self.register_buffer("scale", torch.ones(embedding))

    def forward(self, noised: Tensor, time: Tensor, text: Tensor, text_mask: Tensor, text_embeds: Tensor) -> Tensor:
        """Return the predicted clean image embedding, standardised: (N, E), in float32.

        noised: (N, E), standardised; time: (N,) in [0, 1]; text: (N, T, C), last hidden states of the text encoder;
        text_mask: (N, T) bool, true where there is text; text_embeds: (N, E), pooled, as the text encoder returns them.
        """
        dtype = self.dtype
        pooled = F.rms_norm(text_embeds.to(dtype), text_embeds.shape[-1:])
        condition = torch.stack(
            [
                self.pooled_in(pooled),
                self.time_in(time_features(time, _TIME_FEATURES).to(dtype)),
                self.image_in(noised.to(dtype)),
            ],
            1,
        )
        tokens = torch.cat([self.text_in(text.to(dtype)), condition + self.role], 1)  # (N, T + 3, width)
        mask = torch.zeros(tokens.shape[:2], dtype=tokens.dtype, device=tokens.device)
        mask[:, : text.shape[1]].masked_fill_(~text_mask, -1e4)
        for block in self.blocks:
            tokens = block(tokens, mask[:, None, None])
        output = tokens[:, -1]
        clean: Tensor = self.image_out(F.rms_norm(output, output.shape[-1:])).float()
        return clean

    def standardise(self, embeds: Tensor) -> Tensor:
        """CLIP image embeddings (N, E) to mean 0 and standard deviation 1."""
        return (embeds - self.mean) * self.scale

    def restore(self, embeds: Tensor) -> Tensor:
        """Standardised embeddings (N, E) to those that the image encoder returns."""
        return embeds / self.scale + self.mean
