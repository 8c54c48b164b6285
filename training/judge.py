"""The judge: a small convolutional network that names object, place and time in an image of 64 px.

It never sees CLIP, the autoencoder or the decoder, so its verdict on generated images is independent of them. It is
trained on composed images, shifted, blurred and noised, so that it reads imperfect images as a person would.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

import torch
import torch.nn.functional as F  # the name every torch reader knows
from torch import Tensor, nn
from torch.optim import AdamW

from training import data
from training.configuration import Configuration
from training.data import HEADS
from training.loop import Run, channels_last
from training.scenes import NAMES, Scene
from training.vocabulary import OUTDOORS, PLACES, TIMES

_BATCH = 64


class Judge(nn.Module):
    """Four strided stages, mean and maximum pooling, one linear layer per question."""

    def __init__(self, channels: tuple[int, ...] = (32, 64, 128, 192)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 3
        for out in channels:
            for into, stride in ((width, 2), (out, 1)):
                layers += [nn.Conv2d(into, out, 3, stride, 1), nn.BatchNorm2d(out), nn.ReLU()]
            width = out
        self.features = nn.Sequential(*layers)
        self.heads = nn.ModuleDict({head: nn.Linear(2 * width, classes) for head, classes in HEADS.items()})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(N, 3, 64, 64) in [-1, 1] to scores (N, classes) per question."""
        features = self.features(images)
        pooled = torch.cat([features.mean((2, 3)), features.amax((2, 3))], 1)
        return {head: layer(pooled).float() for head, layer in self.heads.items()}


@dataclass(frozen=True)
class Verdict:
    """Top-1 accuracies over `count` single-object images; that of the time over those outdoors."""

    object: float
    place: float
    time: float
    count: int


def load(configuration: Configuration) -> Judge:
    network = channels_last(Judge())
    state = torch.load(configuration.data / "judge.pt", map_location="cpu", weights_only=True)
    network.load_state_dict(state["network"])
    return network.eval()


def train(configuration: Configuration) -> None:
    """Train within the budget, store as judge.pt, and print the verdict on real held-out pairs."""
    torch.manual_seed(configuration.seed)
    network = channels_last(Judge())
    optimizer = AdamW([{"params": network.parameters(), "base_lr": 2e-3}], weight_decay=0.01)
    path = configuration.data / "judge.pt"
    run = Run(path, configuration.judge_budget, configuration.seed, network=network, optimizer=optimizer)
    dataset = data.load(configuration.data, "train")
    targets = data.labels(dataset.scenes)
    random = Random(f"{configuration.seed}/{run.steps}")
    while run.going():
        run.set_rate([optimizer], warm_up=50, hold=0.2)
        rows = random.sample(range(len(dataset)), _BATCH)
        images = _spoil(data.to_tensor(dataset.thumbnails[rows]), random)
        with torch.autocast("cpu", torch.bfloat16):
            scores = network(images.contiguous(memory_format=torch.channels_last))
        loss = sum((F.cross_entropy(scores[head], target[rows]) for head, target in targets.items()), torch.tensor(0.0))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
        run.step(loss.item(), _BATCH)
        run.save_now_and_then()
    if not run.is_finished:
        run.save(is_finished=True)
    test_set = data.load(configuration.data, "held")
    result = verdict(load(configuration), data.to_tensor(test_set.thumbnails[:]), test_set.scenes)
    print("judge on real held-out pairs:", result)


def _spoil(images: Tensor, random: Random) -> Tensor:
    """Shift by up to 3 px, add noise, and blur every other batch."""
    images = torch.roll(images, (random.randint(-3, 3), random.randint(-3, 3)), (2, 3))
    images = images + torch.randn_like(images) * torch.rand(len(images), 1, 1, 1) * 0.2
    if random.random() < 0.5:
        side = random.choice((24, 32, 48))
        small = F.interpolate(images, size=(side, side), mode="bilinear", antialias=True)
        images = F.interpolate(small, size=(64, 64), mode="bicubic", antialias=True)
    return images


@torch.no_grad()
def verdict(network: Judge, images: Tensor, scenes: list[Scene]) -> Verdict:
    """Compare the judge's classes for images (N, 3, 64, 64) with their scenes; single objects only."""
    batches = [network(batch) for batch in torch.split(images, 250)]
    objects, places, times = (
        torch.cat([batch[head].argmax(1) for batch in batches]) for head in HEADS if head != "palette"
    )
    single = [row for row, scene in enumerate(scenes) if len(scene.objects) == 1]
    outdoors = [row for row in single if scenes[row].place in OUTDOORS]
    return Verdict(
        object=_share(NAMES.index(scenes[row].objects[0]) == int(objects[row]) for row in single),
        place=_share(PLACES.index(scenes[row].place) == int(places[row]) for row in single),
        time=_share(TIMES.index(scenes[row].time) == int(times[row]) for row in outdoors),
        count=len(single),
    )


def _share(hits: Iterable[bool]) -> float:
    values = list(hits)
    return round(sum(values) / len(values), 3)
