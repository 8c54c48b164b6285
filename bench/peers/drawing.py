"""What each peer does for a prompt: draw with Safelight's own generator, encode, and write a file.

Environment: BENCH_MODEL, a model of the catalogue SAFELIGHT_CATALOG; BENCH_SIZE; BENCH_OUTPUT, the folder for images.
"""

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from uuid import uuid4

from bench.references import SilentReporter
from core.catalog import load_catalog
from core.generation import Generator, ImageRequest
from core.parameters.job import ResolvedParameters
from core.settings import Settings
from worker.generation.encode import encode, xmp
from worker.generators import build

SEED = 7


def requests(model_id: str, size: str, prompts: Sequence[str]) -> list[ImageRequest]:
    """The requests that a peer draws, with the defaults of the model."""
    model = load_catalog(Settings().catalog_path).model(model_id)
    parameters = ResolvedParameters(
        size=size, steps=model.steps.default, guidance_scale=model.guidance_scale.default, seed=SEED
    )
    return [ImageRequest(prompt, parameters) for prompt in prompts]


@cache
def generator() -> Generator:
    """The generator of the model, loaded."""
    settings = Settings()
    result = build(load_catalog(settings.catalog_path).model(os.environ["BENCH_MODEL"]), settings)
    result.load()
    return result


def draw(prompts: Sequence[str]) -> list[bytes]:
    """Draw one image per prompt in one micro-batch, and write each to a file. Returns PNG."""
    size, output = os.environ["BENCH_SIZE"], Path(os.environ["BENCH_OUTPUT"])
    images = generator().generate(requests(os.environ["BENCH_MODEL"], size, prompts), SilentReporter())
    files = []
    for prompt, image in zip(prompts, images, strict=True):
        files.append(encode(image, "png", None, xmp(prompt, "fake", SEED)))
        partial_file = output / f"{uuid4().hex}.partial"
        partial_file.write_bytes(files[-1])
        partial_file.rename(partial_file.with_suffix(".png"))
    return files
