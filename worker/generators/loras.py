"""The LoRAs of a pipeline: loaded when a request names them, switched off for requests without.

The layers of a LoRA are inside the networks, which all pipelines of a model share. While they are switched off, a
network computes what it computed before the first was loaded, to the byte.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.catalog import Model
from core.generation_errors import GenerationError, ModelUnavailable
from core.model_files.fine_tuned import file_name
from core.parameters.loras import MAX_LORAS, Lora, is_fine_tuned
from worker.generators.digests import file_sha256
from worker.generators.lora_file import load_lora, lora_layers


class Loras:
    """The LoRAs of one model, of which the last used stay loaded."""

    def __init__(self, model: Model, pipe: Any, models_dir: Path, fine_tuned_dir: Path) -> None:
        """fine_tuned_dir: of the files of LoRAs that are not in the catalogue; see `core.model_files.fine_tuned`.

        Raises ModelUnavailable if the catalogue lists LoRAs for a pipeline that takes none.
        """
        self._fine_tuned_dir = fine_tuned_dir
        self._model = model
        self._pipe = pipe
        self._paths = {spec.name: models_dir / spec.file for spec in model.loras}
        # The libraries build names of layers from those of adapters, so these must have no dots.
        self._adapters = {spec.name: f"lora_{number}" for number, spec in enumerate(model.loras)}
        self._active: list[str] = []
        self._digests: dict[str, str] = {}
        self._resident: list[str] = []  # the last used comes last
        if (model.loras or model.fine_tuning) and not hasattr(pipe, "load_lora_weights"):
            raise ModelUnavailable(f"Model {model.id}: {type(pipe).__name__} takes no LoRA; remove its `loras`.")

    def use(self, loras: Sequence[Lora]) -> None:
        """Apply these LoRAs, and no others, to the next calls. Raises GenerationError for one that does not fit."""
        active = [lora for lora in loras if lora.weight != 0]
        for lora in active:
            if is_fine_tuned(lora.name):
                self._paths.setdefault(lora.name, self._fine_tuned_dir / file_name(lora.name))
                self._adapters.setdefault(lora.name, f"lora_{len(self._adapters)}")
        self._active = []
        if not active:
            self._enable(False)
            return
        names = [lora.name for lora in active]
        for name in names:
            if name in self._resident:
                self._resident.remove(name)
            else:
                self._load(name, names)
            self._resident.append(name)
        self._enable(True)
        self._active = names
        adapters = [self._adapters[name] for name in names]
        self._pipe.set_adapters(adapters, [1.0 if lora.weight is None else lora.weight for lora in active])

    def _load(self, name: str, request_names: Sequence[str]) -> None:
        """Load a LoRA. Before it, the one that was not used for the longest time leaves, if there are too many."""
        if name not in self._paths:
            raise GenerationError(f"Model {self._model.id} has no LoRA {name!r} any more.")
        if len(self._resident) >= MAX_LORAS:
            oldest = next(other for other in self._resident if other not in request_names)
            self._resident.remove(oldest)
            self._pipe.delete_adapters(self._adapters[oldest])
        path, adapter = self._paths[name], self._adapters[name]
        if not path.is_file():  # else the libraries would look for it on the hub
            raise GenerationError(f"The LoRA {name!r} of model {self._model.id} is missing: there is no {path.name}.")
        try:
            load_lora(self._pipe, path, adapter)
        except ValueError as error:
            raise GenerationError(f"The LoRA {name!r} does not fit model {self._model.id}: {error}") from None
        finally:
            self._enable(False)
        self._digests[name] = file_sha256(path)

    @property
    def digests(self) -> dict[str, str]:
        """The SHA-256 of the file of each LoRA that is applied now, by name."""
        return {name: self._digests[name] for name in self._active}

    def _enable(self, is_enabled: bool) -> None:
        for layer in lora_layers(self._pipe):
            layer.enable_adapters(is_enabled)
