"""The refiners of a model: a second denoiser of Stable Diffusion XL, which draws the last steps.

The first pass ends early and gives its latents, with which the refiner goes on. It shares the second text encoder and
the autoencoder of the model.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import StableDiffusionXLImg2ImgPipeline
from PIL import Image

from core.catalog import Model
from core.errors import first_line
from core.generation import ImageRequest, ProgressReporter
from core.generation_errors import GenerationError, ModelUnavailable
from core.model_files.weights import count_numbers
from core.parameters.refiner import Refiner, RefinerSpec
from worker.generators.call import call_parameters
from worker.generators.device_errors import raise_device_error
from worker.generators.digests import folder_sha256
from worker.generators.second_pass import Call, Draw, PassReporter, results_of, without_errors

_SHARED: Final = ("text_encoder_2", "tokenizer_2", "vae")


class Refiners:
    """The refiners of one model."""

    def __init__(self, model: Model, pipe: Any, models_dir: Path, device: torch.device, dtype: torch.dtype) -> None:
        """Load them.

        Raises ModelUnavailable if one is missing or does not fit the pipeline, OutOfMemory and DeviceFailed.
        """
        self._model = model
        self._models_dir = models_dir
        self._digests: dict[str, str] = {}
        if "denoising_end" not in call_parameters(pipe):
            raise ModelUnavailable(f"Model {model.id}: {type(pipe).__name__} takes no refiner; remove its `refiners`.")
        self._pipes = {spec.name: self._load(spec, pipe, device, dtype) for spec in model.refiners}

    @property
    def networks(self) -> Sequence[torch.nn.Module]:
        """The denoisers, for the memory that they take."""
        return [pipe.unet for pipe in self._pipes.values()]

    def digests(self, refiner: Refiner) -> dict[str, str]:
        """What a receipt says of a refiner: the SHA-256 of its files. Empty if the model has it no more."""
        sources = [spec.source for spec in self._model.refiners if spec.name == refiner.model]
        for source in sources:
            if source not in self._digests:
                self._digests[source] = folder_sha256(self._models_dir / source)
        return {f"refiner {refiner.model}": self._digests[source] for source in sources}

    def draw(
        self, draw: Draw, base: Any, requests: Sequence[ImageRequest], reporter: ProgressReporter
    ) -> Sequence[Image.Image]:
        """The images of requests with this refiner. base: the pipeline of the first steps. Raises ImagesRejected."""
        refiner = requests[0].parameters.refiner
        if refiner is None or refiner.model not in self._pipes:
            raise GenerationError(f"Model {self._model.id} has no such refiner any more.", param="refiner.model")
        pipe = self._pipes[refiner.model]
        first_reporter = _FirstStepsReporter(reporter)
        first = Call(keeps_latents=True, arguments={"denoising_end": refiner.switch_at})
        results = results_of(lambda: draw(requests, first_reporter, first))
        numbers = [number for number, result in enumerate(results) if not isinstance(result, GenerationError)]
        if numbers:
            # The same noise levels, between which the latents are handed over.
            pipe.scheduler = type(base.scheduler).from_config(base.scheduler.config)
            rest = [results[number] for number in numbers]
            second = Call(pipe=pipe, latents=rest, arguments={"denoising_start": refiner.switch_at})
            seconds = [_last_steps(requests[number]) for number in numbers]
            second_reporter = PassReporter(reporter, first_reporter.count, 0)
            for number, result in zip(numbers, results_of(lambda: draw(seconds, second_reporter, second)), strict=True):
                results[number] = result
        return without_errors(results)

    def _load(self, spec: RefinerSpec, pipe: Any, device: torch.device, dtype: torch.dtype) -> Any:
        folder = self._models_dir / spec.source
        path = folder / "model_index.json"
        try:
            name = json.loads(path.read_text("utf-8"))["_class_name"]
        except FileNotFoundError:
            raise self._error(spec, f"there is no {path}") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._error(spec, f"{path} is not valid: {error!r}") from None
        if name != StableDiffusionXLImg2ImgPipeline.__name__:
            raise self._error(spec, f"it is a {name}, not a {StableDiffusionXLImg2ImgPipeline.__name__}")
        try:
            refiner = StableDiffusionXLImg2ImgPipeline.from_pretrained(
                folder,
                dtype=dtype,
                use_safetensors=True,
                local_files_only=True,
                **{part: pipe.components[part] for part in _SHARED},
            )
            refiner.unet.to(device)
        except Exception as error:  # a broken folder can make the libraries raise anything
            raise_device_error(error, f"The refiner {spec.name!r} of model {self._model.id}")
            message = f"{folder} could not be loaded: {type(error).__name__}: {first_line(error)}"
            raise self._error(spec, message) from error
        refiner.set_progress_bar_config(disable=True)
        width, expected = pipe.text_encoder_2.config.hidden_size, refiner.unet.config.cross_attention_dim
        if width != expected:
            raise self._error(spec, f"it was trained for another text encoder (of {expected} numbers, not {width})")
        return refiner

    def _error(self, spec: RefinerSpec, reason: str) -> ModelUnavailable:
        return ModelUnavailable(f"Model {self._model.id}: the refiner {spec.name!r} cannot be used: {reason}.")


def estimated_bytes(model: Model, models_dir: Path, dtype: torch.dtype) -> int:
    """The memory that the denoisers of a model's refiners will take, from the headers of their files."""
    files = [path for spec in model.refiners for path in (models_dir / spec.source / "unet").glob("*.safetensors")]
    return sum(count_numbers(path) for path in files if path.name.count(".") == 1) * dtype.itemsize


def _last_steps(request: ImageRequest) -> ImageRequest:
    """The edit that draws the last steps. What belongs to the model's own denoiser is left out."""
    changes = {"refiner": None, "loras": None, "control": None, "reference_images": None, "strength": 1.0}
    return replace(
        request,
        parameters=request.parameters.model_copy(update=changes),
        operation="edit",
        image=Image.new("RGB", (request.width, request.height)),
        reference_images=(),
        control_images=(),
    )


class _FirstStepsReporter:
    """Reports the first steps of a pass that ends early, as steps of the whole. count: their number."""

    def __init__(self, reporter: ProgressReporter) -> None:
        self._reporter = reporter
        self.count = 0

    def step(self, current: int, total: int) -> None:
        if current < total:
            self.count = current + 1
            self._reporter.step(current, total)

    def preview(self, draw: Callable[[], Sequence[Image.Image]]) -> None:
        self._reporter.preview(draw)
