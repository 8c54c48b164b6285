"""Shows and measures what the model draws: a contact sheet of fixed prompts, and the judge's table.

Seeds and prompts are fixed and nothing is picked by hand. The table is over single-object scenes, the object and
place of each named by the judge; "held" are (object, place) pairs that training never saw.
"""

from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from training import artwork, captions, data, export, judge, scenes
from training.configuration import Configuration
from training.judge import Verdict
from training.scenes import NAMES, Painter, Scene
from training.vocabulary import PLACES, Language
from worker.generators.unclip.pipeline import UnclipPipeline

PROMPTS = (
    ("A cat sitting on a sofa.", ""),
    ("A futuristic cityscape at sunset.", ""),
    ("一只可爱的猫在草地上玩耍", "a cute cat playing on the grass"),
    ("A red car in the city at night", ""),
    ("一只熊猫在雪地里", "a panda in the snow"),
    ("A penguin on the beach", ""),
    ("A robot in the desert", ""),
    ("a dog and a cat on the grass", ""),
    ("A rocket in space", ""),
    ("日落时一艘帆船在海上", "a sailboat on the sea at sunset"),
    ("a balloon on a yellow background", ""),
    ("城堡在沙漠里", "a castle in the desert"),
    ("a small house in the snow", ""),
    ("An alien on a blue sofa", ""),
    ("一个机器人在沙滩上，夜晚", "a robot on the beach, at night"),
    ("a pizza on a table", ""),
)
_SEEDS = (0, 1)
_BATCH = 16

Pairs = Literal["seen", "held"]


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    pairs: Pairs
    drawn: str
    verdict: Verdict


def draw(pipeline: UnclipPipeline, prompts: list[str], seeds: list[int]) -> list[Image.Image]:
    """One picture a prompt and seed, with the pipeline's own settings."""
    pictures: list[Image.Image] = []
    for start in range(0, len(prompts), _BATCH):
        part = slice(start, start + _BATCH)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds[part]]
        pictures += pipeline(prompts[part], generator=generators, return_dict=False)[0]
    return pictures


def sheet(pipeline: UnclipPipeline) -> Image.Image:
    """Sixteen prompts, two seeds each."""
    prompts = [prompt for prompt, _ in PROMPTS for _ in _SEEDS]
    pictures = draw(pipeline, prompts, list(_SEEDS) * len(PROMPTS))
    page = Image.new("RGB", (4 * 264, 4 * 148), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(11)
    for index, (prompt, meaning) in enumerate(PROMPTS):
        x, y = index % 4 * 264, index // 4 * 148
        pen.text((x + 2, y + 1), f"[zh] {meaning}" if meaning else prompt, fill="black", font=font)
        for offset, picture in enumerate(pictures[2 * index : 2 * index + 2]):
            page.paste(picture, (x + 130 * offset + 1, y + 16))
    return page


def table(configuration: Configuration, pipeline: UnclipPipeline, count: int) -> list[Row]:
    """Draw `count` scenes for each language, of seen and of held-out pairs, and judge them all."""
    network = judge.load(configuration)
    painter = Painter(artwork.load(configuration.data, stand_in=configuration.tiny))
    languages: tuple[Language, ...] = ("en", "zh")
    kinds: tuple[Pairs, ...] = ("seen", "held")
    rows = []
    for kind in kinds:
        described = _described(Random(77), count, held=kind == "held")
        for language in languages:
            random = Random(78)
            prompts = [captions.caption(scene, random, language, complete=True) for scene in described]
            pictures = draw(pipeline, prompts, list(range(count)))
            rows.append(Row(kind, language, _judged(network, [np.asarray(p) for p in pictures], described)))
        real = [painter.paint(scene) for scene in described]
        rows.append(Row(kind, "real pictures", _judged(network, real, described)))
    return rows


def _described(random: Random, count: int, *, held: bool) -> list[Scene]:
    """Single-object scenes; every pair of its kind comes up once before any comes up again."""
    pairs = [(name, place) for name in NAMES for place in PLACES if scenes.held_out(name, place) == held]
    random.shuffle(pairs)
    return [scenes.draw(random, pair=pairs[index % len(pairs)]) for index in range(count)]


def _judged(network: judge.Judge, pictures: list[scenes.Pixels], described: list[Scene]) -> Verdict:
    thumbnails = np.stack([data.halved(picture) for picture in pictures])
    return judge.verdict(network, data.to_tensor(thumbnails), described)


def report(configuration: Configuration, path: Path, count: int = 240) -> list[Row]:
    """Write the contact sheet to `path`, print the table and return it."""
    pipeline = export.assemble(configuration)
    pipeline.set_progress_bar_config(disable=True)
    sheet(pipeline).save(path)
    rows = table(configuration, pipeline, count) if count else []
    for row in rows:
        seen = row.verdict
        print(
            f"{row.pairs:>5} {row.drawn:<14} object {seen.object:.3f} place {seen.place:.3f} n {seen.count}", flush=True
        )
    return rows
