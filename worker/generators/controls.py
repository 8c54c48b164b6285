"""The control networks of a model: loaded with it, and combined with its pipelines for the requests that name them."""

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import torch

from core.catalog import Model
from core.errors import first_line
from core.generation import ImageRequest
from core.generation_errors import DeviceFailed, GenerationError, ModelUnavailable, OutOfMemory
from core.model_files.weights import count_numbers
from core.parameters.control import ControlSpec
from worker.generators.call import call_parameters
from worker.generators.control_networks import (
    CLASSES,
    UNSEEDED,
    check_network,
    combine,
    load_network,
    new_pipeline,
    pipeline_class,
)
from worker.generators.device_errors import is_device_failure, is_out_of_memory
from worker.generators.digests import file_sha256, folder_sha256

_MAX_PIPES: Final = 16  # they have no weights of their own


class Controls:
    """The control networks of one model. There are none if its denoiser reads the control image itself."""

    def __init__(self, model: Model, pipe: Any, models_dir: Path, device: torch.device, dtype: torch.dtype) -> None:
        """Load them. Raises ModelUnavailable if one is missing or does not fit the pipeline, and OutOfMemory."""
        self._model = model
        self._digests: dict[str, str] = {}
        self._networks: dict[str, Any] = {}
        self._pipes: dict[tuple[int, tuple[str, ...]], Any] = {}
        self._own_types = [spec.type for spec in model.controls if spec.is_required]
        if bool(self._own_types) != reads_control_image(pipe):
            name = type(pipe).__name__
            reason = (
                "reads a control image itself: give the type no source"
                if reads_control_image(pipe)
                else "reads no control image itself: name the source of the type"
            )
            raise ModelUnavailable(f"Model {model.id}: controls: {name} {reason}.")
        by_source: dict[tuple[str, str], Any] = {}
        digests: dict[tuple[str, str], str] = {}
        for spec in model.controls:
            if spec.is_required:
                continue
            source, path = (spec.source, spec.config), models_dir / spec.source
            if source not in by_source:
                by_source[source] = self._load(spec, pipe, models_dir, dtype)
                self._move(spec, by_source[source], device)
                digests[source] = f"sha256:{file_sha256(path)}" if spec.config else folder_sha256(path)
            self._networks[spec.type] = self._check(spec, by_source[source], pipe)
            self._digests[spec.type] = digests[source]

    @property
    def networks(self) -> Sequence[torch.nn.Module]:
        """All networks, for the memory that they take."""
        return tuple(dict.fromkeys(self._networks.values()))

    def digests(self, request: ImageRequest) -> dict[str, str]:
        """The SHA-256 of the files of each network that a request names, by type."""
        types = [control.type for control in request.parameters.control or ()]
        return {kind: self._digests[kind] for kind in types if kind in self._digests}

    def pipeline(self, pipe: Any, request: ImageRequest) -> Any:
        """The pipeline of a request with controls. pipe: that of its task. Raises GenerationError if there is none."""
        types = tuple(control.type for control in request.parameters.control or ())
        if missing := [kind for kind in types if kind not in (*self._networks, *self._own_types)]:
            raise GenerationError(f"Model {self._model.id} has no control {missing[0]!r} any more.")
        if self._own_types:
            if len(types) > 1 or not reads_control_image(pipe):
                reason = "one control image" if len(types) > 1 else f"no control for an {_task_of(request)}"
                raise GenerationError(f"Model {self._model.id} takes {reason} only.", param="control")
            return pipe
        key = (id(pipe), types)
        if key not in self._pipes:
            if len(self._pipes) >= _MAX_PIPES:
                self._pipes.pop(next(iter(self._pipes)))
            self._pipes[key] = self._new_pipeline(pipe, types, request)
        return self._pipes[key]

    def _new_pipeline(self, pipe: Any, types: Sequence[str], request: ImageRequest) -> Any:
        networks = [self._networks[kind] for kind in types]
        kind = pipeline_class(pipe, networks[0])
        if kind is None:
            raise GenerationError(
                f"Model {self._model.id} takes no control {types[0]!r} for {_task_of(request)}: "
                f"{type(pipe).__name__} has no pipeline with a {type(networks[0]).__name__}.",
                param="control",
            )
        try:
            network = combine(networks)
        except ValueError as error:
            raise GenerationError(
                f"These controls cannot be combined: {error}. Send one of them.", param="control"
            ) from None
        return new_pipeline(kind, pipe, **{CLASSES[type(networks[0]).__name__].component: network})

    def _load(self, spec: ControlSpec, pipe: Any, models_dir: Path, dtype: torch.dtype) -> Any:
        """A control network on the CPU. Raises ModelUnavailable."""
        try:
            checkpoint = models_dir / spec.source if spec.config else None
            return load_network(spec, pipe, models_dir / (spec.config or spec.source), dtype, checkpoint)
        except MemoryError as error:
            raise OutOfMemory(f"The control network {spec.type!r} of model {self._model.id} does not fit.") from error
        except ValueError as error:
            raise self._error(spec, error) from error

    def _check(self, spec: ControlSpec, network: Any, pipe: Any) -> Any:
        """A network that serves several types, of which each has its own mode. Raises ModelUnavailable."""
        try:
            check_network(spec, network, pipe)
        except ValueError as error:
            raise self._error(spec, error) from None
        return network

    def _move(self, spec: ControlSpec, network: Any, device: torch.device) -> None:
        try:
            network.to(device)
        except Exception as error:
            message = f"The control network {spec.type!r} of model {self._model.id} could not be moved to {device}"
            if is_out_of_memory(error):
                raise OutOfMemory(f"{message}: it does not fit into its memory.") from error
            if is_device_failure(error):
                raise DeviceFailed(f"{message}: {first_line(error)}") from error
            raise

    def _error(self, spec: ControlSpec, reason: object) -> ModelUnavailable:
        return ModelUnavailable(f"Model {self._model.id}: the control network {spec.type!r} cannot be used: {reason}.")


def reads_control_image(pipe: Any) -> bool:
    """Whether the denoiser itself reads a control image, as FLUX.1 Canny does, which was trained with one."""
    return "control_image" in call_parameters(pipe) and "controlnet" not in pipe.components


def estimated_bytes(model: Model, models_dir: Path, dtype: torch.dtype) -> int:
    """The memory that a model's control networks will take, from the headers of their files."""
    sources = dict.fromkeys(spec.source for spec in model.controls if spec.source and not spec.is_required)
    folders = [*sources, *model.preprocessors.values()]
    paths = [models_dir / source for source in folders]
    files = [file for path in paths for file in ([path] if path.is_file() else path.glob("*.safetensors"))]
    return sum(count_numbers(path) for path in files) * dtype.itemsize


def control_key(request: ImageRequest) -> Hashable:
    """Equal for requests with the same control images, which may share a call."""
    return tuple((image.size, sha256(image.tobytes()).digest()) for image in request.control_images)


@contextmanager
def seeded(pipe: Any, request: ImageRequest) -> Iterator[None]:
    """Set torch's own generators for the call in the `with` block, if its pipeline takes noise from them."""
    if type(pipe).__name__ not in UNSEEDED:
        yield
        return
    with torch.random.fork_rng():
        torch.manual_seed(request.seed)
        yield


def _task_of(request: ImageRequest) -> str:
    return request.operation if request.mask is None else f"{request.operation} with a mask"
