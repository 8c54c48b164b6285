"""FLUX's Control-LoRAs: weights that make the denoiser read a control image beside its latents.

Such a file has more inputs than the layer that it changes, so the layer becomes larger. It is fused when the model is
loaded, and the model then draws with a control image only.
"""

from pathlib import Path
from typing import Any, Final

import diffusers

from core.catalog import Model
from core.generation_errors import ModelUnavailable
from core.parameters.control import ControlSpec
from worker.generators.control_networks import new_pipeline
from worker.generators.digests import file_sha256
from worker.generators.lora_file import load_lora

_PIPELINES: Final = {"FluxPipeline": "FluxControlPipeline"}
"""Pipelines that take a Control-LoRA, and what they are with one."""


def with_control_lora(model: Model, pipe: Any, models_dir: Path) -> tuple[Any, dict[str, str]]:
    """The pipeline with the model's Control-LoRA, and what receipts say; as it is without one.

    Raises ModelUnavailable if the file does not fit.
    """
    spec = next((spec for spec in model.controls if spec.is_lora), None)
    if spec is None:
        return pipe, {}
    path = models_dir / spec.source
    name = _PIPELINES.get(type(pipe).__name__)
    if name is None:
        raise _error(
            model, spec, f"{type(pipe).__name__} takes no Control-LoRA; diffusers has them for {', '.join(_PIPELINES)}"
        )
    if not path.is_file():
        raise _error(model, spec, f"there is no {path}")
    inputs = pipe.transformer.config.in_channels
    try:
        load_lora(pipe, path, "control")
    except ValueError as error:
        raise _error(model, spec, error) from None
    if pipe.transformer.config.in_channels != 2 * inputs:
        raise _error(model, spec, f"{path.name} is a LoRA, but none for control images; list it in `loras`")
    pipe.fuse_lora(components=["transformer"], lora_scale=spec.weight)
    # The file's values of normalization layers stay too; unloading would bring the old ones back.
    pipe.transformer._transformer_norm_layers = None
    pipe.unload_lora_weights()
    return new_pipeline(getattr(diffusers, name), pipe), {
        f"control lora {spec.type}": f"{spec.weight:g} sha256:{file_sha256(path)}"
    }


def _error(model: Model, spec: ControlSpec, reason: object) -> ModelUnavailable:
    return ModelUnavailable(f"Model {model.id}: the Control-LoRA {spec.type!r} cannot be used: {reason}.")
