"""The sprites: Noto emoji (Apache-2.0), fetched as an npm package and rendered once to RGBA arrays.

Does not compose images. Where the package cannot be had, `stand_ins` draws coloured shapes in its place, so
that the whole chain can be tested offline; such a model is for tests only.
"""

import colorsys
import io
import json
import math
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from training.vocabulary import THINGS

SIDE_PX = 256
PACKAGE = "@iconify-json/noto@1.2.9"

Sprites = dict[str, Image.Image]


def load(data: Path, *, stand_in: bool = False) -> Sprites:
    """Return one RGBA sprite of 256x256 px per object, from the cache in `data` or freshly rendered."""
    cache = data / ("stand-ins.npz" if stand_in else "sprites.npz")
    if not cache.exists():
        sprites = stand_ins() if stand_in else render(fetch(data / "npm"))
        data.mkdir(parents=True, exist_ok=True)
        np.savez(cache, **{name: np.asarray(image) for name, image in sprites.items()})  # type: ignore[arg-type]  # numpy's stub takes no **arrays
    arrays = np.load(cache)
    return {name: Image.fromarray(arrays[name]) for name in THINGS}


def fetch(folder: Path) -> Path:
    """Install the artwork package with npm and return the path of its icons.json."""
    icons = folder / "node_modules/@iconify-json/noto/icons.json"
    if not icons.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(  # noqa: S603  # fixed arguments
            ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", PACKAGE],  # noqa: S607  # wherever npm is
            cwd=folder,
            check=True,
        )
    return icons


def render(icons: Path) -> Sprites:
    """Rasterise every object's SVG, cropped to its ink, centred and standing on the lower edge."""
    collection = json.loads(icons.read_text())
    return {thing.name: _sprite(_svg(collection, thing.sprite)) for thing in THINGS.values()}


def _svg(collection: dict[str, Any], name: str) -> str:
    icon = collection["icons"][name]
    width = icon.get("width", collection.get("width", 16))
    height = icon.get("height", collection.get("height", 16))
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 {width} {height}">{icon["body"]}</svg>'
    )


def _sprite(svg: str) -> Image.Image:
    import resvg_py  # only training needs it, and only when artwork is rendered afresh

    png = resvg_py.svg_to_bytes(svg_string=svg, width=2 * SIDE_PX, height=2 * SIDE_PX)
    image = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
    image = image.crop(image.getbbox())
    side = max(image.size)
    square = Image.new("RGBA", (side, side))
    square.paste(image, ((side - image.width) // 2, side - image.height))
    return square.resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)


def stand_ins() -> Sprites:
    """Draw a polygon of its own colour and number of corners for every object."""
    sprites = {}
    for index, name in enumerate(THINGS):
        red, green, blue = colorsys.hsv_to_rgb(index / len(THINGS), 0.8, 0.9)
        colour = (int(255 * red), int(255 * green), int(255 * blue), 255)
        corners = 3 + index % 5
        points = [
            (128 + 120 * math.sin(2 * math.pi * k / corners), 128 - 120 * math.cos(2 * math.pi * k / corners))
            for k in range(corners)
        ]
        sprite = Image.new("RGBA", (SIDE_PX, SIDE_PX))
        ImageDraw.Draw(sprite).polygon(points, fill=colour, outline=(20, 20, 20, 255), width=10)
        sprites[name] = sprite
    return sprites
