"""The objective of unclip-mini: rectified flow, as in `training/decoder.py` and `training/prior.py`.

The prior samples an image embedding for each prompt, and the decoder reads it beside the text. For a word that is new
to the prior, that embedding leads elsewhere. So both learn: the prior to predict the embeddings of the images, and the
decoder to draw them from the captions, with those embeddings, with samples of the untrained prior, or with none.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save_file
from torch import Generator, Tensor, nn

from worker.generators.fine_tuning.objective import Example, drop
from worker.generators.unclip.conditioning import Text, encode_images, encode_text, sample_prior, to_tensor
from worker.generators.unclip.pipeline import NATIVE_PX

_DROP_CAPTION: Final = 0.1
_GIVE_SAMPLE, _GIVE_IMAGE = 0.4, 0.4
_SAMPLES: Final = 8
"""Samples of the prior for each caption."""


class UnclipObjective:
    """Trains adapters of the decoder and the prior."""

    layers: tuple[str, ...] = ("query", "key_value", "out", "widen", "narrow", "modulation", "conv1", "conv2")

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe
        self._device = pipe.device
        self.networks: Mapping[str, nn.Module] = {"decoder": pipe.decoder} | (
            {} if pipe.prior is None else {"prior": pipe.prior}
        )
        if pipe.image_encoder is None:
            raise ValueError("a folder without image_encoder cannot be fine-tuned")
        self._texts: list[Text] = []
        self._latents: list[Tensor] = []
        self._embeds: list[Tensor] = []
        self._samples: list[Tensor] = []

    @torch.no_grad()
    def encode(self, examples: Iterable[Example]) -> int:
        """Encode images and captions; see `Objective`."""
        pipe, chance = self._pipe, torch.Generator().manual_seed(0)
        for image, caption in examples:
            pixels = to_tensor([image], NATIVE_PX).to(self._device, pipe.vae.dtype)
            self._latents.append(pipe.vae.encode(pixels))
            self._embeds.append(encode_images([image], pipe.image_encoder, self._device))
            text = encode_text([caption], pipe.tokenizer, pipe.text_encoder, self._device)
            self._texts.append(text)
            if pipe.prior is not None:
                noise = torch.randn((_SAMPLES, text.embeds.shape[-1]), generator=chance).to(self._device)
                self._samples.append(sample_prior(pipe.prior, Text.join([text] * _SAMPLES), noise))
        self._no_text = encode_text([""], pipe.tokenizer, pipe.text_encoder, self._device)
        return len(self._latents)

    def loss(self, rows: Sequence[int], generator: Generator) -> Tensor:
        """The flow's squared error, and that of the prior; see `Objective`."""
        drops = drop(len(rows), _DROP_CAPTION, generator)
        text = Text.join(
            [self._no_text if is_dropped else self._texts[row] for row, is_dropped in zip(rows, drops, strict=True)]
        )
        embeds = torch.cat([self._embeds[row] for row in rows])
        loss = self._decoder_loss(rows, text, embeds, generator)
        return loss if self._pipe.prior is None else loss + self._prior_loss(text, embeds, generator)

    def _decoder_loss(self, rows: Sequence[int], text: Text, embeds: Tensor, generator: Generator) -> Tensor:
        latents = torch.cat([self._latents[row] for row in rows])
        time = torch.sigmoid(self._randn(len(rows), generator=generator))
        noise = self._randn(*latents.shape, generator=generator)
        choice = torch.rand(len(rows), generator=generator)
        if self._samples:
            numbers = torch.randint(_SAMPLES, (len(rows),), generator=generator)
            samples = torch.stack([self._samples[row][number] for row, number in zip(rows, numbers, strict=True)])
            embeds = torch.where((choice < _GIVE_SAMPLE)[:, None].to(self._device), samples, embeds)
        has_image = (choice < _GIVE_SAMPLE + _GIVE_IMAGE).to(self._device)
        noised = torch.lerp(latents, noise, time.view(-1, 1, 1, 1))
        flow = self._pipe.decoder(noised, time, text.states, text.mask, text.embeds, embeds, has_image)
        loss: Tensor = (flow - (noise - latents)).square().mean()
        return loss

    def _prior_loss(self, text: Text, embeds: Tensor, generator: Generator) -> Tensor:
        prior = self._pipe.prior
        clean = prior.standardise(embeds)
        time = torch.rand(len(clean), generator=generator).to(self._device)
        noised = torch.lerp(clean, self._randn(*clean.shape, generator=generator), time[:, None])
        guess = prior(noised, time, text.states, text.mask, text.embeds)
        loss: Tensor = (guess - clean).square().mean()
        return loss

    def _randn(self, *shape: int, generator: Generator) -> Tensor:
        """Noise from the CPU's generator, so that it is the same on each device."""
        return torch.randn(shape, generator=generator).to(self._device)

    def save(self, weights: Mapping[str, Mapping[str, Tensor]], path: Path) -> None:
        """Write `network.layer.lora_A.weight` and so on; see `Objective`."""
        tensors = {f"{network}.{name}": tensor for network, part in weights.items() for name, tensor in part.items()}
        save_file(tensors, path)
