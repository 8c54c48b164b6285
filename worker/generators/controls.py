"""The control networks of a model: loaded with it, and combined with its pipelines for the requests that name them.

diffusers has a pipeline with a ControlNet for each task of some families. It is made from the model's own pipeline,
with which it shares all networks.
"""

import json
from collections.abc import Callable, Hashable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import diffusers
import torch

from core.catalog import Model
from core.control import Control, ControlSpec
from core.errors import first_line
from core.generation import ImageRequest
from core.generation_errors import DeviceFailed, GenerationError, ModelUnavailable, OutOfMemory
from core.weights import count_numbers
from worker.generators.device_errors import is_device_failure, is_out_of_memory

_SUFFIX: Final = "ControlNetModel"  # of the names of diffusers' classes, after that of the family: FluxControlNetModel
_MAX_PIPES: Final = 16  # they have no weights of their own
_WIDTHS: Final = ("cross_attention_dim", "joint_attention_dim", "block_out_channels")
"""Values of the configuration in which a control network equals the denoiser that it was trained with."""

FromPipe = Callable[..., Any]
"""A method `from_pipe` of diffusers: makes the pipeline of a task from another pipeline."""


class Controls:
    """The control networks of one model."""

    def __init__(self, model: Model, pipe: Any, models_dir: Path, device: torch.device, dtype: torch.dtype) -> None:
        """Load them. Raises ModelUnavailable if one is missing or does not fit the pipeline, and OutOfMemory."""
        self._model = model
        self._networks = {spec.type: self._load(spec, pipe, models_dir / spec.source, dtype) for spec in model.controls}
        for spec in model.controls:
            self._move(spec, device)
        self._pipes: dict[tuple[int, tuple[str, ...]], Any] = {}

    @property
    def networks(self) -> Sequence[torch.nn.Module]:
        """All networks, for the memory that they take."""
        return tuple(self._networks.values())

    def pipeline(self, from_pipe: FromPipe, pipe: Any, request: ImageRequest) -> Any:
        """The pipeline of a request with controls. from_pipe: for the task. Raises GenerationError if there is none."""
        types = tuple(control.type for control in request.parameters.control or ())
        if missing := [kind for kind in types if kind not in self._networks]:
            raise GenerationError(f"Model {self._model.id} has no control {missing[0]!r} any more.")
        key = (id(pipe), types)
        if key not in self._pipes:
            if len(self._pipes) >= _MAX_PIPES:
                self._pipes.pop(next(iter(self._pipes)))
            try:
                self._pipes[key] = from_pipe(pipe, controlnet=_join([self._networks[kind] for kind in types]))
            except ValueError:  # diffusers has no such class
                operation = request.operation if request.mask is None else f"{request.operation} with a mask"
                raise GenerationError(
                    f"Model {self._model.id} takes no control for an {operation}: {type(pipe).__name__} has no "
                    "pipeline for it.",
                    param="control",
                ) from None
            self._pipes[key].set_progress_bar_config(disable=True)
        return self._pipes[key]

    def _load(self, spec: ControlSpec, pipe: Any, folder: Path, dtype: torch.dtype) -> Any:
        """A control network on the CPU. Raises ModelUnavailable."""
        path = folder / "config.json"
        try:
            name = json.loads(path.read_text("utf-8"))["_class_name"]
        except FileNotFoundError:
            raise self._error(spec, f"there is no {path}") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._error(spec, f"{path} is not valid: {error!r}") from None
        kind = getattr(diffusers, str(name), None)
        if kind is None or not str(name).endswith(_SUFFIX):
            raise self._error(spec, f"{name!r} is no class of control networks of diffusers {diffusers.__version__}")
        try:
            network = kind.from_pretrained(folder, dtype=dtype, use_safetensors=True, local_files_only=True)
        except Exception as error:  # a broken folder can make the libraries raise anything
            if is_out_of_memory(error):
                raise OutOfMemory(
                    f"The control network {spec.type!r} of model {self._model.id} does not fit."
                ) from error
            raise self._error(
                spec, f"{folder} could not be loaded: {type(error).__name__}: {first_line(error)}"
            ) from error
        if (reason := _mismatch(network, pipe)) is not None:
            raise self._error(spec, reason)
        return network.eval()

    def _move(self, spec: ControlSpec, device: torch.device) -> None:
        try:
            self._networks[spec.type].to(device)
        except Exception as error:
            message = f"The control network {spec.type!r} of model {self._model.id} could not be moved to {device}"
            if is_out_of_memory(error):
                raise OutOfMemory(f"{message}: it does not fit into its memory.") from error
            if is_device_failure(error):
                raise DeviceFailed(f"{message}: {first_line(error)}") from error
            raise

    def _error(self, spec: ControlSpec, reason: str) -> ModelUnavailable:
        return ModelUnavailable(f"Model {self._model.id}: the control network {spec.type!r} cannot be used: {reason}.")


def estimated_bytes(model: Model, models_dir: Path, dtype: torch.dtype) -> int:
    """The memory that a model's control networks will take, from the headers of their files."""
    files = [path for spec in model.controls for path in (models_dir / spec.source).glob("*.safetensors")]
    return sum(count_numbers(path) for path in files) * dtype.itemsize


def control_arguments(parameter_names: Sequence[str], request: ImageRequest) -> dict[str, Any]:
    """The arguments of a call for a request's controls; empty without any. parameter_names: of the pipeline's call."""
    controls, images = request.parameters.control or (), list(request.control_images)
    if not controls:
        return {}
    if len(images) != len(controls):
        raise GenerationError("A control came without its image.", param="control")
    # Beside an input image the control image has a name of its own; Stable Diffusion has no other for the first.
    name = "control_image" if "control_image" in parameter_names else "image"
    values: dict[str, list[Any]] = {
        name: images,
        "controlnet_conditioning_scale": [_weight(control) for control in controls],
        "control_guidance_start": [control.start for control in controls],
        "control_guidance_end": [control.end for control in controls],
    }
    if "control_mode" in parameter_names and len(controls) > 1:
        # Without it, FLUX's pipelines for edits use none of several networks.
        values["control_mode"] = [None for _ in controls]
    return values if len(controls) > 1 else {name: value[0] for name, value in values.items()}


def control_key(request: ImageRequest) -> Hashable:
    """Equal for requests with the same control images, which may share a call."""
    return tuple((image.size, sha256(image.tobytes()).digest()) for image in request.control_images)


def _weight(control: Control) -> float:
    return 1.0 if control.weight is None else float(control.weight)


def _join(networks: Sequence[Any]) -> Any:
    """One network of one or several."""
    if len(networks) == 1:
        return networks[0]
    name = type(networks[0]).__name__.replace(_SUFFIX, f"Multi{_SUFFIX}")
    if not hasattr(diffusers, name):
        raise GenerationError("These controls cannot be combined: send one of them.", param="control")
    return getattr(diffusers, name)(networks)


def _mismatch(network: Any, pipe: Any) -> str | None:
    """Why a control network does not fit the denoiser of a pipeline; None if it does, as far as can be seen."""
    denoiser = pipe.components.get("transformer") or pipe.components.get("unet")
    family = type(network).__name__.removesuffix(_SUFFIX)
    expected = f"{family}Transformer2DModel" if family else "UNet2DConditionModel"
    if type(denoiser).__name__ != expected:
        return f"a {type(network).__name__} is for a {expected}, not for a {type(denoiser).__name__}"
    if (count := getattr(network.config, "num_mode", None)) is not None:
        return f"it is one network for {count} kinds of control images, and no request can say which kind its image is"
    for name in _WIDTHS:
        values = [getattr(part.config, name, None) for part in (network, denoiser)]
        first, second = (tuple(value) if isinstance(value, list) else value for value in values)
        if first is not None and second is not None and first != second:
            return f"it was trained for another model ({name} is {first}, not {second})"
    return None
