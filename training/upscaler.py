"""Trains the upscaler: the same scenes painted at 128, 256 and 512 px are its lessons.

Most inputs have gone through the autoencoder with a little noise on the latents, as generated images have, so it
learns to sharpen what the autoencoder softens; the rest are clean, for its second and third pass see its own output.
"""

from random import Random
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.optim import AdamW

from training import artwork, autoencoder, data, scenes
from training.configuration import Configuration
from training.loop import Average, Run, channels_last, restore
from training.scenes import Painter, Scene
from worker.generators.unclip.networks import UnclipAutoencoder
from worker.generators.unclip.upscaler import UnclipUpscaler

_SCENES = 4
"""Painted for one batch; each gives `_CROPS` crops."""
_CROPS = 8
_CROP_PX = 48
_CLEAN = 0.35
"""The share of batches that go from 256 to 512 px."""


def build(configuration: Configuration) -> UnclipUpscaler:
    network: UnclipUpscaler = UnclipUpscaler(
        channels=configuration.upscaler_channels, blocks=configuration.upscaler_blocks
    )
    return channels_last(network)


def load(configuration: Configuration) -> UnclipUpscaler:
    """The trained upscaler with its averaged weights."""
    return restore(build(configuration), configuration.data / "upscaler.pt")


class Lessons:
    """Draws pairs of crops: small and blurred, twice as large and sharp."""

    def __init__(self, configuration: Configuration, random: Random) -> None:
        sprites = artwork.load(configuration.data, stand_in=configuration.tiny)
        self._painters = {scale: Painter(sprites, scale) for scale in (1, 2, 4)}
        self._autoencoder: UnclipAutoencoder = autoencoder.load(configuration)
        self._random = random

    def sample(self) -> tuple[Tensor, Tensor]:
        """(32, 3, 48, 48) and (32, 3, 96, 96) in [-1, 1]."""
        scene_list = [scenes.random_scene(self._random) for _ in range(_SCENES)]
        if self._random.random() < _CLEAN:
            return self._crops(self._paint(scene_list, 2), self._paint(scene_list, 4))
        return self._crops(*self.pair(scene_list))

    def pair(self, scene_list: list[Scene]) -> tuple[Tensor, Tensor]:
        """The scenes at 128 px, softened as generated images are, and at 256 px; (N, 3, H, W) each."""
        return self._softened(self._paint(scene_list, 1)), self._paint(scene_list, 2)

    def _paint(self, scene_list: list[Scene], scale: int) -> Tensor:
        return data.to_tensor(np.stack([self._painters[scale].paint(scene) for scene in scene_list]))

    @torch.no_grad()
    def _softened(self, images: Tensor) -> Tensor:
        """Through the autoencoder and back, with latent noise of a strength of up to 0.12."""
        with torch.autocast("cpu", torch.bfloat16):
            latents = self._autoencoder.encode(images)
            noise = torch.randn_like(latents) * torch.rand(len(latents), 1, 1, 1) * 0.12
            return self._autoencoder.decode(latents + noise).clamp(-1, 1)

    def _crops(self, small: Tensor, large: Tensor) -> tuple[Tensor, Tensor]:
        pairs = []
        for _ in range(_CROPS):
            x, y = (self._random.randint(0, small.shape[-1] - _CROP_PX) for _ in range(2))
            pairs.append((_crop(small, x, y, _CROP_PX), _crop(large, 2 * x, 2 * y, 2 * _CROP_PX)))
        smalls, larges = zip(*pairs, strict=True)
        return torch.cat(smalls), torch.cat(larges)


def _crop(images: Tensor, x: int, y: int, side: int) -> Tensor:
    return images[..., y : y + side, x : x + side]


def train(configuration: Configuration) -> None:
    """Train within the budget, store as upscaler.pt, and print what it gains over a Lanczos enlargement."""
    torch.manual_seed(configuration.seed)
    network = build(configuration)
    average = Average(network, 0.998)
    optimizer = AdamW([{"params": network.parameters(), "base_lr": 1.5e-3}], betas=(0.9, 0.98), weight_decay=0)
    parts: dict[str, Any] = {"network": network, "average": average, "optimizer": optimizer}
    run = Run(configuration.data / "upscaler.pt", configuration.upscaler_budget, configuration.seed, **parts)
    lessons = Lessons(configuration, Random(f"{configuration.seed}/{run.steps}"))
    forward = torch.compile(network) if configuration.compile else network
    while run.going():
        run.set_rate([optimizer], warm_up=100, hold=0.3)
        small, large = lessons.sample()
        with torch.autocast("cpu", torch.bfloat16):
            output = forward(small.contiguous(memory_format=torch.channels_last))
        loss = autoencoder.loss(output, large)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        average.update(run.steps)
        run.step(loss.item(), len(small))
        run.save_now_and_then()
    if not run.is_finished:
        run.save(is_finished=True)
    network_gain, lanczos_gain = gain(configuration)
    print(f"upscaler: {network_gain:.2f} dB from 128 to 256 px, Lanczos {lanczos_gain:.2f} dB", flush=True)


@torch.no_grad()
def gain(configuration: Configuration, batches: int = 4) -> tuple[float, float]:
    """Peak signal-to-noise ratio in dB against the image painted at 256 px, and the same of a Lanczos enlargement."""
    random = Random("measure")
    lessons, network = Lessons(configuration, random), load(configuration)
    network_gain, lanczos_gain = [], []
    for _ in range(batches):
        small, large = lessons.pair([scenes.random_scene(random, is_held_out=True) for _ in range(8)])
        network_gain.append(network(small).clamp(-1, 1) - large)
        lanczos_gain.append(_lanczos(small) - large)
    return autoencoder.decibels(torch.cat(network_gain)), autoencoder.decibels(torch.cat(lanczos_gain))


def _lanczos(images: Tensor) -> Tensor:
    """Double images in [-1, 1] as Pillow does, by way of 8 bits."""
    side = 2 * images.shape[-1]
    pixels = (images.permute(0, 2, 3, 1).numpy() * 127.5 + 127.5).round().astype(np.uint8)
    enlarged_images = [Image.fromarray(image).resize((side, side), Image.Resampling.LANCZOS) for image in pixels]
    return data.to_tensor(np.stack([np.asarray(image) for image in enlarged_images]))
