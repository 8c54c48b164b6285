"""Composes the data set once and stores it: images as one uint8 array, scenes and captions as JSON lines.

Labels and object masks are not stored; they follow from the scenes. Two sets: "train", and "held" with the
(object, place) pairs that training never sees.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from training import artwork, captions, scenes
from training.configuration import Configuration
from training.scenes import NAMES, PALETTES, Painter, Pixels, Scene
from training.vocabulary import PLACES, TIMES, Language

Split = Literal["train", "held"]

_LANGUAGES: tuple[Language, ...] = ("en", "en", "zh", "zh")

HEADS = {"object": len(NAMES) + 1, "place": len(PLACES), "time": len(TIMES), "palette": len(PALETTES)}
"""Classes of each label. The last object class means "none"."""


@dataclass(frozen=True)
class Dataset:
    images: Pixels
    """(N, 128, 128, 3)."""
    thumbnails: Pixels
    """(N, 64, 64, 3): the same at half the size, as the judge and CLIP see them."""
    scenes: list[Scene]
    captions: list[tuple[str, str, str, str]]
    """Two English, two Chinese."""

    def __len__(self) -> int:
        return len(self.scenes)


def compose(configuration: Configuration) -> None:
    """Draw, paint and caption both sets, unless they are there already."""
    sprites = artwork.load(configuration.data, stand_in=configuration.tiny)
    painter = Painter(sprites)
    sizes: dict[Split, int] = {"train": configuration.images, "held": configuration.held_out_images}
    for split, size in sizes.items():
        if not _scenes_path(configuration.data, split).exists():
            _compose(configuration.data, split, size, painter, Random(f"{configuration.seed}/{split}"))


def _compose(folder: Path, split: Split, size: int, painter: Painter, random: Random) -> None:
    full = _create(folder / f"{split}.npy", (size, 128, 128, 3))
    half = _create(folder / f"{split}-64px.npy", (size, 64, 64, 3))
    lines = []
    for index in range(size):
        scene = scenes.random_scene(random, is_held_out=split == "held")
        full[index] = painter.paint(scene)
        half[index] = halved(full[index])
        words = [captions.caption(scene, random, language) for language in _LANGUAGES]
        lines.append(json.dumps({"scene": scene.as_json(), "captions": words}, ensure_ascii=False))
    for images in (full, half):
        images.flush()
    _scenes_path(folder, split).write_text("\n".join(lines) + "\n", encoding="utf-8")  # last: marks completion


def _create(path: Path, shape: tuple[int, ...]) -> "np.memmap[Any, np.dtype[np.uint8]]":
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)


def load(folder: Path, split: Split) -> Dataset:
    """Open a composed set; the images stay on disk, mapped into memory."""
    rows = [json.loads(line) for line in _scenes_path(folder, split).read_text(encoding="utf-8").splitlines()]
    return Dataset(
        images=np.load(folder / f"{split}.npy", mmap_mode="r"),
        thumbnails=np.load(folder / f"{split}-64px.npy", mmap_mode="r"),
        scenes=[Scene.from_json(row["scene"]) for row in rows],
        captions=[tuple(row["captions"]) for row in rows],
    )


def _scenes_path(folder: Path, split: Split) -> Path:
    return folder / f"{split}.jsonl"


def labels(scene_list: list[Scene]) -> dict[str, Tensor]:
    """Soft targets for every head, each (N, classes) summing to one; two objects share theirs."""
    targets = {head: torch.zeros(len(scene_list), classes) for head, classes in HEADS.items()}
    for row, scene in enumerate(scene_list):
        for name in scene.objects:
            targets["object"][row, NAMES.index(name)] += 1 / len(scene.objects)
        if not scene.objects:
            targets["object"][row, -1] = 1
        targets["place"][row, PLACES.index(scene.place)] = 1
        targets["time"][row, TIMES.index(scene.time)] = 1
        targets["palette"][row, PALETTES.index(scene.palette)] = 1
    return targets


def to_tensor(images: Pixels) -> Tensor:
    """Turn (N, H, W, 3) uint8 into (N, 3, H, W) float in [-1, 1], channels last."""
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def halved(image: Pixels) -> Pixels:
    """Return one image at half its size, each pixel the mean of four."""
    return np.asarray(Image.fromarray(image).reduce(2))
