"""What a family of diffusers can do through the worker's own code, measured on a tiny pipeline with random weights."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from core.generation import ImagesRejected, Stopped
from core.generation_errors import GenerationError, GeneratorFailed, OutOfMemory
from tests.contract.kinds import (
    OPERATIONS,
    Array,
    RecordingReporter,
    a_diffusers_generator,
    a_request,
)
from tests.contract.pipelines import (
    a_tiny_flux,
    a_tiny_flux2,
    a_tiny_karlo,
    a_tiny_sdxl,
    a_tiny_stable_diffusion,
    save_pipeline,
)
from tests.image_requests import with_changes
from worker.generators.denoiser import denoisers
from worker.generators.operations import Task

from . import chat, edits, glm, language, letters, pipelines, vision

STEPS = 4
PROMPTS = ("", "a red car", "three blue houses by the sea", "夜晚的城市")
LARGEST_DIFFERENCE = 2
"""Of a colour value, of 255, that a batch may make."""


@dataclass(frozen=True)
class Family:
    """How a family's tiny pipeline is made."""

    make: Callable[[], Any]
    in_gate: bool = False
    side: int = 32  # pixels
    options: dict[str, Any] = field(default_factory=dict)
    task: Task = "text-to-image"
    """What it is made for: most of the measurements are of this."""
    has_strength: bool = True
    """False: its edits start from noise and look at the image only."""


@dataclass(frozen=True)
class Row:
    """The capabilities of a family: a line of the table."""

    family: str
    pipeline: str
    generation: str
    edit: str
    inpaint: str
    variation: str
    previews: str
    loras: str
    guidance: str  # whether guidance_scale has an effect
    neighbours: str  # which requests share a call
    difference: int  # the largest difference of a colour value between a batch of four and each image alone


# PixArt is trained for sizes of its own, and scales; the tiny one draws the size itself.
_NO_BINNING = {"use_resolution_binning": False}
# Z-Image Omni encodes the images of an edit in this type, whatever that of its autoencoder is.
_BFLOAT16 = {"dtype": "bfloat16"}

FAMILIES: dict[str, Family] = {
    "Stable Diffusion 1.5": Family(a_tiny_stable_diffusion),
    "Stable Diffusion 2": Family(letters.stable_diffusion_2),
    "Stable Diffusion XL": Family(a_tiny_sdxl, in_gate=True),
    "Stable Diffusion 3": Family(pipelines.stable_diffusion_3, in_gate=True),
    "Stable Diffusion 3.5": Family(letters.stable_diffusion_3_5),
    "FLUX.1": Family(a_tiny_flux),
    "FLUX.1 Kontext": Family(pipelines.kontext, in_gate=True, has_strength=False),
    "FLUX.2 Klein": Family(a_tiny_flux2, side=64, has_strength=False),
    "Qwen-Image": Family(chat.qwen_image, in_gate=True),
    "Chroma": Family(pipelines.chroma),
    "PixArt-α": Family(pipelines.pixart, options=_NO_BINNING),
    "PixArt-Σ": Family(pipelines.pixart_sigma, options=_NO_BINNING),
    "AuraFlow": Family(pipelines.auraflow),
    "Z-Image": Family(pipelines.z_image, in_gate=True),
    "HiDream": Family(chat.hidream, side=256),
    "Hunyuan-Image 2.1": Family(chat.hunyuan_image),
    "Lumina 2": Family(chat.lumina_2),
    "Sana": Family(chat.sana, options=_NO_BINNING),
    "Sana Sprint": Family(chat.sana_sprint, options=_NO_BINNING),
    "Bria": Family(letters.bria),
    "Ovis": Family(chat.ovis),
    "Krea 2": Family(chat.krea_2),
    "CogView 3": Family(letters.cogview_3),
    "CogView 4": Family(chat.cogview_4),
    "DeepFloyd IF": Family(letters.deepfloyd_if),
    "Karlo": Family(a_tiny_karlo),
    "Latent Consistency": Family(pipelines.latent_consistency),
    "Kandinsky 2.2": Family(pipelines.kandinsky_22),
    "Kandinsky 3": Family(letters.kandinsky_3, side=64),
    "Stable Cascade": Family(letters.stable_cascade, side=128),
    "Bria Fibo": Family(language.bria_fibo),
    "DreamLite": Family(vision.dreamlite, side=64),
    "DreamLite Mobile": Family(vision.dreamlite_mobile, side=64),
    "ERNIE-Image": Family(language.ernie_image),
    "FLUX.1 Fill": Family(edits.flux_fill, task="inpainting"),
    "GLM-Image": Family(glm.glm_image),
    "Hunyuan-DiT": Family(language.hunyuan_dit, options=_NO_BINNING),
    "Ideogram 4": Family(language.ideogram_4, options={"max_sequence_length": 256}),
    "InstructPix2Pix": Family(edits.instruct_pix2pix, task="image-to-image", has_strength=False, in_gate=True),
    "InstructPix2Pix XL": Family(edits.instruct_pix2pix_xl, task="image-to-image", has_strength=False),
    "Kandinsky 5": Family(vision.kandinsky_5, side=1024),
    "Kandinsky 5 edit": Family(vision.kandinsky_5_edit, side=1024, task="image-to-image", has_strength=False),
    "LongCat-Image": Family(vision.longcat_image, options={"enable_prompt_rewrite": False}),
    "Kolors": Family(glm.kolors),
    "Lumina": Family(language.lumina),
    "Nucleus-Image": Family(vision.nucleus),
    "PRX": Family(language.prx, options=_NO_BINNING),
    "Qwen-Image-Edit": Family(vision.qwen_image_edit, task="image-to-image", has_strength=False),
    "Qwen-Image-Edit-Plus": Family(vision.qwen_image_edit_plus, task="image-to-image", has_strength=False),
    "Stable Diffusion inpainting": Family(edits.inpainting, task="inpainting"),
    "Z-Image Omni": Family(language.z_image_omni, side=64, options=_BFLOAT16, has_strength=False),
}


def measure(name: str, folder: Path) -> Row:
    """Try everything with a family. Raises AssertionError, or the error of what fails."""
    return Drawing(name, folder).measure()


class Drawing:
    """The generator of a family's tiny pipeline."""

    def __init__(self, name: str, folder: Path) -> None:
        family = FAMILIES[name]
        path = save_pipeline(family.make(), folder)
        self.name, self.side, self.family = name, family.side, family
        self.generator = a_diffusers_generator(
            path,
            operations=["generation", "edit", "variation"],
            options=family.options,
            sizes=[f"{self.side}x{self.side}"],
        )

    def measure(self) -> Row:
        reporter = RecordingReporter(looks=True)
        (image,) = self.generator.generate([self.request()], reporter)
        assert image.size == (self.side, self.side)
        assert numpy.asarray(image).std() > 1
        currents, totals = zip(*reporter.steps, strict=True)
        assert list(currents) == list(range(totals[-1] + 1)), "a step is missing in the progress"
        assert len(set(totals)) == 1
        self._check_cancel()
        self._check_numbers()
        self._check_memory()
        return Row(
            self.name,
            type(self.generator._pipe).__name__,
            self._task("text-to-image"),
            self._task("image-to-image"),
            self._task("inpainting"),
            self._task("variation"),
            "yes" if reporter.previews else "no",
            "yes" if hasattr(self.generator._pipe, "load_lora_weights") else "no",
            self._guidance(),
            self._neighbours(),
            self._difference(),
        )

    def request(self, task: Task | None = None, **changes: Any) -> Any:
        task = task or self.family.task
        request = a_request(task, self.side, steps=STEPS)
        if OPERATIONS[task] == "edit" and not self.family.has_strength:
            request = with_changes(request, strength=None)
        return with_changes(request, **changes)

    def reads_prompts_apart(self) -> bool:
        """Whether requests with several prompts may share a call."""
        prompts = ("a cat", "a much longer prompt than that")
        return len({self.generator.sharing_key(self.request(prompt=prompt)) for prompt in prompts}) == 1

    def _neighbours(self) -> str:
        if self.generator.sharing_key(self.request()) is None:
            return "none"
        return "any prompt" if self.reads_prompts_apart() else "the same prompt"

    def takes_negative_prompts(self) -> bool:
        """Whether a negative prompt is read, as the family's tiny pipeline is loaded."""
        try:
            self.generator.generate([self.request(negative_prompt="rain", steps=2)], RecordingReporter())
        except GenerationError as error:
            if error.param != "negative_prompt":
                raise
            return False
        return True

    def compare(self, requests: Sequence[Any]) -> int:
        """The largest difference of a colour value between images that share calls, as far as they may, and alone."""
        groups: dict[object, list[Any]] = {}
        for number, request in enumerate(requests):
            key = self.generator.sharing_key(request)
            groups.setdefault(number if key is None else ("shared", key), []).append(request)
        differences = [0]
        for group in groups.values():
            together = self._arrays(group) if len(group) > 1 else []
            for image, request in zip(together, group, strict=False):
                differences.append(int(abs(image - self._arrays([request])[0]).max()))
        return max(differences)

    def _check_memory(self) -> None:
        """A call that does not fit is told as such, and the next one works."""
        calls = 0

        def run_out(*_: Any) -> None:
            nonlocal calls
            calls += 1
            if calls == 1:
                raise torch.OutOfMemoryError

        handle = denoisers(self.generator._pipe)[-1].register_forward_pre_hook(run_out)
        try:
            with pytest.raises(OutOfMemory):
                self.generator.generate([self.request(steps=2)], RecordingReporter())
            (image,) = self.generator.generate([self.request(steps=2)], RecordingReporter())
        finally:
            handle.remove()
        assert image.size == (self.side, self.side)

    def _check_cancel(self) -> None:
        reporter = RecordingReporter(stop_at=2)
        with pytest.raises(Stopped):
            self.generator.generate([self.request()], reporter)
        assert [current for current, _ in reporter.steps] == [0, 1, 2]

    def _check_numbers(self) -> None:
        """An image of broken numbers is an error, in the middle of a healthy model too."""
        handle = _break(self.generator._pipe)
        try:
            with pytest.raises(ImagesRejected) as caught:
                self.generator.generate([self.request(steps=2)], RecordingReporter())
        finally:
            handle.remove()
        (error,) = caught.value.results
        assert isinstance(error, GeneratorFailed)
        assert "NaN" in error.message

    def _task(self, task: Task) -> str:
        """`yes`; `no` if diffusers has no pipeline for it; or `1024x1024` if it draws that area only."""
        try:
            (image,) = self.generator.generate([self.request(task)], RecordingReporter())
        except GenerationError as error:
            if "has no pipeline for it" in error.message:
                return "no"
            if error.param == "size" and "1024x1024 only" in error.message:
                return "1024x1024"
            raise
        assert image.size == (self.side, self.side)
        return "yes"

    def _guidance(self) -> str:
        """`yes` if `guidance_scale` changes the image; `no` if a notice says that it does not, or it is refused."""
        try:
            images = [self._arrays([self.request(guidance_scale=scale)])[0] for scale in (1.0, 9.0)]
        except GenerationError as error:
            if error.param == "guidance_scale":
                return "no"
            raise
        notices = self.generator.notices(self.request(guidance_scale=9.0))
        if "guidance_scale" in [notice.param for notice in notices]:
            assert (images[0] == images[1]).all()
            return "no"
        assert (images[0] != images[1]).any(), "guidance_scale is ignored"
        return "yes"

    def _difference(self) -> int:
        requests = [self.request(seed=seed) for seed in range(4)]
        if self.reads_prompts_apart():
            requests = [with_changes(each, prompt=prompt) for each, prompt in zip(requests, PROMPTS, strict=True)]
        return self.compare(requests)

    def _arrays(self, requests: Sequence[Any]) -> list[Array]:
        images = self.generator.generate(requests, RecordingReporter())
        return [numpy.asarray(image, dtype=int) for image in images]


def _break(pipe: Any) -> Any:
    """Let the decoder return infinities; a pipeline without a known one gets NaN from its last denoiser."""
    decoder = next((pipe.components[name].decoder for name in ("vae", "movq") if pipe.components.get(name)), None)
    if decoder is not None and hasattr(decoder, "conv_out"):
        return decoder.conv_out.register_forward_hook(lambda _module, _arguments, output: output * float("inf"))

    def spoil(_module: torch.nn.Module, _arguments: Any, output: Any) -> Any:
        tensor = output if isinstance(output, torch.Tensor) else output[0]
        tensor.mul_(float("nan"))
        return output

    return denoisers(pipe)[-1].register_forward_hook(spoil)
