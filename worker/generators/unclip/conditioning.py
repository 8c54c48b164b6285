"""The condition of unclip-mini's decoder: encoded prompts and CLIP image embeddings.

The image encoder computes an image embedding from an image, or the prior samples one for a text. Guidance is in
pipeline.py. Letters: N images, T text tokens, C and E widths.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final, Self

import numpy
import torch
from PIL import Image
from torch import Tensor
from transformers import CLIPTextModelWithProjection, CLIPTokenizer, CLIPVisionModelWithProjection

from worker.generators.unclip.prior import UnclipPrior
from worker.generators.unclip.threads import ImageThreads

PRIOR_STEPS: Final = 8


@dataclass(frozen=True)
class Text:
    """Encoded prompts."""

    states: Tensor  # (N, T, C): last hidden states
    mask: Tensor  # (N, T) bool: true up to and including the first end token
    embeds: Tensor  # (N, E): pooled and projected

    def __getitem__(self, part: slice) -> "Text":
        return Text(self.states[part], self.mask[part], self.embeds[part])

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """The prompts of all parts, in their order."""
        return cls(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(cls)))


@dataclass(frozen=True)
class Condition:
    """The decoder's condition for N images, in the order of its parameters."""

    text: Text
    image_embeds: Tensor  # (N, E)
    has_image: Tensor  # (N,) bool: false where there is no image embedding

    @classmethod
    def of(cls, text: Text, image_embeds: Tensor | None, dtype: torch.dtype) -> Self:
        """The condition for M texts. The image embeddings belong to the last of them; the others have none."""
        count, width = text.embeds.shape
        embeds = torch.zeros(count, width, dtype=dtype, device=text.embeds.device)
        has_image = torch.zeros(count, dtype=torch.bool, device=text.embeds.device)
        if image_embeds is not None:
            embeds[-len(image_embeds) :] = image_embeds
            has_image[-len(image_embeds) :] = True
        return cls(text, embeds, has_image)


def encode_text(
    prompts: Sequence[str], tokenizer: CLIPTokenizer, text_encoder: CLIPTextModelWithProjection, device: torch.device
) -> Text:
    """Encode prompts, each up to the maximum length of the text encoder."""
    ids = tokenizer(list(prompts), padding="max_length", truncation=True, return_tensors="pt").input_ids.to(device)
    output = text_encoder(ids)
    ends = (ids == tokenizer.eos_token_id).int()
    return Text(output.last_hidden_state, ends.cumsum(1) - ends == 0, output.text_embeds)


def encode_images(
    images: Sequence[Image.Image],
    image_encoder: CLIPVisionModelWithProjection,
    device: torch.device,
    threads: ImageThreads | None = None,
) -> Tensor:
    """Embeddings (N, E) of images of any size, float32. Images are scaled down by the mean of areas, as in training."""

    def embeds(pixels: Tensor) -> Tensor:
        embeddings: Tensor = image_encoder(pixels).image_embeds.float()
        return embeddings

    pixels = to_tensor(images, image_encoder.config.image_size).to(device, image_encoder.dtype)
    return (threads or ImageThreads()).run(embeds, pixels)


def sample_prior(
    prior: UnclipPrior, text: Text, noise: Tensor, *, empty_text: Text | None = None, guidance_scale: float = 1.0
) -> Tensor:
    """Sample image embeddings (N, E) of images that would fit the texts, float32.

    noise: (N, E), standard normal. empty_text: the empty prompt, (1, …); needed if guidance is above 1.
    """
    embeds = noise
    for step in range(PRIOR_STEPS):
        time = torch.full((len(noise),), 1 - step / PRIOR_STEPS, device=noise.device)
        clean = prior(embeds, time, text.states, text.mask, text.embeds)
        if empty_text is not None and guidance_scale > 1:
            shape = len(noise), -1, -1
            unconditional = prior(
                embeds,
                time,
                empty_text.states.expand(shape),
                empty_text.mask.expand(shape[:2]),
                empty_text.embeds.expand(shape[:2]),
            )
            clean = unconditional + guidance_scale * (clean - unconditional)
        flow = (embeds - clean) / time[:, None]
        embeds = embeds - flow / PRIOR_STEPS
    return prior.restore(embeds)


def to_tensor(images: Sequence[Image.Image], side: int) -> Tensor:
    """Images, scaled to a square of `side` px, as (N, 3, side, side) in [-1, 1]."""
    pixels = numpy.stack([numpy.asarray(_scale_down(image.convert("RGB"), side)) for image in images])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


def _scale_down(image: Image.Image, side: int) -> Image.Image:
    if image.width == image.height and image.width % side == 0:
        return image.reduce(image.width // side)
    return image.resize((side, side), Image.Resampling.BOX)
