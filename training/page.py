"""Lays images out on a page, with words: rows and columns, captions, heat maps, numbers. Draws nothing of its own."""

from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from training.scenes import SIDE_PX

GAP_PX = 6
_LINE_PX = 17


def image(pixels: Tensor) -> Image.Image:
    """(3, H, W) in [-1, 1]."""
    return Image.fromarray((pixels.clamp(-1, 1).permute(1, 2, 0) * 127.5 + 127.5).round().byte().numpy())


def channels(latents: Tensor) -> Image.Image:
    """Three latent channels as red, green and blue; a standard deviation is a third of the way from grey."""
    return image(latents / 3).resize((SIDE_PX, SIDE_PX), Image.Resampling.NEAREST)


def mosaic(latents: Tensor) -> Image.Image:
    """Eight latent channels, (8, 16, 16), in two columns of four."""
    grid = latents.view(4, 2, 16, 16).permute(0, 2, 1, 3).reshape(64, 32)
    grey = image(grid.expand(3, -1, -1) / 3).resize((SIDE_PX // 2, SIDE_PX), Image.Resampling.NEAREST)
    page = Image.new("RGB", (SIDE_PX, SIDE_PX), "white")
    page.paste(grey, (SIDE_PX // 4, 0))
    return page


def heat(weights: Tensor, below: Image.Image) -> Image.Image:
    """A grid of weights over a dimmed image: bright where they are large."""
    normalised = (weights - weights.min()) / (weights.max() - weights.min())
    grid = Image.fromarray((normalised * 255).byte().numpy())
    mask = grid.resize(below.size, Image.Resampling.BICUBIC)
    return Image.composite(below, below.point([value // 5 for value in range(256)] * 3), mask)


def number(value: float) -> Image.Image:
    """A number from 0 to 1 on a shade of orange; below 0 on white."""
    strong = max(0.0, min(1.0, value))
    page = Image.new("RGB", (SIDE_PX, 38), (255, round(255 - 110 * strong), round(255 - 215 * strong)))
    ImageDraw.Draw(page).text((SIDE_PX // 2, 19), f"{value:.2f}", fill="black", font=_font(), anchor="mm")
    return page


def sheet(rows: Sequence[Sequence[Image.Image]], top: Sequence[str] = (), left: Sequence[str] = ()) -> Image.Image:
    """Images of one width in rows and columns, with words above the columns and before the rows."""
    heads, sides = [_wrap(words, 19) for words in top], [_wrap(words, 14) for words in left or [""] * len(rows)]
    head = 4 + _LINE_PX * max(words.count("\n") + 1 for words in heads) if heads else 0
    side = max(_width(words) for words in sides)
    pitch, heights = SIDE_PX + GAP_PX, [max(cell.height for cell in row) for row in rows]
    size = (side + len(rows[0]) * pitch - GAP_PX, head + sum(heights) + GAP_PX * (len(rows) - 1))
    page = Image.new("RGB", size, "white")
    pen, y = ImageDraw.Draw(page), head
    for column, words in enumerate(heads):
        middle = (side + column * pitch + SIDE_PX // 2, head // 2)
        pen.multiline_text(middle, words, fill="black", font=_font(), anchor="mm", align="center")
    for row, words, height in zip(rows, sides, heights, strict=True):
        pen.multiline_text((0, y + height // 2), words, fill="black", font=_font(), anchor="lm")
        for column, cell in enumerate(row):
            page.paste(cell, (side + column * pitch, y))
        y += height + GAP_PX
    return page


def tiles(images: Sequence[Image.Image], words: Sequence[str], columns: int) -> Image.Image:
    """Images with a caption above each, so many in a row."""
    starts = range(0, len(images), columns)
    rows = [sheet([images[start : start + columns]], words[start : start + columns]) for start in starts]
    page = Image.new("RGB", (rows[0].width, sum(row.height + GAP_PX for row in rows) - GAP_PX), "white")
    y = 0
    for row in rows:
        page.paste(row, (0, y))
        y += row.height + GAP_PX
    return page


def _font() -> Any:
    return ImageFont.load_default(14)


def _wrap(words: str, letters: int) -> str:
    lines = [""]
    for word in words.split():
        if lines[-1] and len(lines[-1]) + len(word) > letters:
            lines.append("")
        lines[-1] += word + " "
    return "\n".join(line.strip() for line in lines)


def _width(words: str) -> int:
    return 8 + max(round(_font().getlength(line)) for line in words.split("\n")) if words else 0
