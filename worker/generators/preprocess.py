"""Preprocessing of control images on a worker: edges and lines by OpenCV, depth by a network of transformers."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import torch
import torch.nn.functional as F  # the name every torch reader knows
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForDepthEstimation

from core.catalog import Model
from core.errors import first_line
from core.generation import ImageRequest
from core.generation_errors import GenerationError, ModelUnavailable
from core.images.preprocess import BY_OPENCV, PACKAGE, has_opencv, preprocess
from worker.generators.device_errors import raise_device_error
from worker.generators.digests import folder_sha256


class Preprocessors:
    """What makes the control images of one model."""

    def __init__(self, model: Model, models_dir: Path, device: torch.device, dtype: torch.dtype) -> None:
        """Load the networks.

        Raises ModelUnavailable if one is missing or broken, or a package, OutOfMemory and DeviceFailed.
        """
        self._model = model
        self._device = device
        self._depth: tuple[Any, Any] | None = None
        self._digests: dict[str, str] = {}
        defaults = [spec.preprocess for spec in model.controls]
        if any(kind in BY_OPENCV for kind in defaults) and not has_opencv():
            raise ModelUnavailable(f"Model {model.id}: controls: {_missing(defaults[0])}")
        if (source := model.preprocessors.get("depth")) is not None:
            self._depth = _load_depth(model, models_dir / source, device, dtype)
            self._digests["depth"] = folder_sha256(models_dir / source)

    @property
    def networks(self) -> Sequence[torch.nn.Module]:
        """All networks, for the memory that they take."""
        return () if self._depth is None else (self._depth[1],)

    def digests(self, request: ImageRequest) -> dict[str, str]:
        """The SHA-256 of the files of the networks that a request uses, by what they make."""
        kinds = {control.preprocess for control in request.parameters.control or ()}
        return {kind: digest for kind, digest in self._digests.items() if kind in kinds}

    def prepare(self, requests: Sequence[ImageRequest]) -> Sequence[ImageRequest]:
        """The requests, which share their control images, with these preprocessed. Raises GenerationError."""
        controls = requests[0].parameters.control or ()
        if not any(control.preprocess for control in controls):
            return requests
        guides = zip(controls, requests[0].control_images, strict=True)
        images = tuple(self._image(str(control.preprocess), image) for control, image in guides)
        return [replace(request, control_images=images) for request in requests]

    def _image(self, kind: str, image: Image.Image) -> Image.Image:
        if kind == "depth":
            if self._depth is None:
                raise GenerationError(f"Model {self._model.id} has no network for depth any more.", param="control")
            return _depth_map(*self._depth, image)
        if kind in BY_OPENCV and not has_opencv():
            raise GenerationError(_missing(kind), param="control")
        return preprocess(image, kind)


def _missing(kind: str) -> str:
    return f"preprocess {kind!r} needs the package {PACKAGE}, which is not installed here: pip install {PACKAGE}"


def _load_depth(model: Model, folder: Path, device: torch.device, dtype: torch.dtype) -> tuple[Any, Any]:
    """The processor and the network for depth maps."""
    if not (folder / "config.json").is_file():
        raise ModelUnavailable(f"Model {model.id}: preprocessors: depth: there is no {folder / 'config.json'}.")
    try:
        options = {"local_files_only": True, "trust_remote_code": False}
        processor = AutoImageProcessor.from_pretrained(folder, **options)
        network, report = AutoModelForDepthEstimation.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, output_loading_info=True, **options
        )
        if missing := sorted(report["missing_keys"]):  # they would be random
            raise ValueError(f"its files have no {missing[0]}")
        return processor, network.eval().to(device)
    except Exception as error:  # a broken folder can make the libraries raise anything
        raise_device_error(error, f"The network for depth of model {model.id}")
        raise ModelUnavailable(
            f"Model {model.id}: preprocessors: depth: {folder} could not be loaded: {type(error).__name__}: "
            f"{first_line(error)}"
        ) from error


def _depth_map(processor: Any, network: Any, image: Image.Image) -> Image.Image:
    """Near is white and far is black, as ControlNets for depth were trained."""
    values = processor(images=image, return_tensors="pt").to(network.device, network.dtype)
    with torch.inference_mode():
        depth = network(**values).predicted_depth.float()
    depth = F.interpolate(depth[:1, None], size=(image.height, image.width), mode="bicubic")[0, 0]
    lowest, highest = depth.min(), depth.max()
    shares = (depth - lowest) / (highest - lowest).clamp(min=1e-6)
    grey = (shares * 255).round().byte().cpu().numpy()
    return Image.fromarray(numpy.asarray(grey)).convert("RGB")
