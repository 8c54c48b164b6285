"""Shows and measures what the model generates: a contact sheet of fixed prompts, and the judge's table.

Seeds and prompts are fixed and nothing is picked by hand. The table is over single-object scenes, the object and
place of each named by the judge; "held" are (object, place) pairs that training never saw.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from training import artwork, captions, data, judge, scenes
from training.configuration import Configuration
from training.judge import Verdict
from training.scenes import NAMES, Painter, Scene
from training.vocabulary import PLACES, Language
from worker.generators.unclip.pipeline import NATIVE_PX, UnclipPipeline

PROMPTS = (
    ("A cat sitting on a sofa.", ""),
    ("A futuristic cityscape at sunset.", ""),
    ("一只可爱的猫在草地上玩耍", "a cute cat playing on the grass"),
    ("A red car in the city at night", ""),
    ("一只熊猫在雪地里", "a panda in the snow"),
    ("A penguin on the beach", ""),
    ("a happy robot in the desert, digital art", ""),
    ("a dog and a cat on the grass", ""),
    ("A rocket flying through space", ""),
    ("日落时一艘帆船在海上", "a sailboat on the sea at sunset"),
    ("a balloon on a yellow background", ""),
    ("城堡在沙漠里", "a castle in the desert"),
    ("two cats", ""),
    ("An alien on a blue sofa", ""),
    ("一个机器人在沙滩上，夜晚", "a robot on the beach, at night"),
    ("a pizza on a table", ""),
    ("未来城市的日落", "the sunset of a future city"),
    ("a dragon in the forest at midnight", ""),
    ("三只企鹅在雪地里", "three penguins in the snow"),
    ("a little house in the woods", ""),
    ("Please draw me a unicorn!", ""),
    ("森林里有一只狐狸", "there is a fox in the forest"),
    ("an elephant wearing a hat, watercolor, 4k", ""),
    ("生日蛋糕在桌子上", "a birthday cake on the table"),
    ("sunset over the ocean", ""),
    ("a train in a snowy landscape", ""),
    ("一辆摩托车在城市里", "a motorcycle in the city"),
    ("a hamburger and an ice cream on the beach", ""),
    ("A wolf in the mountains", ""),
    ("a flower in the garden", ""),
    ("外星人在月球上", "an alien on the moon"),
    ("the quick brown fox jumps over the lazy dog", ""),
)
_SEEDS = (0, 1)
_BATCH = 16
_SHEET_PX = 256

Pairs = Literal["seen", "held"]


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    pairs: Pairs
    kind: str  # a language, variations or real images
    verdict: Verdict


def generate(
    pipeline: UnclipPipeline, prompts: list[str], seeds: list[int], size: int = NATIVE_PX
) -> list[Image.Image]:
    """One image per prompt and seed, with the pipeline's own settings."""
    images: list[Image.Image] = []
    for start in range(0, len(prompts), _BATCH):
        part = slice(start, start + _BATCH)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds[part]]
        images += pipeline(prompts[part], generator=generators, height=size, width=size, return_dict=False)[0]
    return images


def vary(pipeline: UnclipPipeline, images: list[Image.Image], seeds: list[int]) -> list[Image.Image]:
    """One variation of each image, without a prompt."""
    variations: list[Image.Image] = []
    for start in range(0, len(images), _BATCH):
        part = slice(start, start + _BATCH)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds[part]]
        variations += pipeline(image=images[part], generator=generators, return_dict=False)[0]
    return variations


def sheet(pipeline: UnclipPipeline) -> Image.Image:
    """Thirty-two prompts, two seeds each, at 256 px."""
    prompts = [prompt for prompt, _ in PROMPTS for _ in _SEEDS]
    images = generate(pipeline, prompts, list(_SEEDS) * len(PROMPTS), _SHEET_PX)
    wide, high = 2 * _SHEET_PX + 16, _SHEET_PX + 32
    page = Image.new("RGB", (4 * wide, len(PROMPTS) // 4 * high), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(20)
    for index, (prompt, meaning) in enumerate(PROMPTS):
        x, y = index % 4 * wide, index // 4 * high
        pen.text((x + 4, y + 2), f"[zh] {meaning}" if meaning else prompt, fill="black", font=font)
        for offset, image in enumerate(images[2 * index : 2 * index + 2]):
            page.paste(image, (x + (_SHEET_PX + 4) * offset + 2, y + 28))
    return page


def table(configuration: Configuration, pipeline: UnclipPipeline, count: int) -> list[Row]:
    """Generate `count` scenes for each language, of seen and of held-out pairs, and judge them all."""
    network = judge.load(configuration)
    painter = Painter(artwork.load(configuration.data, stand_in=configuration.tiny))
    languages: tuple[Language, ...] = ("en", "zh")
    kinds: tuple[Pairs, ...] = ("seen", "held")
    rows = []
    for pairs in kinds:
        scene_list = _sample_scenes(Random(77), count, held_out=pairs == "held")
        for language in languages:
            random = Random(78)
            prompts = [captions.caption(scene, random, language, complete=True) for scene in scene_list]
            images = generate(pipeline, prompts, list(range(count)))
            rows.append(Row(pairs, language, _judged(network, [np.asarray(p) for p in images], scene_list)))
        real = [painter.paint(scene) for scene in scene_list]
        inputs = [Image.fromarray(image) for image in real]
        variations = [np.asarray(p) for p in vary(pipeline, inputs, list(range(count)))]
        rows.append(Row(pairs, "variations", _judged(network, variations, scene_list)))
        rows.append(Row(pairs, "real images", _judged(network, real, scene_list)))
    return rows


def _sample_scenes(random: Random, count: int, *, held_out: bool) -> list[Scene]:
    """Single-object scenes; every pair of its kind comes up once before any comes up again."""
    pairs = [(name, place) for name in NAMES for place in PLACES if scenes.held_out(name, place) == held_out]
    random.shuffle(pairs)
    return [scenes.random_scene(random, pair=pairs[index % len(pairs)]) for index in range(count)]


def _judged(network: judge.Judge, images: list[scenes.Pixels], scene_list: list[Scene]) -> Verdict:
    thumbnails = np.stack([data.halved(image) for image in images])
    return judge.verdict(network, data.to_tensor(thumbnails), scene_list)


def report(configuration: Configuration, model: Path, count: int = 250) -> list[Row]:
    """Write the contact sheet of a model folder to the working folder, print the judge's table and return it."""
    pipeline = UnclipPipeline.from_pretrained(model)
    pipeline.spread_over(len(os.sched_getaffinity(0)))
    pipeline.set_progress_bar_config(disable=True)
    sheet(pipeline).save(configuration.data / "contact-sheet.webp", quality=82)
    rows = table(configuration, pipeline, count) if count else []
    for row in rows:
        verdict = row.verdict
        print(
            f"{row.pairs:>5} {row.kind:<14} object {verdict.object:.3f} place {verdict.place:.3f} "
            f"time {verdict.time:.3f} n {verdict.count}",
            flush=True,
        )
    return rows
