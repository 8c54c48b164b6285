"""Makes the background of images transparent: a network of the catalogue tells the foreground from it.

It is one for semantic segmentation that transformers has; no code of a model is run. Each image is alone in its call,
so that no other changes its edges.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # the name every torch reader knows
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

from core.catalog import Model
from core.errors import first_line
from core.generation_errors import GeneratorFailed, ModelUnavailable
from core.model_files.weights import count_numbers
from worker.generators.device_errors import raise_device_error
from worker.generators.digests import folder_sha256


class Foreground:
    """The network of one model that gives the foreground of an image."""

    def __init__(self, model: Model, models_dir: Path, device: torch.device, dtype: torch.dtype) -> None:
        """Load it. Raises ModelUnavailable if it is missing or is no such network, OutOfMemory and DeviceFailed."""
        self._model = model
        self._device = device
        self._dtype = dtype
        if model.matting is None:
            raise ModelUnavailable(f"Model {model.id} has no matting.")
        folder = models_dir / model.matting.source
        self._network, self._processor = self._load(folder)
        self._background = self._background_of(model.matting.background)
        self.digest = folder_sha256(folder)

    @property
    def networks(self) -> Sequence[torch.nn.Module]:
        """The network, for the memory that it takes."""
        return (self._network,)

    def cut_out(self, image: Image.Image) -> Image.Image:
        """An image with the foreground as its alpha. Raises GeneratorFailed."""
        pixels = self._processor(images=image.convert("RGB"), return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            logits = self._network(pixel_values=pixels.to(self._device, self._dtype)).logits.float()
        logits = F.interpolate(logits, (image.height, image.width), mode="bilinear", align_corners=False)[0]
        if not bool(logits.isfinite().all()):
            raise GeneratorFailed("The network of the background returned values that are not numbers.")
        share = logits[0].sigmoid() if self._background is None else 1 - logits.softmax(0)[self._background]
        alpha = Image.fromarray((share * 255).round().byte().cpu().numpy())
        result = image.convert("RGB")
        result.putalpha(alpha)
        return result

    def _background_of(self, label: str) -> int | None:
        """The index of the label of the background; None for a network with one label, which is the foreground."""
        labels = {name.lower(): int(index) for index, name in self._network.config.id2label.items()}
        if len(labels) == 1:
            return None
        if label.lower() not in labels:
            names = ", ".join(list(labels)[:20])
            raise self._error(f"it has no label {label!r}, only {names}; set matting.background")
        return labels[label.lower()]

    def _load(self, folder: Path) -> tuple[Any, Any]:
        for name in ("config.json", "preprocessor_config.json"):
            if not (folder / name).is_file():
                raise self._error(f"there is no {folder / name}")
        try:
            network, report = AutoModelForSemanticSegmentation.from_pretrained(
                folder,
                dtype=self._dtype,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
            processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
            network = network.eval().to(self._device)
        except Exception as error:  # a broken folder can make the libraries raise anything
            raise_device_error(error, f"The matting of model {self._model.id}")
            message = f"{folder} could not be loaded: {type(error).__name__}: {first_line(error)}"
            raise self._error(message) from error
        if missing := sorted(report["missing_keys"]):
            raise self._error(f"its files have no {missing[0]}")
        return network, processor

    def _error(self, reason: str) -> ModelUnavailable:
        return ModelUnavailable(f"Model {self._model.id}: its matting cannot be used: {reason}.")


def estimated_bytes(model: Model, models_dir: Path, dtype: torch.dtype) -> int:
    """The memory that a model's matting will take, from the headers of its files."""
    if model.matting is None:
        return 0
    files = (models_dir / model.matting.source).glob("*.safetensors")
    return sum(count_numbers(path) for path in files) * dtype.itemsize
