"""Trains the autoencoder on 64-px crops that lie on the 8-px grid, then freezes it.

Given a model to start from, its encoder stays as it is, for the diffusion decoder knows its latents; only the way back
to pixels is trained on.

The loss adds the error of the gradients to the error of the pixels: flat artwork lives by its edges. Noise on the
latents makes the decoder forgive what the diffusion decoder gets slightly wrong.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import AdamW

from training import data
from training.configuration import Configuration
from training.data import Dataset
from training.loop import Average, Run, channels_last, restore
from worker.generators.unclip.networks import UnclipAutoencoder

_BATCH = 32
_CROP_PX = 64


def build(configuration: Configuration) -> UnclipAutoencoder:
    network: UnclipAutoencoder = UnclipAutoencoder(
        encoder_channels=configuration.autoencoder_encoder,
        decoder_channels=configuration.autoencoder_decoder,
    )
    if configuration.start:
        network.load_state_dict(UnclipAutoencoder.from_pretrained(configuration.start / "vae").state_dict())
    channels_last(network)
    return network


class _OnlyBack(nn.Module):
    """The round trip with an encoder that learns nothing more."""

    def __init__(self, network: UnclipAutoencoder) -> None:
        super().__init__()
        self.network = network
        network.normalise.eval()

    def forward(self, images: Tensor, noise: Tensor) -> Tensor:
        """See `UnclipAutoencoder.forward`."""
        with torch.no_grad():
            latents = self.network.encode(images)
        return self.network.decode(latents + noise)


def train(configuration: Configuration) -> None:
    """Train within the budget and store the averaged weights as autoencoder.pt."""
    torch.manual_seed(configuration.seed)
    network = build(configuration)
    average = Average(network, 0.998)
    optimizer = AdamW([{"params": network.parameters(), "base_lr": 2e-3}], betas=(0.9, 0.98), weight_decay=0)
    parts: dict[str, Any] = {"network": network, "average": average, "optimizer": optimizer}
    path = configuration.data / "autoencoder.pt"
    run = Run(path, configuration.autoencoder_budget, configuration.seed, **parts)
    dataset = data.load(configuration.data, "train")
    chance = np.random.default_rng([configuration.seed, run.steps])
    there_and_back = network if configuration.start is None else _OnlyBack(network)
    forward = torch.compile(there_and_back) if configuration.compile else there_and_back
    while run.going():
        run.set_rate([optimizer], warm_up=100, hold=0.3)
        crops = _crops(dataset, chance)
        with torch.autocast("cpu", torch.bfloat16):
            restored = forward(crops, _noise())
        error = loss(restored, crops)
        optimizer.zero_grad(set_to_none=True)
        error.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        average.update(run.steps)
        run.step(error.item(), _BATCH)
        run.save_now_and_then()
    if not run.is_finished:
        run.save(is_finished=True)
    print(f"autoencoder: {psnr(load(configuration), data.load(configuration.data, 'held')):.2f} dB on held-out images")


def _crops(dataset: Dataset, chance: np.random.Generator) -> Tensor:
    """(32, 3, 64, 64) from random images, leaning to the lower part where objects stand."""
    rows = chance.integers(0, len(dataset), _BATCH)
    lefts, tops = chance.integers(0, 9, _BATCH) * 8, chance.integers(1, 9, _BATCH) * 8
    crops = [
        dataset.images[row, top : top + _CROP_PX, left : left + _CROP_PX]
        for row, left, top in zip(rows, lefts, tops, strict=True)
    ]
    return data.to_tensor(np.stack(crops))


def _noise() -> Tensor:
    """Latent noise of a strength between 0 and 0.15, another for every crop."""
    latents = torch.randn(_BATCH, 8, _CROP_PX // 8, _CROP_PX // 8)
    return (latents * torch.rand(_BATCH, 1, 1, 1) * 0.15).contiguous(memory_format=torch.channels_last)


def loss(restored: Tensor, crops: Tensor) -> Tensor:
    """Errors of pixels and of their differences; (N, 3, H, W) each."""
    error = restored - crops
    across, down = error[..., 1:] - error[..., :-1], error[..., 1:, :] - error[..., :-1, :]
    return error.abs().mean() + 0.5 * error.square().mean() + 0.7 * (across.abs().mean() + down.abs().mean())


def load(configuration: Configuration) -> UnclipAutoencoder:
    """The trained autoencoder with its averaged weights, ready to use."""
    return restore(build(configuration), configuration.data / "autoencoder.pt")


@torch.no_grad()
def psnr(network: UnclipAutoencoder, dataset: Dataset, count: int = 100) -> float:
    """Peak signal-to-noise ratio in dB of the round trip, the mean over the first images."""
    images = data.to_tensor(dataset.images[:count])
    with torch.autocast("cpu", torch.bfloat16):
        restored = network(images).clamp(-1, 1)
    return decibels(restored - images)


def decibels(error: Tensor) -> float:
    """Mean peak signal-to-noise ratio of errors (N, 3, H, W) of images in [-1, 1]."""
    return float((-10 * (error / 2).square().mean((1, 2, 3)).log10()).mean())
