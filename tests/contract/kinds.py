"""The generators under test, what each can do, and how to make a request to it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import numpy
import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline
from PIL import Image, ImageDraw

from core.catalog import Model
from core.generation import Generator, ImageRequest, Stopped
from core.parameters.job import Operation
from core.settings import Settings
from tests.image_requests import image_request, with_changes
from worker.generators import build
from worker.generators.operations import Task
from worker.generators.unclip.pipeline import UnclipPipeline
from worker.generators.unclip.prior import UnclipPrior
from worker.generators.unclip.upscaler import UnclipUpscaler

from .pipelines import (
    SIDE_PX,
    a_tiny_flux,
    a_tiny_karlo,
    a_tiny_karlo_of_variations,
    a_tiny_sdxl,
    a_tiny_stable_diffusion,
    save_pipeline,
)

BUNDLED = Settings().models_dir / "unclip-mini"
OPERATIONS: dict[Task, Operation] = {
    "text-to-image": "generation",
    "image-to-image": "edit",
    "inpainting": "edit",
    "variation": "variation",
}
EVERY_TASK: tuple[Task, ...] = tuple(OPERATIONS)

Array = numpy.ndarray[Any, Any]


@dataclass
class RecordingReporter:
    """Records steps and previews; stops the generation at the step `stop_at`, if it is set."""

    stop_at: int | None = None
    looks: bool = False
    steps: list[tuple[int, int]] = field(default_factory=list)
    previews: list[Sequence[Image.Image]] = field(default_factory=list)
    call: Event = field(default_factory=Event)

    def step(self, step: int, total: int) -> None:
        self.steps.append((step, total))
        self.call.set()
        if step == self.stop_at:
            raise Stopped

    def preview(self, draw: Callable[[], Sequence[Image.Image]]) -> None:
        if self.looks:
            self.previews.append(draw())


def a_model(**changes: Any) -> Model:
    return Model(**({"id": "under-test", "generator": "diffusers_local", "sizes": ["32x32"]} | changes))


def a_diffusers_generator(folder: Path, **changes: Any) -> Any:
    return build(a_model(source=str(folder), **changes), Settings(device="cpu", torch_threads=1))


@dataclass(frozen=True)
class Kind:
    """A kind of generator: how it is made, what it can do, and how near to equal its images must be."""

    make: Callable[[Path], Generator]
    tasks: tuple[Task, ...]
    side_px: int = SIDE_PX
    tolerance: int = 2  # largest difference of a colour value, of 255, that a batch may make
    hears_negative_prompts: bool = True
    counts: Callable[[ImageRequest], int] = lambda request: round(request.steps * (request.strength or 1))


@dataclass(frozen=True)
class Artist:
    """A generator that is asked for one task."""

    name: str
    kind: Kind
    generator: Generator
    task: Task

    def request(self, prompt: str = "a red car", seed: int = 1, **changes: Any) -> ImageRequest:
        return a_request(self.task, self.kind.side_px, prompt, seed, **changes)

    def draw(self, *requests: ImageRequest) -> list[Array]:
        return [numpy.asarray(image, dtype=int) for image in self.generator.generate(requests, RecordingReporter())]


def a_request(
    task: Task, side: int = SIDE_PX, prompt: str = "a red car", seed: int = 1, **changes: Any
) -> ImageRequest:
    request = image_request(prompt, side=side, seed=seed)
    if task != "text-to-image":
        request = with_changes(request, operation=OPERATIONS[task], image=a_photo(side, seed))
    if task == "variation":
        request = with_changes(request, prompt="")
    if OPERATIONS[task] == "edit":
        request = with_changes(request, strength=0.75)
    if task == "inpainting":
        request = with_changes(request, mask=a_mask(side))
    return with_changes(request, **changes)


def a_photo(side: int, number: int = 0) -> Image.Image:
    """A disc before a sky, the colours and the place by the number; neither flat nor symmetric."""
    colours = ["tomato", "gold", "seagreen", "orchid", "sienna"]
    photo = Image.linear_gradient("L").resize((side, side))
    photo = Image.merge("RGB", [photo, photo.rotate(90), Image.new("L", (side, side), 40 * (number % 5))])
    centre = side * (4 + number % 4) / 10
    ImageDraw.Draw(photo).circle((centre, side / 2), side / 4, fill=colours[number % 5])
    return photo


def a_mask(side: int) -> Image.Image:
    """White in a box that is not in the middle and on no grid of latents."""
    mask = Image.new("L", (side, side))
    ImageDraw.Draw(mask).rectangle((side // 4 + 1, side // 8 + 1, side * 3 // 4 + 2, side * 5 // 8), fill=255)
    return mask


def _of_folder(pipe: Callable[[], Any], **changes: Any) -> Callable[[Path], Generator]:
    def make(place: Path) -> Generator:
        generator: Generator = a_diffusers_generator(save_pipeline(pipe(), place), **changes)
        return generator

    return make


def _bundled_model(place: Path) -> Generator:
    generator: Generator = a_diffusers_generator(BUNDLED, operations=["generation", "edit", "variation"])
    return generator


def _with_every_part() -> UnclipPipeline:
    """The bundled model with an untrained prior and upscaler."""
    torch.manual_seed(0)
    parts = UnclipPipeline.from_pretrained(BUNDLED).components
    return UnclipPipeline(**parts | {"prior": UnclipPrior(), "upscaler": UnclipUpscaler()})


_OTHER_STAGES = {"prior_num_inference_steps": 3, "super_res_num_inference_steps": 2}

KINDS: dict[str, Kind] = {
    "fake": Kind(
        lambda place: build(a_model(generator="fake"), Settings()),
        EVERY_TASK,
        side_px=64,
        tolerance=0,
        counts=lambda request: request.steps,
    ),
    "stable diffusion": Kind(_of_folder(a_tiny_stable_diffusion), ("text-to-image", "image-to-image", "inpainting")),
    "stable diffusion, image-to-image": Kind(
        _of_folder(lambda: a_tiny_stable_diffusion(StableDiffusionImg2ImgPipeline), operations=["edit"]),
        ("image-to-image", "inpainting"),
    ),
    "stable diffusion, inpainting only": Kind(
        _of_folder(lambda: a_tiny_stable_diffusion(StableDiffusionInpaintPipeline, channels=9), operations=["edit"]),
        ("inpainting",),
    ),
    "stable diffusion xl": Kind(_of_folder(a_tiny_sdxl), ("text-to-image", "image-to-image", "inpainting")),
    "flux": Kind(
        _of_folder(a_tiny_flux),
        ("text-to-image", "image-to-image", "inpainting"),
        hears_negative_prompts=False,
    ),
    "karlo": Kind(
        _of_folder(a_tiny_karlo, options=_OTHER_STAGES),
        ("text-to-image",),
        hears_negative_prompts=False,
        counts=lambda request: request.steps + sum(_OTHER_STAGES.values()),
    ),
    "karlo of variations": Kind(
        _of_folder(a_tiny_karlo_of_variations, operations=["variation"], options={"super_res_num_inference_steps": 2}),
        ("variation",),
        hears_negative_prompts=False,
        counts=lambda request: request.steps + 2,
    ),
    "unclip-mini": Kind(_bundled_model, EVERY_TASK, side_px=128),
    "unclip-mini with every part": Kind(_of_folder(_with_every_part), ("text-to-image", "inpainting"), side_px=256),
}


def artists(*tasks: Task) -> list[tuple[str, Task]]:
    """Every generator, once for each of the tasks it can do; all tasks if none is named."""
    return [(name, task) for name, kind in KINDS.items() for task in kind.tasks if task in (tasks or EVERY_TASK)]
