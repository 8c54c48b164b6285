"""`python -m training.new_word`: fine-tunes the bundled model on twelve images of a word that it does not know.

The images are of an object that the judge can name, under the new word. They are drawn by the model itself, in four
places. After the training, the judge names what the model draws for the word in those and in two further places, and
whether another object is still drawn as before. The training is that of fine-tuning jobs. It needs the judge:
`python -m training data judge`.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from core.catalog import load_catalog
from core.fine_tuning.hyperparameters import Hyperparameters, complete
from core.fine_tuning.requests import HyperparametersRequest
from core.settings import Settings
from training import data, judge
from training.configuration import DEFAULT_DATA, Configuration
from training.scenes import NAMES
from worker.generators.fine_tuning.trainer import Trainer
from worker.generators.unclip.pipeline import UnclipPipeline

WORD, OBJECT, OTHER = "zorble", "penguin", "dog"
LEARNT_PLACES = ("on the grass", "on the beach", "in the snow", "in the city")
NEW_PLACES = ("in the forest", "in the desert")
STEPS = 10
MODEL = "unclip-mini"


def open_pipeline(settings: Settings) -> UnclipPipeline:
    """The bundled model."""
    pipeline = UnclipPipeline.from_pretrained(settings.models_dir / MODEL)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def draw(pipeline: UnclipPipeline, prompts: Sequence[str], first_seed: int = 0) -> list[Image.Image]:
    """An image for each prompt, with consecutive seeds."""
    generators = [torch.Generator().manual_seed(first_seed + number) for number in range(len(prompts))]
    images: list[Image.Image] = pipeline(
        list(prompts), generator=generators, num_inference_steps=STEPS, return_dict=False
    )[0]
    return images


def examples(pipeline: UnclipPipeline) -> list[tuple[Image.Image, str]]:
    """Twelve images of the object, with captions that call it by the new word."""
    places = [place for place in LEARNT_PLACES for _ in range(3)]
    images = draw(pipeline, [f"a {OBJECT} {place}" for place in places], first_seed=1000)
    return [(image, f"a {WORD} {place}") for image, place in zip(images, places, strict=True)]


def hyperparameters(settings: Settings, steps: int | None = None) -> Hyperparameters:
    """Those of the catalogue, perhaps with another number of steps."""
    model = load_catalog(settings.catalog_path).model(MODEL)
    return complete(HyperparametersRequest(steps=steps), model, 12)


def train(settings: Settings, pairs: Sequence[tuple[Image.Image, str]], values: Hyperparameters, path: Path) -> float:
    """Train a LoRA and write it. Returns the seconds of the steps."""
    trainer = Trainer(load_catalog(settings.catalog_path).model(MODEL), settings, values, seed=1)
    trainer.encode(pairs)
    start = time.monotonic()
    while trainer.step < values.steps:
        trainer.train_step()
    seconds = time.monotonic() - start
    trainer.save_lora(path)
    trainer.close()
    return seconds


def apply(pipeline: UnclipPipeline, path: Path) -> None:
    """Load a LoRA into the pipeline."""
    pipeline.load_lora_weights(path.parent, path.name, "new_word")
    pipeline.set_adapters(["new_word"], [1.0])


@torch.no_grad()
def share(network: judge.Judge, images: Sequence[Image.Image], name: str) -> float:
    """In which share of the images the judge names an object."""
    thumbnails = np.stack([np.asarray(image.reduce(2)) for image in images])
    objects = network(data.to_tensor(thumbnails))["object"].argmax(1)
    return sum(NAMES.index(name) == int(row) for row in objects) / len(images)


def main() -> None:
    """Train, draw and print the judge's table."""
    parser = argparse.ArgumentParser(prog="python -m training.new_word", description=__doc__)
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="working folder, which has the judge")
    parser.add_argument("--steps", type=int, help="steps of the training; default: the catalogue's")
    parser.add_argument("--count", type=int, default=8, help="images for each place")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    network = judge.load(Configuration(data=arguments.data))
    settings = Settings(torch_threads=1)
    pipeline = open_pipeline(settings)
    values = hyperparameters(settings, arguments.steps)

    def report(title: str) -> None:
        for places, kind in ((LEARNT_PLACES, "places of the twelve images"), (NEW_PLACES, "new places")):
            shown_places = [place for place in places for _ in range(arguments.count)]
            for word, name in ((WORD, OBJECT), (OTHER, OTHER)):
                images = draw(pipeline, [f"a {word} {place}" for place in shown_places])
                print(f"{title}, {kind}: 'a {word}' is a {name} in {share(network, images, name):.0%} of {len(images)}")

    report("before")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "lora.safetensors"
        seconds = train(settings, examples(pipeline), values, path)
        print(f"trained {values.steps} steps of {values.batch_size} images, rank {values.rank}: {seconds:.0f} s")
        apply(pipeline, path)
    report("after")


if __name__ == "__main__":
    main()
