"""Draws the images of docs/model.md: `python -m training.illustrate --out docs/images`. Seeds and prompts are fixed.

Needs the trained model and, the first time, the artwork of `training data` to compose images from; those are kept
beside the others as composed.webp. `Studio.walk` is the sampler of the bundled model in twenty lines: from text or an
image embedding, no prior, nothing refused. The one that serves requests is worker/generators/unclip/pipeline.py.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # the name every torch reader knows
from PIL import Image, ImageDraw
from torch import Tensor

from training import artwork, configuration, data, scenes
from training.page import channels, heat, image, mosaic, number, sheet, tiles
from training.scenes import SIDE_PX, Painter, Pixels
from worker.generators.unclip.conditioning import Text, look, read
from worker.generators.unclip.networks import Attention
from worker.generators.unclip.pipeline import UnclipPipeline

STEPS = 18
GUIDANCE = 5.0
CAT = "A cat sitting on a sofa."
COMPOSED = (("cat", "sofa", 3), ("robot", "beach", 4), ("rocket", "space", 1))
"""Object, place and seed of the images that are composed from artwork, not drawn by the model."""


@dataclass(frozen=True)
class Studio:
    """The model, and the composed images, (3, 3, 128, 128) in [-1, 1]."""

    pipe: UnclipPipeline
    composed: Tensor

    def read(self, prompts: Sequence[str]) -> Text:
        return read(prompts, self.pipe.tokenizer, self.pipe.text_encoder, torch.device("cpu"))

    def look(self, images: Sequence[Image.Image]) -> Tensor:
        """CLIP image embeddings (N, E)."""
        return look(images, self.pipe.image_encoder, torch.device("cpu"))

    def decoded(self, latents: Tensor) -> list[Image.Image]:
        return [image(pixels) for pixels in self.pipe.vae.decode(latents)]

    def times(self) -> Tensor:
        """The times that the sampler visits, from 1 down to 0; (STEPS + 1,)."""
        self.pipe.scheduler.set_timesteps(sigmas=np.linspace(1, 1 / STEPS, STEPS))
        times: Tensor = self.pipe.scheduler.sigmas
        return times

    def walk(
        self,
        text: Text,
        latents: Tensor,
        *,
        guidance: float = GUIDANCE,
        image_embeds: Tensor | None = None,
        seen: Callable[[Tensor, Tensor], None] = lambda latents, clean: None,
    ) -> Tensor:
        """From noise (N, 8, 16, 16) to the latents of images, by Euler steps along the guided flow.

        image_embeds: (N, E), what the images should resemble. seen: told the latents before each step, and the
        guess at the clean ones.
        """
        count, nothing = len(latents), self.read([""] * len(latents))
        states, mask, embeds = (
            torch.cat([getattr(nothing, name), getattr(text, name)]) for name in ("states", "mask", "embeds")
        )
        image = torch.zeros_like(text.embeds) if image_embeds is None else image_embeds
        has_image = torch.tensor([False] * count + [image_embeds is not None] * count)
        for now, then in pairwise(self.times()):
            both, time = torch.cat([latents, latents]), now.expand(2 * count)
            flow = self.pipe.decoder(both, time, states, mask, embeds, torch.cat([image, image]), has_image)
            without, towards = flow.chunk(2)
            scale = guidance if now < 0.97 else (1 + guidance) / 2
            flow = without + scale * (towards - without)
            seen(latents, latents - now * flow)
            latents = latents + (then - now) * flow
        return latents

    def draw(self, prompts: Sequence[str], seeds: Sequence[int], **options: Any) -> list[Image.Image]:
        return self.decoded(self.walk(self.read(prompts), noise(seeds), **options))


def noise(seeds: Sequence[int]) -> Tensor:
    """The noise that the pipeline starts from for these seeds; (N, 8, 16, 16)."""
    return torch.stack([torch.randn(8, 16, 16, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def forward(studio: Studio) -> Image.Image:
    """The forward process: latents of a composed image, and more and more noise; below, three of their channels."""
    times = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    latents, grain = studio.pipe.vae.encode(studio.composed[:1]), noise([0])
    mixed = [(1 - time) * latents + time * grain for time in times]
    rows = [[studio.decoded(latents)[0] for latents in mixed], [channels(latents[0, :3]) for latents in mixed]]
    return sheet(rows, [f"t = {time}" for time in times], ["decoded", "latents"])


def reverse(studio: Studio) -> Image.Image:
    """The reverse process: the latents on their way, and the guess at the end of the way."""
    way: list[tuple[Tensor, Tensor]] = []
    end = studio.walk(studio.read([CAT]), noise([1]), seen=lambda latents, clean: way.append((latents, clean)))
    way.append((end, end))
    steps, times = (0, 1, 3, 6, 9, 13, 18), studio.times()
    rows = [[studio.decoded(way[step][row])[0] for step in steps] for row in (0, 1)]
    return sheet(rows, [f"step {step}: t = {times[step]:.2f}" for step in steps], ["the latents", "guess at the end"])


def guidance(studio: Studio) -> Image.Image:
    """Guidance scales side by side."""
    scales = (1.0, 2.0, 3.0, 5.0, 8.0, 15.0)
    prompts = (CAT, "A red car in the city at night.", "A penguin on the beach.")
    columns = [studio.draw(prompts, (2, 2, 2), guidance=scale) for scale in scales]
    return sheet([list(row) for row in zip(*columns, strict=True)], [f"w = {scale:g}" for scale in scales], prompts)


def prompts(studio: Studio) -> Image.Image:
    """One seed; the object changes, then the place and the time."""
    objects = [f"A {name} on the grass." for name in ("cat", "dog", "robot", "rocket", "car")]
    places = [f"A cat {place}." for place in ("on the grass at night", "in the snow", "in space", "on a sofa")]
    words = [*objects, *places, "A cat on the beach at sunset."]
    return tiles(studio.draw(words, [3] * len(words)), words, 5)


def attention(studio: Studio) -> Image.Image:
    """Where in the image each word is looked up: weights of the text attention, mean over heads, layers and steps."""
    images: list[Image.Image] = []
    captions: list[str] = []
    words_by_prompt = {CAT: ("cat", "sitting", "sofa"), "A dog and a robot on the grass.": ("dog", "robot", "grass")}
    for prompt, words in words_by_prompt.items():
        weights: list[Tensor] = []
        hooks = [
            block.text_attention.register_forward_pre_hook(
                lambda module, args, store=weights: store.append(looked_up(module, *args))
            )
            for block in studio.pipe.decoder.blocks
        ]
        result = studio.draw([prompt], [1])[0]
        for hook in hooks:
            hook.remove()
        maps = torch.stack([weight[-1].mean(0) for weight in weights]).mean(0).T.view(-1, 8, 8)  # (T, 8, 8)
        ids = studio.pipe.tokenizer(prompt).input_ids
        names = [studio.pipe.tokenizer.decode([token]).strip() for token in ids]
        places = [*(names.index(word) for word in words), len(ids) - 1]
        images += [result, *(heat(maps[place], result) for place in places)]
        captions += [prompt, *words, "(end)"]
    return tiles(images, captions, 5)


def looked_up(module: Attention, x: Tensor, text: Tensor, mask: Tensor) -> Tensor:
    """The weights that `Attention.forward` mixes the values with; (N, heads, L, T)."""
    query, key = module.query(x), module.key_value(text).chunk(2, -1)[0]
    query, key = (part.view(*part.shape[:2], module.heads, -1).transpose(1, 2) for part in (query, key))
    query, key = F.rms_norm(query, query.shape[-1:]), F.rms_norm(key, key.shape[-1:])
    weights: Tensor = (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5 + mask).softmax(-1)
    return weights


def autoencoder(studio: Studio) -> Image.Image:
    """There and back: the image, its eight latent channels, what comes back, and the error four times over."""
    latents = studio.pipe.vae.encode(studio.composed)
    back = studio.pipe.vae.decode(latents).clamp(-1, 1)
    rows, decibels = [], []
    for original, latent, output in zip(studio.composed, latents, back, strict=True):
        error = output - original
        rows.append([image(original), mosaic(latent), image(output), image(error.abs() * 4 - 1)])
        decibels.append(f"{-10 * float((error / 2).square().mean().log10()):.1f} dB")
    return sheet(rows, ["composed", "8 latent channels", "decoded", "4 x error"], decibels)


def interpolation(studio: Studio) -> Image.Image:
    """Between two prompts of one length, with one seed: each token's vector, and the pooled one alike."""
    pairs = (("A cat on the grass.", "A dog on the grass."), ("A house in the snow.", "A house in the desert."))
    shares = torch.linspace(0, 1, 7)
    rows = []
    for pair in pairs:
        text = studio.read(pair)
        states, embeds = (torch.stack([a.lerp(b, share) for share in shares]) for a, b in (text.states, text.embeds))
        between = Text(states, text.mask[:1].expand(len(shares), -1), embeds)
        rows.append(studio.decoded(studio.walk(between, noise([5]).expand(len(shares), -1, -1, -1))))
    left = [f"{start[:-1]}, to {end.lower()}" for start, end in pairs]
    return sheet(rows, [f"{share:.0%}" for share in shares], left)


def clip(studio: Studio) -> Image.Image:
    """Cosines between prompts and images that were drawn from them: what the contrastive loss pulls to a diagonal."""
    places = ("robot on the beach", "rocket in space", "red car in the city", "dog on the grass", "house in the snow")
    words = [CAT, *(f"A {place}." for place in places)]
    images = studio.draw(words, range(len(words)))
    texts, looks = F.normalize(studio.read(words).embeds, dim=-1), F.normalize(studio.look(images), dim=-1)
    rows = [images, *([number(float(value)) for value in row] for row in texts @ looks.T)]
    return sheet(rows, left=["", *words])


def variations(studio: Studio) -> Image.Image:
    """Composed images, and what is drawn from their CLIP image embeddings and no words."""
    seeds, rows = range(5), []
    for pixels in studio.composed:
        embeds = studio.look([image(pixels)]).expand(len(seeds), -1)
        images = studio.draw([""] * len(seeds), seeds, image_embeds=embeds)
        rows.append([image(pixels), *images])
    return sheet(rows, ["looked at", *(f"seed {seed}" for seed in seeds)])


def edit(studio: Studio) -> Image.Image:
    """Image-to-image: a composed image, drawn over with another prompt from ever further back."""
    strengths, prompt = (0.1, 0.2, 0.3, 0.5, 0.8, 1.0), "A dog sitting on a sofa."
    original = image(studio.composed[0])
    images = [_edit_images(studio, original, [prompt], strength=strength)[0] for strength in strengths]
    return sheet([[original, *images]], ["original", *(f"strength {strength:g}" for strength in strengths)], [prompt])


def inpainting(studio: Studio) -> Image.Image:
    """Only what is white in the mask is drawn; each step puts the rest of the original back."""
    original, mask = image(studio.composed[0]), Image.new("L", (SIDE_PX, SIDE_PX))
    ImageDraw.Draw(mask).rectangle((24, 8, 103, 87), fill=255)
    words = [f"A {name} on a sofa." for name in ("dog", "robot", "penguin", "rabbit")]
    images = _edit_images(studio, original, words, mask_image=mask, strength=1.0)
    return sheet([[original, mask.convert("RGB"), *images]], ["original", "mask", *words])


def _edit_images(studio: Studio, original: Image.Image, words: list[str], **options: Any) -> list[Image.Image]:
    """The pipeline itself, one seed for all."""
    seeds = [torch.Generator().manual_seed(1) for _ in words]
    images: list[Image.Image] = studio.pipe(words, image=original, generator=seeds, return_dict=False, **options)[0]
    return images


IMAGES: dict[str, Callable[[Studio], Image.Image]] = {
    draw.__name__: draw
    for draw in (
        forward, reverse, guidance, prompts, attention, autoencoder, interpolation, clip, variations, edit, inpainting,
    )
}  # fmt: skip


def compose(folder: Path) -> Pixels:
    """The composed images side by side, (128, 384, 3), from the artwork of a training folder."""
    painter = Painter(artwork.load(folder))
    described = [scenes.draw(Random(seed), pair=(name, place)) for name, place, seed in COMPOSED]
    return np.concatenate([painter.paint(scene) for scene in described], axis=1)


def open_studio(model: Path, composed: Path) -> Studio:
    """The model of a folder, and the composed images of a file."""
    pipe = UnclipPipeline.from_pretrained(model)
    pipe.set_progress_bar_config(disable=True)
    pixels = np.asarray(Image.open(composed).convert("RGB"))
    return Studio(pipe, data.to_tensor(np.stack(np.split(pixels, len(COMPOSED), axis=1))))


def main(words: Sequence[str] | None = None) -> None:
    """Read the command line and draw."""
    parser = argparse.ArgumentParser(prog="python -m training.illustrate", description=__doc__)
    parser.add_argument("images", nargs="*", metavar="image", help=f"of {', '.join(IMAGES)}; by default all")
    parser.add_argument("--out", type=Path, default=Path("docs/images"), help="folder to write to")
    parser.add_argument("--model", type=Path, default=Path("models/unclip-mini"), help="folder of the trained model")
    parser.add_argument("--data", type=Path, default=configuration.DEFAULT_DATA, help="where the artwork is")
    arguments = parser.parse_args(words)
    if unknown := set(arguments.images) - IMAGES.keys():
        parser.error(f"there is no image {', '.join(sorted(unknown))}")

    arguments.out.mkdir(parents=True, exist_ok=True)
    composed = arguments.out / "composed.webp"
    if not composed.exists():
        Image.fromarray(compose(arguments.data)).save(composed, lossless=True)
    studio = open_studio(arguments.model, composed)
    for name in arguments.images or IMAGES:
        with torch.inference_mode():
            IMAGES[name](studio).save(arguments.out / f"{name}.webp", quality=88, method=6)
        print(arguments.out / f"{name}.webp", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
