"""What a family of diffusers can do through the worker's own code, measured on a tiny pipeline with random weights."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import torch

from core.generation import ImagesRejected, Stopped
from core.generation_errors import GenerationError, GeneratorFailed
from tests.contract.kinds import Array, RecordingReporter, a_diffusers_generator, a_request
from tests.contract.pipelines import a_tiny_flux, a_tiny_sdxl, a_tiny_stable_diffusion, save_pipeline
from tests.image_requests import with_changes
from worker.generators.operations import Task

from . import pipelines

SIDE = 32
STEPS = 4
LARGEST_DIFFERENCE = 2
"""Of a colour value, of 255, that a batch may make."""


@dataclass(frozen=True)
class Family:
    """How a family's tiny pipeline is made."""

    make: Callable[[], Any]
    in_gate: bool = False
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """The capabilities of a family: a line of the table."""

    family: str
    pipeline: str
    edit: str
    inpaint: str
    previews: str
    neighbours: str  # which requests share a call
    difference: int  # the largest difference of a colour value between a batch of four and each image alone


# PixArt is trained for sizes of its own, and scales; the tiny one draws the size itself.
_NO_BINNING = {"use_resolution_binning": False}

FAMILIES: dict[str, Family] = {
    "Stable Diffusion 1.5": Family(a_tiny_stable_diffusion),
    "Stable Diffusion XL": Family(a_tiny_sdxl, in_gate=True),
    "Stable Diffusion 3": Family(pipelines.stable_diffusion_3, in_gate=True),
    "FLUX.1": Family(a_tiny_flux),
    "FLUX.1 Kontext": Family(pipelines.kontext, in_gate=True),
    "Chroma": Family(pipelines.chroma),
    "PixArt-α": Family(pipelines.pixart, options=_NO_BINNING),
    "PixArt-Σ": Family(pipelines.pixart_sigma, options=_NO_BINNING),
    "AuraFlow": Family(pipelines.auraflow),
    "Z-Image": Family(pipelines.z_image, in_gate=True),
    "Latent Consistency": Family(pipelines.latent_consistency),
    "Kandinsky 2.2": Family(pipelines.kandinsky_22, in_gate=True),
}


def measure(name: str, folder: Path) -> Row:
    """Try everything with a family. Raises AssertionError, or the error of what fails."""
    family = FAMILIES[name]
    path = save_pipeline(family.make(), folder)
    generator = a_diffusers_generator(path, operations=["generation", "edit"], options=family.options)
    request = a_request("text-to-image", SIDE, steps=STEPS)
    reporter = RecordingReporter(looks=True)
    (image,) = generator.generate([request], reporter)
    assert image.size == (SIDE, SIDE)
    assert numpy.asarray(image).std() > 1
    currents, totals = zip(*reporter.steps, strict=True)
    assert list(currents) == list(range(totals[-1] + 1)), "a step is missing in the progress"
    assert len(set(totals)) == 1
    _check_cancel(generator)
    _check_numbers(generator)
    return Row(
        name,
        type(generator._pipe).__name__,
        _task(generator, "image-to-image"),
        _task(generator, "inpainting"),
        "yes" if reporter.previews else "no",
        _neighbours(generator),
        _difference(generator),
    )


def _check_cancel(generator: Any) -> None:
    try:
        generator.generate([a_request("text-to-image", SIDE, steps=STEPS)], reporter := RecordingReporter(stop_at=2))
    except Stopped:
        assert [current for current, _ in reporter.steps] == [0, 1, 2]
    else:
        raise AssertionError("the call was not stopped")


def _check_numbers(generator: Any) -> None:
    """An image of broken numbers is an error, in the middle of a healthy model too."""
    components = generator._pipe.components
    decoder = (components.get("vae") or components["movq"]).decoder

    def overflow(module: torch.nn.Module, arguments: Any, output: torch.Tensor) -> torch.Tensor:
        return output * float("inf")

    handle = decoder.conv_out.register_forward_hook(overflow)
    try:
        generator.generate([a_request("text-to-image", SIDE, steps=2)], RecordingReporter())
    except ImagesRejected as rejection:
        (error,) = rejection.results
        assert isinstance(error, GeneratorFailed)
        assert "NaN" in error.message
    else:
        raise AssertionError("broken numbers became an image")
    finally:
        handle.remove()


def _task(generator: Any, task: Task) -> str:
    """`yes`; or `no` if diffusers has no pipeline for it."""
    request = a_request(task, SIDE, steps=STEPS)
    if task in _without_strength(generator):
        request = with_changes(request, strength=None)
    try:
        (image,) = generator.generate([request], RecordingReporter())
    except GenerationError as error:
        if "has no pipeline for it" in error.message:
            return "no"
        raise
    assert image.size == (SIDE, SIDE)
    return "yes"


def _without_strength(generator: Any) -> tuple[str, ...]:
    """The tasks in which the pipeline starts from noise and looks at the image only."""
    return ("image-to-image",) if "Kontext" in type(generator._pipe).__name__ else ()


def _neighbours(generator: Any) -> str:
    short, long = (a_request("text-to-image", SIDE, prompt) for prompt in ("a cat", "a much longer prompt than that"))
    keys = {generator.sharing_key(short), generator.sharing_key(long)}
    return "any prompt" if len(keys) == 1 else "the same prompt"


def _difference(generator: Any) -> int:
    request = a_request("text-to-image", SIDE, "a red car", steps=STEPS)
    requests = [with_changes(request, seed=seed) for seed in range(4)]
    if _neighbours(generator) == "any prompt":
        prompts = ("", "a red car", "three blue houses by the sea", "夜晚的城市")
        requests = [with_changes(each, prompt=prompt) for each, prompt in zip(requests, prompts, strict=True)]
    together = _arrays(generator, requests)
    alone = [_arrays(generator, [each])[0] for each in requests]
    return max(int(abs(one - other).max()) for one, other in zip(together, alone, strict=True))


def _arrays(generator: Any, requests: Any) -> list[Array]:
    return [numpy.asarray(image, dtype=int) for image in generator.generate(requests, RecordingReporter())]
