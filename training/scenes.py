"""What a training image shows: a random `Scene`, painted, and turned into labels.

Sprites stand on an 8-px grid, the autoencoder's stride, so an object has the same latents wherever it stands.
Every (object, place) pair whose hash falls in the held-out tenth is never trained on; it measures composition.
"""

import zlib
from dataclasses import asdict, dataclass
from random import Random
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from training import backgrounds
from training.artwork import Sprites
from training.vocabulary import OUTDOORS, PLACES, PLAIN_COLOURS, SOFA_COLOURS, THINGS, TIMES

SIDE_PX = 128
LATENT_STRIDE = 8
VARIANTS = 8
"""Fixed backgrounds per place, time and colour."""

Slot = Literal["left", "middle", "right"]
Pixels = npt.NDArray[np.uint8]

NAMES = tuple(THINGS)
PALETTES = ("none", "futuristic", *(f"plain {c}" for c in PLAIN_COLOURS), *(f"sofa {c}" for c in SOFA_COLOURS))


@dataclass(frozen=True)
class Scene:
    """A full description: painting it needs no further chance."""

    place: str
    time: str
    objects: tuple[str, ...]
    small: bool
    slot: Slot
    colour: str | None
    futuristic: bool
    variant: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Scene":
        return cls(**{**fields, "objects": tuple(fields["objects"])})

    @property
    def background(self) -> tuple[str, str, str | None, bool, int]:
        """Scenes with equal backgrounds differ in their objects alone."""
        return self.place, self.time, self.colour, self.futuristic, self.variant

    @property
    def palette(self) -> str:
        if self.futuristic:
            return "futuristic"
        return f"{self.place} {self.colour}" if self.colour else "none"


def held_out(name: str, place: str) -> bool:
    """Whether this pair is held out of training: one in ten is, chosen by its hash."""
    return zlib.crc32(f"{name}/{place}".encode()) % 10 == 0


def random_scene(random: Random, *, pair: tuple[str, str] | None = None, is_held_out: bool = False) -> Scene:
    """A random scene with a training pair, a held-out pair, or the (object, place) of `pair`."""
    objects: tuple[str, ...]
    if pair:
        objects, place = (pair[0],), pair[1]
    else:
        objects, place = _held_pair(random) if is_held_out else _training_objects(random)
    return _scene(random, objects, place)


def _held_pair(random: Random) -> tuple[tuple[str, ...], str]:
    while True:
        name, place = random.choice(NAMES), random.choice(PLACES)
        if held_out(name, place):
            return (name,), place


def _training_objects(random: Random) -> tuple[tuple[str, ...], str]:
    if random.random() < 0.08:
        return (), random.choice(("city", "city", "city", *PLACES[:-1]))
    while True:
        place = random.choice(PLACES)
        objects = _choose_objects(random)
        if not any(held_out(name, place) for name in objects):
            return objects, place


def _choose_objects(random: Random) -> tuple[str, ...]:
    """One object, mostly; else two different ones, or two or three alike."""
    chance = random.random()
    if chance < 0.08:
        return tuple(random.sample(NAMES, 2))
    return (random.choice(NAMES),) * (2 if chance < 0.12 else 3 if chance < 0.14 else 1)


def _scene(random: Random, objects: tuple[str, ...], place: str) -> Scene:
    colours = {"plain": PLAIN_COLOURS, "sofa": SOFA_COLOURS}.get(place)
    slots: tuple[Slot, ...] = ("left", "middle", "middle", "middle", "right")
    return Scene(
        place=place,
        time=random.choices(TIMES, (0.6, 0.2, 0.2))[0] if place in OUTDOORS else "day",
        objects=objects,
        small=len(objects) == 1 and random.random() < 0.12,
        slot="middle" if place in ("sofa", "table") else random.choice(slots),
        colour=random.choice(colours) if colours else None,
        futuristic=place == "city" and random.random() < 0.5,
        variant=random.randrange(VARIANTS),
    )


def boxes(scene: Scene, ground: int) -> list[tuple[int, int, int]]:
    """Where the sprites go: (left, top, side) in pixels, each a multiple of the latent stride."""
    side = {1: 48 if scene.small else 72, 2: 56, 3: 40}.get(len(scene.objects), 0)
    middle = (SIDE_PX - side) // 16 * 8
    lefts = {
        0: [],
        1: [{"left": 8, "middle": middle, "right": SIDE_PX - side - 8}[scene.slot]],
        2: [8, SIDE_PX - side - 8],
        3: [0, 40, 80],
    }[len(scene.objects)]
    return [
        (left, max(0, _foot(scene, name, side, ground) - side), side)
        for name, left in zip(scene.objects, lefts, strict=True)
    ]


def _foot(scene: Scene, name: str, side: int, ground: int) -> int:
    if scene.place in ("space", "plain"):
        return (64 + side // 2) // 8 * 8
    if THINGS[name].flies and scene.place not in ("sofa", "table"):
        return ground - 24
    return ground


class Painter:
    """Paints scenes; keeps backgrounds and resized sprites, so an image takes a third of a millisecond.

    scale: the side in units of 128 px; the same scene in more detail is what the upscaler learns from.
    """

    def __init__(self, sprites: Sprites, scale: int = 1) -> None:
        self._sprites = sprites
        self._scale = scale
        self._resized: dict[tuple[str, int], Image.Image] = {}
        self._backgrounds: dict[tuple[str, str, str | None, bool, int], tuple[Image.Image, int]] = {}

    def paint(self, scene: Scene) -> Pixels:
        """Return the image, (128 scale, 128 scale, 3) uint8."""
        background, ground = self._background(scene)
        image = background.copy()
        for name, box in zip(scene.objects, boxes(scene, ground), strict=True):
            left, top, side = (self._scale * value for value in box)
            sprite = self._sprite(name, side)
            image.paste(sprite, (left, top), sprite)
        return np.asarray(image)

    def mask(self, scene: Scene) -> Pixels:
        """Return where the objects are on the latent grid, (16, 16) of 0 and 1."""
        mask = np.zeros((SIDE_PX // LATENT_STRIDE,) * 2, np.uint8)
        for box in boxes(scene, self._background(scene)[1]):
            left, top, side = (value // LATENT_STRIDE for value in box)
            mask[top : top + side, left : left + side] = 1
        return mask

    def _background(self, scene: Scene) -> tuple[Image.Image, int]:
        key = scene.background
        if key not in self._backgrounds:
            self._backgrounds[key] = backgrounds.draw(
                scene.place,
                scene.time,
                colour=scene.colour,
                futuristic=scene.futuristic,
                random=Random(str(key)),
                scale=self._scale,
            )
        return self._backgrounds[key]

    def _sprite(self, name: str, side: int) -> Image.Image:
        if (name, side) not in self._resized:
            sprite = self._sprites[name].resize((side, side), Image.Resampling.LANCZOS)
            self._resized[name, side] = sprite
        return self._resized[name, side]
