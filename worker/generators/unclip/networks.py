"""The two networks of unclip-mini that no library has: its autoencoder and its diffusion decoder.

Both save and load as diffusers models. pipeline.py computes their inputs (text and image embeddings of a CLIP) and
samples; `training/` trains them. Letters: N images, C channels, T text tokens.

Sources: unCLIP, Ramesh et al. 2022 (arXiv:2204.06125); latent diffusion, Rombach et al. 2022 (2112.10752);
rectified flow, Liu et al. 2022 (2209.03003); adaLN-zero, Peebles & Xie 2023 (2212.09748).
"""

import math

import torch
import torch.nn.functional as F  # the name every torch reader knows
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn


def silence(layer: nn.Module) -> None:
    """Initialise a layer with zeros, so that the branch that it ends adds nothing at first."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


class PlainResidual(nn.Module):
    """Two 3x3 convolutions without normalisation; the identity at the start of training."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        silence(self.second)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        change: Tensor = self.second(F.silu(self.first(F.silu(x))))
        return x + change


class UnclipAutoencoder(ModelMixin, ConfigMixin):  # type: ignore[misc]  # diffusers is untyped
    """Encodes images to latents of an eighth of their side, and decodes them; each latent channel has unit variance."""

    @register_to_config  # type: ignore[untyped-decorator]  # diffusers is untyped
    def __init__(
        self,
        latent_channels: int = 8,
        encoder_channels: tuple[int, int] = (64, 128),
        decoder_channels: tuple[int, int, int] = (160, 96, 48),
    ) -> None:
        super().__init__()
        e, d = encoder_channels, decoder_channels
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(4),  # (N, 48, H/4, W/4)
            nn.Conv2d(48, e[0], 3, padding=1),
            PlainResidual(e[0]),
            nn.SiLU(),
            nn.Conv2d(e[0], e[1], 4, stride=2, padding=1),  # (N, e1, H/8, W/8)
            PlainResidual(e[1]),
            PlainResidual(e[1]),
            nn.SiLU(),
            nn.Conv2d(e[1], latent_channels, 1),
        )
        self.normalise = nn.BatchNorm2d(latent_channels, affine=False, momentum=0.02)
        self.decoder = nn.Sequential(
            nn.Conv2d(latent_channels, d[0], 3, padding=1),
            PlainResidual(d[0]),
            PlainResidual(d[0]),
            PlainResidual(d[0]),
            nn.Conv2d(d[0], 4 * d[1], 1),
            nn.PixelShuffle(2),  # (N, d1, H/4, W/4)
            PlainResidual(d[1]),
            PlainResidual(d[1]),
            nn.Conv2d(d[1], 4 * d[2], 1),
            nn.PixelShuffle(2),  # (N, d2, H/2, W/2)
            PlainResidual(d[2]),
            nn.SiLU(),
            nn.Conv2d(d[2], 12, 3, padding=1),
            nn.PixelShuffle(2),  # (N, 3, H, W)
        )

    def encode(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) in [-1, 1] to latents (N, 8, H/8, W/8)."""
        latents: Tensor = self.normalise(self.encoder(images).to(self.dtype)).float()
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (N, 8, H, W) to images (N, 3, 8H, 8W), about [-1, 1], not clamped."""
        images: Tensor = self.decoder(latents).float()
        return images

    def forward(self, images: Tensor, noise: Tensor | None = None) -> Tensor:
        """Encode and decode, with `noise` added to the latents; only training needs it."""
        latents = self.encode(images)
        return self.decode(latents if noise is None else latents + noise)


class Attention(nn.Module):
    """Multi-head attention with normalised queries and keys; over itself, or over a text if `text_width` is set."""

    def __init__(self, width: int, text_width: int | None = None, head_width: int = 64) -> None:
        super().__init__()
        self.heads = width // head_width
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(text_width or width, 2 * width, bias=False)
        self.out = nn.Linear(width, width)
        if text_width is not None:
            silence(self.out)

    def forward(self, x: Tensor, text: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """x: (N, L, C); text: (N, T, text_width); mask: (N, 1, 1, T), added to the scores."""
        n, length, width = x.shape
        key, value = self.key_value(x if text is None else text).chunk(2, -1)
        query, key, value = (
            part.view(n, -1, self.heads, width // self.heads).transpose(1, 2) for part in (self.query(x), key, value)
        )  # (N, heads, L or T, C / heads)
        query, key = F.rms_norm(query, query.shape[-1:]), F.rms_norm(key, key.shape[-1:])
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        if mask is not None:
            scores = scores + mask
        values = scores.softmax(-1).to(value.dtype) @ value
        out: Tensor = self.out(values.transpose(1, 2).reshape(n, length, width))
        return out


class TransformerBlock(nn.Module):
    """Self-attention, attention to the text, and an MLP; shifted, scaled and gated by the condition (adaLN-zero)."""

    def __init__(self, width: int, condition: int, text_width: int) -> None:
        super().__init__()
        self.attention = Attention(width)
        self.text_attention = Attention(width, text_width)
        self.widen = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)
        self.modulation = nn.Linear(condition, 6 * width)
        silence(self.modulation)

    def forward(self, x: Tensor, condition: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """x: (N, L, C); condition: (N, condition)."""
        shape = x.shape[-1:]
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(condition)[:, None].chunk(6, -1)
        x = x + gate1 * self.attention(F.rms_norm(x, shape) * (1 + scale1) + shift1)
        x = x + self.text_attention(F.rms_norm(x, shape), text, mask)
        features = F.gelu(self.widen(F.rms_norm(x, shape) * (1 + scale2) + shift2), approximate="tanh")
        change: Tensor = gate2 * self.narrow(features)
        return x + change


class ConvBlock(nn.Module):
    """A residual block of two 3x3 convolutions, the second scaled and shifted by the condition."""

    def __init__(self, channels_in: int, channels: int, condition: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(16, channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(16, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.modulation = nn.Linear(condition, 2 * channels)
        self.skip = nn.Conv2d(channels_in, channels, 1) if channels_in != channels else nn.Identity()
        silence(self.conv2)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x: (N, C, H, W); condition: (N, condition)."""
        scale, shift = self.modulation(condition)[:, :, None, None].chunk(2, 1)
        features = self.norm2(self.conv1(F.silu(self.norm1(x)))) * (1 + scale) + shift
        out: Tensor = self.skip(x) + self.conv2(F.silu(features))
        return out


def time_features(time: Tensor, width: int) -> Tensor:
    """Sines and cosines of the time: (N,) in [0, 1] to (N, width)."""
    octaves = torch.arange(width // 2, device=time.device) / (width // 2)
    angles = time.float()[:, None] * 100 * torch.exp(-math.log(1000) * octaves)
    return torch.cat([angles.cos(), angles.sin()], 1)


class Condition(nn.Module):
    """Sums time, pooled text embedding and image embedding (or a learned null) into one vector."""

    # Standardisation of either embedding, set from the training set before the first step; each (embedding,).
    text_mean: Tensor
    text_scale: Tensor
    image_mean: Tensor
    image_scale: Tensor

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(128, width), nn.SiLU(), nn.Linear(width, width))
        self.text = nn.Sequential(nn.Linear(embedding, width), nn.SiLU(), nn.Linear(width, width))
        self.image = nn.Sequential(nn.Linear(embedding, width), nn.SiLU(), nn.Linear(width, width))
        self.no_image = nn.Parameter(torch.zeros(width))
        self.register_buffer("text_mean", torch.zeros(embedding))
        self.register_buffer("text_scale", torch.ones(embedding))
        self.register_buffer("image_mean", torch.zeros(embedding))
        self.register_buffer("image_scale", torch.ones(embedding))

    def forward(self, time: Tensor, text: Tensor, image: Tensor, has_image: Tensor) -> Tensor:
        """time, has_image: (N,); text, image: (N, embedding); returns (N, width)."""
        from_time = self.time(time_features(time, 128).to(text.dtype))
        from_text = self.text((text - self.text_mean) * self.text_scale)
        from_image = self.image((image - self.image_mean) * self.image_scale)
        from_image = torch.where(has_image[:, None], from_image, self.no_image[None].to(from_image.dtype))
        return F.silu(from_time + from_text + from_image)


class UnclipDecoder(ModelMixin, ConfigMixin):  # type: ignore[misc]  # diffusers is untyped
    """Predicts the flow from image to noise: convolutions at 16x16, a transformer at 8x8, and back.

    With latents x, noise n and time t in [0, 1] its input is (1 - t) x + t n, and it predicts n - x.
    """

    @register_to_config  # type: ignore[untyped-decorator]  # diffusers is untyped
    def __init__(
        self,
        latent_channels: int = 8,
        latent_side: int = 16,
        channels: int = 128,
        width: int = 256,
        layers: int = 6,
        embedding: int = 192,
        text_width: int = 192,
    ) -> None:
        super().__init__()
        self.condition = Condition(width, embedding)
        self.conv_in = nn.Conv2d(latent_channels, channels, 3, padding=1)
        self.place = nn.Parameter(torch.randn(1, channels, latent_side, latent_side) * 0.02)
        self.before = nn.ModuleList([ConvBlock(channels, channels, width) for _ in range(2)])
        self.down = nn.Conv2d(channels, width, 2, stride=2)
        self.token_place = nn.Parameter(torch.randn(1, latent_side**2 // 4, width) * 0.02)
        self.blocks = nn.ModuleList([TransformerBlock(width, width, text_width) for _ in range(layers)])
        self.up = nn.Linear(width, 4 * channels)
        self.after = nn.ModuleList([ConvBlock(2 * channels, channels, width), ConvBlock(channels, channels, width)])
        self.norm_out = nn.GroupNorm(16, channels)
        self.conv_out = nn.Conv2d(channels, latent_channels, 3, padding=1)
        silence(self.conv_out)

    def forward(
        self,
        sample: Tensor,
        time: Tensor,
        text: Tensor,
        text_mask: Tensor,
        text_embeds: Tensor,
        image_embeds: Tensor,
        has_image: Tensor,
    ) -> Tensor:
        """Return the flow, shaped like `sample`, in float32.

        sample: (N, 8, 16, 16); time: (N,) in [0, 1]; text: (N, T, text_width), hidden states; text_mask: (N, T) bool,
        true where there is text; text_embeds, image_embeds: (N, embedding); has_image: (N,) bool, false where there
        is no image embedding; the learned null takes its place.
        """
        condition = self.condition(time, text_embeds, image_embeds, has_image)
        mask = torch.zeros(text_mask.shape, dtype=text.dtype, device=text.device)
        mask = mask.masked_fill(~text_mask, -1e4)[:, None, None]
        x = self.conv_in(sample) + self.place
        for block in self.before:
            x = block(x, condition)
        half = x.shape[-1] // 2
        tokens = self.down(x).flatten(2).transpose(1, 2) + self.token_place  # (N, 64, width)
        for block in self.blocks:
            tokens = block(tokens, condition, text, mask)
        grid = self.up(F.rms_norm(tokens, tokens.shape[-1:])).transpose(1, 2).unflatten(2, (half, half))
        x = torch.cat([x, F.pixel_shuffle(grid, 2).to(x.dtype)], 1)  # (N, 2 channels, 16, 16)
        for block in self.after:
            x = block(x, condition)
        flow: Tensor = self.conv_out(F.silu(self.norm_out(x))).float()
        return flow
