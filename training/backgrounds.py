"""Draws the eleven places at three times of day, in flat colours. Knows nothing of objects or captions.

Everything is drawn at twice the size in 128-px coordinates and scaled down, so edges are smooth. Small details
(stars, windows) are kept at 3 px and more: the autoencoder cannot keep less.
"""

from collections.abc import Sequence
from random import Random

import numpy as np
from PIL import Image, ImageDraw

from training.vocabulary import RGB

SIDE_PX = 128
_OVER = 2

Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]


class Canvas:
    """An image under construction, in coordinates of 0 to 128."""

    def __init__(self, scale: int, top: Colour, bottom: Colour, horizon: int = SIDE_PX) -> None:
        self._unit = _OVER * scale
        rows = np.clip(np.arange(SIDE_PX * self._unit) / (horizon * self._unit - 1), 0, 1)[:, None, None]
        pixels = np.array(top) * (1 - rows) + np.array(bottom) * rows
        shape = (SIDE_PX * self._unit, SIDE_PX * self._unit, 3)
        self.image = Image.fromarray(np.broadcast_to(pixels, shape).round().astype(np.uint8))
        self.draw = ImageDraw.Draw(self.image)

    def rectangle(self, box: Box, fill: Colour, radius: float = 0) -> None:
        self.draw.rounded_rectangle([self._unit * v for v in box], radius * self._unit, fill=fill)

    def ellipse(self, box: Box, fill: Colour) -> None:
        self.draw.ellipse([self._unit * v for v in box], fill=fill)

    def disc(self, x: float, y: float, radius: float, fill: Colour) -> None:
        self.ellipse((x - radius, y - radius, x + radius, y + radius), fill)

    def polygon(self, points: Sequence[tuple[float, float]], fill: Colour) -> None:
        self.draw.polygon([(self._unit * x, self._unit * y) for x, y in points], fill=fill)

    def line(self, box: Box, fill: Colour, width: float) -> None:
        self.draw.line([self._unit * v for v in box], fill=fill, width=round(self._unit * width))

    def arc(self, box: Box, fill: Colour, width: float) -> None:
        self.draw.arc([self._unit * v for v in box], 200, 340, fill=fill, width=round(self._unit * width))

    def finish(self) -> Image.Image:
        return self.image.reduce(_OVER)


def draw(
    place: str, time: str, *, colour: str | None, futuristic: bool, random: Random, scale: int = 1
) -> tuple[Image.Image, int]:
    """Return the image (RGB, a square of 128 scale px) and the y at which things stand: 72 to 120, in eights."""
    match place:
        case "plain":
            shade = _near(random, RGB[colour or "white"], 8)
            canvas, ground = Canvas(scale, shade, shade), 104
        case "space":
            canvas, ground = _space(scale, random)
        case "sofa" | "table":
            canvas, ground = _indoors(scale, random, place, RGB[colour or "red"])
        case _:
            canvas, ground = _outdoors(scale, random, place, time, futuristic)
    return canvas.finish(), min(120, max(72, round(ground / 8) * 8))


def _near(random: Random, colour: Colour, deviation: int = 14) -> Colour:
    red, green, blue = (max(0, min(255, value + random.randint(-deviation, deviation))) for value in colour)
    return red, green, blue


def _lighten(colour: Colour, time: str) -> Colour:
    """The colour of a surface as the light of that time of day shows it."""
    if time == "day":
        return colour
    red, green, blue = colour
    if time == "sunset":
        return min(255, int(0.9 * red + 15)), int(0.72 * green), int(0.65 * blue)
    return int(0.42 * red), int(0.42 * green), int(0.42 * blue)


def _space(scale: int, random: Random) -> tuple[Canvas, int]:
    canvas = Canvas(scale, _near(random, (10, 8, 30), 6), _near(random, (35, 15, 70), 8))
    for _ in range(random.randint(16, 26)):
        canvas.disc(random.randint(2, 126), random.randint(2, 126), random.choice((1.2, 1.8)), (255, 255, 230))
    if random.random() < 0.6:
        x, y, radius = random.choice((18, 110)), random.randint(14, 30), random.randint(9, 15)
        canvas.disc(x, y, radius, random.choice(((200, 120, 70), (90, 140, 210), (190, 180, 140))))
    return canvas, 96


def _indoors(scale: int, random: Random, place: str, colour: Colour) -> tuple[Canvas, int]:
    wall = _near(random, random.choice(((235, 215, 190), (200, 220, 235), (225, 235, 210), (240, 210, 215))), 8)
    canvas = Canvas(scale, wall, wall)
    floor = random.randint(94, 100)
    canvas.rectangle((0, floor, 128, 128), _near(random, (165, 115, 75)))
    if random.random() < 0.6:
        x = random.choice((10, 88))
        canvas.rectangle((x, 10, x + 28, 40), (250, 250, 250))
        canvas.rectangle((x + 3, 13, x + 12, 37), (150, 205, 245))
        canvas.rectangle((x + 16, 13, x + 25, 37), (150, 205, 245))
    if random.random() < 0.4:
        x = random.choice((18, 106))
        canvas.rectangle((x - 1, 50, x + 1, floor), (90, 70, 60))
        canvas.polygon(((x - 9, 52), (x + 9, 52), (x + 5, 38), (x - 5, 38)), (255, 225, 130))
    return _sofa(canvas, _near(random, colour, 10)) if place == "sofa" else _table(canvas, random)


def _sofa(canvas: Canvas, colour: Colour) -> tuple[Canvas, int]:
    red, green, blue = colour
    shade = (int(0.78 * red), int(0.78 * green), int(0.78 * blue))
    canvas.rectangle((14, 52, 114, 104), shade, radius=9)
    canvas.rectangle((20, 80, 108, 104), colour, radius=5)
    canvas.line((64, 82, 64, 103), shade, 1.5)
    canvas.rectangle((8, 66, 24, 110), colour, radius=7)
    canvas.rectangle((104, 66, 120, 110), colour, radius=7)
    canvas.rectangle((14, 110, 20, 116), (70, 45, 30))
    canvas.rectangle((108, 110, 114, 116), (70, 45, 30))
    return canvas, 88


def _table(canvas: Canvas, random: Random) -> tuple[Canvas, int]:
    top = _near(random, (150, 95, 50))
    legs = (int(0.8 * top[0]), int(0.8 * top[1]), int(0.8 * top[2]))
    canvas.rectangle((22, 91, 29, 118), legs)
    canvas.rectangle((99, 91, 106, 118), legs)
    canvas.rectangle((14, 84, 114, 92), top)
    return canvas, 88


def _outdoors(scale: int, random: Random, place: str, time: str, futuristic: bool) -> tuple[Canvas, int]:
    horizon = random.randint(68, 82)
    canvas = _sky(scale, random, time, horizon)
    match place:
        case "city":
            _skyline(canvas, random, time, horizon + 8, futuristic)
            canvas.rectangle((0, horizon + 8, 128, 128), _lighten((105, 108, 115), time))
            return canvas, 112
        case "forest":
            canvas.rectangle((0, horizon, 128, 128), _lighten(_near(random, (70, 135, 60), 8), time))
            _woods(canvas, random, time, horizon)
            return canvas, 112
        case "sea":
            canvas.rectangle((0, horizon - 14, 128, 128), _lighten(_near(random, (40, 110, 190)), time))
            canvas.rectangle((0, 100, 128, 128), _lighten((28, 90, 170), time))
            for _ in range(random.randint(7, 11)):
                x, y = random.randint(4, 124), random.randint(horizon - 4, 124)
                canvas.arc((x - 7, y - 3, x + 7, y + 3), _lighten((170, 215, 245), time), 1.5)
            return canvas, 104
        case "beach":
            canvas.rectangle((0, horizon - 12, 128, horizon + 14), _lighten(_near(random, (50, 150, 215)), time))
            left, right = horizon + random.randint(0, 12), horizon + random.randint(0, 12)
            sand = _lighten(_near(random, (240, 215, 150), 8), time)
            canvas.polygon(((0, left), (128, right), (128, 128), (0, 128)), sand)
            return canvas, 112
    _hills(canvas, random, place, time, horizon)
    return canvas, 112


def _hills(canvas: Canvas, random: Random, place: str, time: str, horizon: int) -> None:
    surface: dict[str, Colour] = {"grass": (95, 180, 70), "snow": (240, 246, 252), "desert": (225, 175, 95)}
    ground = _lighten(_near(random, surface[place], 10), time)
    if place == "snow" and random.random() < 0.5:
        for _ in range(random.randint(2, 3)):
            x, half, height = random.randint(0, 128), random.randint(35, 60), random.randint(38, 58)
            peak = horizon - height
            rock = _lighten(_near(random, (110, 110, 125)), time)
            canvas.polygon(((x - half, horizon + 6), (x, peak), (x + half, horizon + 6)), rock)
            snow = ((x - half / 4, peak + height / 4), (x, peak), (x + half / 4, peak + height / 4))
            canvas.polygon(snow, _lighten((245, 248, 255), time))
    canvas.ellipse((-40, horizon - 8, 102, horizon + 50), ground)
    canvas.ellipse((38, horizon - 5, 178, horizon + 50), ground)
    canvas.rectangle((0, horizon + 6, 128, 128), ground)
    if place == "grass":
        for _ in range(random.randint(8, 14)):
            x, y = random.randint(2, 126), random.randint(horizon + 8, 126)
            canvas.line((x, y, x + random.randint(-2, 2), y - 5), _lighten((60, 145, 50), time), 1.5)
    if place == "snow":
        for _ in range(random.randint(10, 20)):
            canvas.disc(random.randint(0, 128), random.randint(0, 128), 1.7, (255, 255, 255))


def _woods(canvas: Canvas, random: Random, time: str, horizon: int) -> None:
    """Firs and round trees in two rows, the nearer ones larger, with a gap where things stand."""
    for row, half in ((0, 9), (1, 14)):
        for x in range(4 + 9 * row, 130, 15 + 8 * row):
            if row and 44 < x < 84:
                continue
            foot, height = horizon + 6 + 10 * row, 30 + 14 * row + random.randint(-5, 5)
            green = _lighten(_near(random, (45, 115, 60) if row else (35, 90, 55), 12), time)
            canvas.rectangle((x - 2, foot - 10, x + 2, foot + 4), _lighten((100, 70, 45), time))
            if random.random() < 0.6:
                for part in (0.0, 0.35):
                    top = foot - height + part * height * 0.6
                    outline = (
                        (x - half * (0.7 + part), top + 0.62 * height),
                        (x, top),
                        (x + half * (0.7 + part), top + 0.62 * height),
                    )
                    canvas.polygon(outline, green)
            else:
                canvas.disc(x, foot - 0.6 * height, half * 0.95, green)


def _sky(scale: int, random: Random, time: str, horizon: int) -> Canvas:
    if time == "day":
        canvas = Canvas(scale, _near(random, (110, 180, 240)), _near(random, (205, 232, 250)))
        for _ in range(random.randint(0, 3)):
            x, y, width = random.randint(10, 118), random.randint(8, horizon // 2), random.randint(10, 20)
            for k in (-1, 0, 1):
                middle = x + 0.6 * k * width
                canvas.ellipse((middle - width / 2, y - width / 4, middle + width / 2, y + width / 4), (250, 252, 255))
        if random.random() < 0.4:
            canvas.disc(random.randint(12, 116), random.randint(14, 28), 9, (255, 225, 70))
    elif time == "sunset":
        canvas = Canvas(scale, _near(random, (110, 60, 130)), _near(random, (255, 150, 60)), horizon)
        radius = random.randint(11, 18)
        canvas.disc(random.randint(20, 108), horizon - random.randint(2, 14), radius, (255, 225, 110))
    else:
        canvas = Canvas(scale, _near(random, (8, 10, 40), 6), _near(random, (30, 35, 90), 8), horizon)
        for _ in range(random.randint(10, 18)):
            canvas.disc(random.randint(2, 126), random.randint(2, horizon - 6), 1.5, (250, 250, 210))
        canvas.disc(random.randint(14, 114), random.randint(14, 26), 9, (245, 240, 200))
    return canvas


def _skyline(canvas: Canvas, random: Random, time: str, base: int, futuristic: bool) -> None:
    tones: dict[str, Colour] = {"day": (130, 145, 170), "sunset": (70, 40, 80), "night": (25, 25, 55)}
    neon: dict[str, Colour] = {"day": (90, 150, 190), "sunset": (60, 25, 95), "night": (25, 10, 70)}
    x = -4
    while x < 128:
        width = random.choice((16, 16, 24))
        top = base - random.randint(28, 66)
        colour = _near(random, (neon if futuristic else tones)[time], 14)
        shape = random.random() if futuristic else 1.0
        if shape < 0.35:
            spire = top - random.randint(10, 18)
            outline = ((x, base), (x + 2, top), (x + width / 2, spire), (x + width - 2, top), (x + width, base))
            canvas.polygon(outline, colour)
        elif shape < 0.6:
            canvas.rectangle((x, top, x + width, base + 20), colour, radius=width / 2)
        else:
            canvas.rectangle((x, top, x + width, base), colour)
        _windows(canvas, random, time, (x, top, x + width, base), futuristic)
        x += width + random.choice((0, 2))
    if futuristic:
        for _ in range(random.randint(1, 2)):
            x, y = random.randint(14, 114), random.randint(10, 20)
            canvas.ellipse((x - 9, y - 3, x + 9, y + 3), random.choice(((0, 255, 255), (255, 60, 220))))


def _windows(canvas: Canvas, random: Random, time: str, house: Box, futuristic: bool) -> None:
    left, top, right, base = house
    if futuristic:
        light: Colour = random.choice(((0, 255, 255), (255, 60, 220), (120, 255, 200)))
    else:
        light = (200, 225, 245) if time == "day" else (255, 220, 120)
    y = top + 7
    while y < base - 5:
        x = left + 3
        while x < right - 5:
            if random.random() < 0.55:
                canvas.rectangle((x, y, x + 3, y + 4), light)
            x += 7
        y += 9
