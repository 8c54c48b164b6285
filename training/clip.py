"""Trains the text and image encoders: CLIP, made to tell objects apart, in two languages.

With plain CLIP batches, place and colour are enough to find the pairs, and the embedding does not say which animal is
in the scene. So every batch is a few backgrounds with many different objects on each, and both embeddings must also
name object, place, time and palette through linear heads. `probe` is the gate before any decoder training.

Source: Radford et al. 2021 (arXiv:2103.00020).
"""

from collections import defaultdict
from random import Random
from typing import Any

import torch
import torch.nn.functional as F  # the name every torch reader knows
from torch import Tensor, nn
from torch.optim import AdamW
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from training import data, tokenizer
from training.configuration import Configuration
from training.data import HEADS, Dataset
from training.loop import Average, Run, restore
from training.scenes import NAMES

IMAGE_PX = 64
_HEAD_WEIGHT = 0.5


class Encoders(nn.Module):
    """Both encoders, the temperature, and the heads that only training uses."""

    def __init__(self, configuration: Configuration, vocabulary: int) -> None:
        super().__init__()
        width = configuration.width
        shape = {
            "hidden_size": width,
            "intermediate_size": 4 * width,
            "num_attention_heads": width // 64,
            "projection_dim": width,
            "hidden_act": "gelu",
            "attn_implementation": "eager",  # twice as fast as SDPA in bfloat16 on a CPU
        }
        self.text = CLIPTextModelWithProjection(
            CLIPTextConfig(
                vocab_size=vocabulary,
                max_position_embeddings=configuration.text_length,
                num_hidden_layers=configuration.text_layers,
                bos_token_id=0,
                eos_token_id=1,
                pad_token_id=1,
                **shape,
            )
        )
        self.image = CLIPVisionModelWithProjection(
            CLIPVisionConfig(image_size=IMAGE_PX, patch_size=8, num_hidden_layers=configuration.vision_layers, **shape)
        )
        self.temperature = nn.Parameter(torch.tensor(2.6593))  # ln(1 / 0.07), as in the paper
        self.text_heads = nn.ModuleDict({head: nn.Linear(width, classes) for head, classes in HEADS.items()})
        self.image_heads = nn.ModuleDict({head: nn.Linear(width, classes) for head, classes in HEADS.items()})

    def forward(self, ids: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        """Token ids (N, T) and images (N, 3, 64, 64) to embeddings, (N, width) each, not normalised."""
        return self.text(ids).text_embeds, self.image(images).image_embeds


def build(configuration: Configuration) -> Encoders:
    return Encoders(configuration, len(tokenizer.load(configuration)))


def load(configuration: Configuration) -> Encoders:
    """The trained encoders with their averaged weights."""
    return restore(build(configuration), configuration.data / "clip.pt", "encoders")


def tokenise(words: CLIPTokenizer, captions: list[str]) -> Tensor:
    """Token ids, (N, text_length), cut and padded."""
    ids: Tensor = words(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
    return ids


class Batches:
    """Samples batches of several backgrounds with different single objects on each."""

    def __init__(self, dataset: Dataset, backgrounds: int, objects: int, random: Random) -> None:
        self._backgrounds, self._objects, self._random = backgrounds, objects, random
        grouped: dict[object, dict[tuple[str, ...], list[int]]] = defaultdict(lambda: defaultdict(list))
        for row, scene in enumerate(dataset.scenes):
            grouped[scene.background][scene.objects].append(row)
        self._groups = [list(rows.values()) for rows in grouped.values() if len(rows) >= objects]

    def sample(self) -> list[int]:
        """Row numbers of one batch."""
        return [
            self._random.choice(rows)
            for group in self._random.sample(self._groups, self._backgrounds)
            for rows in self._random.sample(group, self._objects)
        ]


def train(configuration: Configuration) -> None:
    """Train both encoders within the budget and store them as clip.pt."""
    torch.manual_seed(configuration.seed)
    encoders = build(configuration)
    if configuration.start:
        seasoned = CLIPVisionModelWithProjection.from_pretrained(configuration.start / "image_encoder")
        encoders.image.load_state_dict(seasoned.state_dict())
    average = Average(encoders, 0.995)
    optimizer = AdamW([{"params": encoders.parameters(), "base_lr": 1.5e-3}], betas=(0.9, 0.98), weight_decay=0.02)
    parts: dict[str, Any] = {"encoders": encoders, "average": average, "optimizer": optimizer}
    run = Run(configuration.data / "clip.pt", configuration.clip_budget, configuration.seed, **parts)
    dataset = data.load(configuration.data, "train")
    targets = data.labels(dataset.scenes)
    ids = tokenise(tokenizer.load(configuration), [words for row in dataset.captions for words in row]).view(
        len(dataset), 4, -1
    )
    random = Random(f"{configuration.seed}/{run.steps}")
    batches = Batches(dataset, *configuration.clip_batch, random)
    forward = torch.compile(encoders) if configuration.compile else encoders
    while run.going():
        run.set_rate([optimizer], warm_up=100, hold=0.3)
        rows = batches.sample()
        batch_ids = ids[rows, torch.randint(0, 4, (len(rows),))]
        with torch.autocast("cpu", torch.bfloat16):
            text, image = forward(batch_ids, data.to_tensor(dataset.thumbnails[rows]))
        loss = _loss(encoders, text.float(), image.float(), {head: t[rows] for head, t in targets.items()})
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        torch.nn.utils.clip_grad_norm_(encoders.parameters(), 1.0)
        optimizer.step()
        average.update(run.steps)
        run.step(loss.item(), len(rows))
        run.save_now_and_then()
    if not run.is_finished:
        run.save(is_finished=True)


def _loss(encoders: Encoders, text: Tensor, image: Tensor, targets: dict[str, Tensor]) -> Tensor:
    scale = encoders.temperature.clamp(max=4.6).exp()
    scores = scale * F.normalize(text, dim=-1) @ F.normalize(image, dim=-1).T
    own = torch.arange(len(text))
    loss = (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2
    for heads, embedding in ((encoders.text_heads, text), (encoders.image_heads, image)):
        for head, target in targets.items():
            loss = loss + _HEAD_WEIGHT * F.cross_entropy(heads[head](embedding), target)
    return loss


def probe(embeddings: Tensor, labels: Tensor, classes: int) -> float:
    """Accuracy of a ridge-regression read-out: fitted on four fifths, measured on the last fifth.

    embeddings: (N, C); labels: (N,) class numbers.
    """
    x = (embeddings - embeddings.mean(0)) / (embeddings.std(0) + 1e-4)
    x = torch.cat([x, torch.ones(len(x), 1)], 1)
    train_count = int(0.8 * len(x))
    gram = x[:train_count].T @ x[:train_count] + torch.eye(x.shape[1])
    weights = torch.linalg.solve(gram, x[:train_count].T @ F.one_hot(labels[:train_count], classes).float())
    return float(((x[train_count:] @ weights).argmax(1) == labels[train_count:]).float().mean())


def object_labels(dataset: Dataset) -> tuple[list[int], Tensor]:
    """The rows with exactly one object, and the number of that object."""
    rows = [row for row, scene in enumerate(dataset.scenes) if len(scene.objects) == 1]
    return rows, torch.tensor([NAMES.index(dataset.scenes[row].objects[0]) for row in rows])
