"""Computes once what the decoder trains on: latents, object masks, text features and image embeddings.

The gate stands here: no features are stored when the text embedding cannot tell the objects apart, because no
amount of decoder training would repair that.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training import artwork, autoencoder, clip, data, tokenizer
from training.clip import Encoders
from training.configuration import Configuration
from training.data import Dataset
from training.scenes import NAMES, Painter

GATE = 0.97
"""Least accuracy of the object probe on the text embedding, in either language."""


@dataclass(frozen=True)
class TextFeatures:
    """The encoded captions, M of them, for the decoder."""

    embeds: Tensor
    """(M, C) float: pooled and projected."""
    states: Tensor
    """(M, T, C) bfloat16: last hidden states."""
    mask: Tensor
    """(M, T) bool: true up to and including the end token."""


@dataclass(frozen=True)
class Features:
    """Row i of `latents` goes with rows 4i, 4i + 1 (English), 4i + 2 and 4i + 3 (Chinese) of `text`.

    `empty_text` is the empty prompt.
    """

    latents: Tensor
    masks: Tensor
    text: TextFeatures
    empty_text: TextFeatures
    image_embeds: Tensor


class GateClosed(Exception):
    """The text embedding does not tell the objects apart; train CLIP longer."""


def compute(configuration: Configuration) -> None:
    """Probe CLIP, then store latents.pt and features.pt."""
    compute_text(configuration)
    compute_latents(configuration)


def compute_text(configuration: Configuration) -> None:
    """Store text features and image embeddings of the training set, if CLIP passes the gate."""
    path = configuration.data / "features.pt"
    if path.exists():
        return
    dataset, encoders = data.load(configuration.data, "train"), clip.load(configuration)
    words = tokenizer.load(configuration)
    captions = [text for row in dataset.captions for text in row]
    text = encode_text(encoders, clip.tokenise(words, captions))
    image_embeds = encode_images(encoders, dataset)
    _check(configuration, dataset, text, image_embeds)
    empty_text = encode_text(encoders, clip.tokenise(words, [""]))
    _store(path, {"text": vars(text), "nothing": vars(empty_text), "image_embeds": image_embeds})


def compute_latents(configuration: Configuration) -> None:
    """Store the latents and object masks of the training set."""
    path = configuration.data / "latents.pt"
    if path.exists():
        return
    dataset, network = data.load(configuration.data, "train"), autoencoder.load(configuration)
    painter = Painter(artwork.load(configuration.data, stand_in=configuration.tiny))
    batches = []
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for start in range(0, len(dataset), 100):
            batches.append(network.encode(data.to_tensor(dataset.images[start : start + 100])).half())
    masks = torch.from_numpy(np.stack([painter.mask(scene) for scene in dataset.scenes]))
    _store(path, {"latents": torch.cat(batches), "masks": masks})


def load(configuration: Configuration) -> Features:
    """Open the stored features; the large ones stay mapped on disk."""
    dataset = torch.load(configuration.data / "features.pt", mmap=True, weights_only=True)
    pixels = torch.load(configuration.data / "latents.pt", mmap=True, weights_only=True)
    return Features(
        latents=pixels["latents"],
        masks=pixels["masks"],
        text=TextFeatures(**dataset["text"]),
        empty_text=TextFeatures(**dataset["nothing"]),
        image_embeds=dataset["image_embeds"],
    )


@torch.no_grad()
def encode_text(encoders: Encoders, ids: Tensor) -> TextFeatures:
    """Token ids (M, T) to features; with bfloat16 arithmetic, as in training."""
    embeds, states = [], []
    with torch.autocast("cpu", torch.bfloat16):
        for batch in torch.split(ids, 512):
            out = encoders.text(batch)
            embeds.append(out.text_embeds.float())
            states.append(out.last_hidden_state.bfloat16())
    return TextFeatures(torch.cat(embeds), torch.cat(states), text_mask(ids))


def text_mask(ids: Tensor) -> Tensor:
    """True for every token up to and including the first end token (id 1)."""
    ends = (ids == 1).int()
    return ends.cumsum(1) - ends == 0


@torch.no_grad()
def encode_images(encoders: Encoders, dataset: Dataset) -> Tensor:
    """Image embeddings of the thumbnails, (N, C) float."""
    batches = []
    with torch.autocast("cpu", torch.bfloat16):
        for start in range(0, len(dataset), 256):
            images = data.to_tensor(dataset.thumbnails[start : start + 256])
            batches.append(encoders.image(images).image_embeds.float())
    return torch.cat(batches)


def _check(configuration: Configuration, dataset: Dataset, text: TextFeatures, image_embeds: Tensor) -> None:
    rows, names = clip.object_labels(dataset)
    row_numbers = torch.tensor(rows)
    accuracy = {
        "en": clip.probe(text.embeds[4 * row_numbers], names, len(NAMES)),
        "zh": clip.probe(text.embeds[4 * row_numbers + 2], names, len(NAMES)),
        "image": clip.probe(image_embeds[row_numbers], names, len(NAMES)),
    }
    print("object probe:", {name: round(value, 3) for name, value in accuracy.items()}, flush=True)
    if min(accuracy["en"], accuracy["zh"]) < GATE and not configuration.tiny:
        raise GateClosed(f"object probe {accuracy} below {GATE}")


def _store(path: Path, content: object) -> None:
    draft = path.with_suffix(".part")
    torch.save(content, draft)
    draft.replace(path)
