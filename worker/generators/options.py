"""Applies the loading options of a model's catalogue entry to a pipeline; see `core/catalog/loading.py`.

An option that the pipeline does not have is an error when the model is loaded: nothing is ignored.
"""

import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import diffusers
import torch
import transformers
from diffusers import PipelineQuantizationConfig
from diffusers.models.attention_dispatch import AttentionBackendName, attention_backend
from safetensors.torch import load_file

from core.catalog import Model
from core.generation_errors import ModelUnavailable
from worker.generators.cache import cache_config
from worker.generators.denoiser import denoisers
from worker.generators.digests import file_sha256, folder_sha256
from worker.generators.lora_file import load_lora

STORAGE: Final = torch.float8_e4m3fn


def check_packages(model: Model) -> None:
    """Raises ModelUnavailable if a package that the model's weights need is not installed."""
    for module in sorted(model.packages):
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ModelUnavailable(
                f"Model {model.id} needs the module {module} for its weights, which cannot be imported: {error}."
            ) from error


def quantization_of(model: Model, folder: Path, dtype: torch.dtype) -> PipelineQuantizationConfig | None:
    """How the components of a folder are quantised while they are loaded. Raises ModelUnavailable."""
    if not model.quantization:
        return None
    index = json.loads((folder / "model_index.json").read_text("utf-8"))
    if unknown := sorted(name for name in model.quantization if not isinstance(index.get(name), list)):
        raise ModelUnavailable(f"Model {model.id}: quantization names {unknown[0]}, which {folder} does not have.")
    return PipelineQuantizationConfig(
        quant_mapping={
            name: _quantization(kind, transformers if index[name][0] == "transformers" else diffusers, dtype)
            for name, kind in model.quantization.items()
        }
    )


def _quantization(kind: str, library: Any, dtype: torch.dtype) -> Any:
    backend, _, numbers = kind.partition("_")
    if backend == "bitsandbytes" and numbers == "4bit":
        return library.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
    if backend == "bitsandbytes":
        return library.BitsAndBytesConfig(load_in_8bit=True)
    if backend == "quanto":
        name = "weights_dtype" if library is diffusers else "weights"
        return library.QuantoConfig(**{name: numbers})
    torchao = importlib.import_module("torchao.quantization")
    of_numbers = {"int8": "Int8WeightOnlyConfig", "float8": "Float8WeightOnlyConfig"}
    return library.TorchAoConfig(getattr(torchao, of_numbers[numbers])())


def apply_options(model: Model, pipe: Any, folder: Path, models_dir: Path, dtype: torch.dtype) -> Mapping[str, str]:
    """Change a pipeline, still on the CPU, as the catalogue says. Returns what receipts say about it.

    Raises ModelUnavailable, and whatever the libraries raise for broken files.
    """
    receipt: dict[str, str] = {f"quantization {name}": kind for name, kind in model.quantization.items()}
    receipt |= _replace_vae(model, pipe, folder, models_dir, dtype)
    for inversion in model.textual_inversions:
        path = models_dir / inversion.file
        _load_inversion(model, pipe, path, inversion.token)
        receipt[f"textual inversion {inversion.token}"] = f"sha256:{file_sha256(path)}"
    for lora in model.fused_loras:
        path = models_dir / lora.file
        _fuse(model, pipe, path, lora.weight)
        receipt[f"fused lora {lora.file}"] = f"{lora.weight:g} sha256:{file_sha256(path)}"
    return receipt | _change_denoisers(model, pipe, dtype)


def _replace_vae(model: Model, pipe: Any, folder: Path, models_dir: Path, dtype: torch.dtype) -> dict[str, str]:
    options = model.vae
    if options is None:
        return {}
    vae = pipe.components.get("vae")
    if vae is None:
        raise ModelUnavailable(f"Model {model.id}: {type(pipe).__name__} has no vae; remove its `vae`.")
    receipt = {}
    if options.source:
        path = models_dir / options.source
        if path.is_dir():
            vae = type(vae).from_pretrained(path, dtype=dtype, use_safetensors=True, local_files_only=True)
            receipt["vae"] = folder_sha256(path)
        elif path.is_file():
            vae = type(vae).from_single_file(
                str(path), config=str(folder), subfolder="vae", dtype=dtype, local_files_only=True
            )
            receipt["vae"] = f"sha256:{file_sha256(path)}"
        else:
            raise ModelUnavailable(f"Model {model.id}: vae.source: there is no {path}.")
        pipe.register_modules(vae=vae)
    for name, is_enabled in (("tiling", options.tiling), ("slicing", options.slicing)):
        if is_enabled:
            if not hasattr(vae, f"enable_{name}"):
                raise ModelUnavailable(f"Model {model.id}: {type(vae).__name__} has no {name}.")
            getattr(vae, f"enable_{name}")()
    return receipt | ({"vae_tiling": "true"} if options.tiling else {})


def _load_inversion(model: Model, pipe: Any, path: Path, token: str) -> None:
    """Teach the text encoders a word. XL's files have an embedding for each of its two."""
    if not hasattr(pipe, "load_textual_inversion"):
        raise ModelUnavailable(f"Model {model.id}: {type(pipe).__name__} takes no textual inversions.")
    if not path.is_file():
        raise ModelUnavailable(f"Model {model.id}: textual_inversions: there is no {path}.")
    state = load_file(path)
    parts = {"clip_l": ("text_encoder", "tokenizer"), "clip_g": ("text_encoder_2", "tokenizer_2")}
    if not state.keys() <= parts.keys():
        pipe.load_textual_inversion(state, token=token)
        return
    for key, embedding in state.items():
        encoder, tokenizer = (getattr(pipe, name, None) for name in parts[key])
        if encoder is None:
            raise ModelUnavailable(f"Model {model.id}: {path.name} is for a model with two text encoders.")
        pipe.load_textual_inversion(embedding, token=token, text_encoder=encoder, tokenizer=tokenizer)


def _fuse(model: Model, pipe: Any, path: Path, weight: float) -> None:
    if not hasattr(pipe, "fuse_lora"):
        raise ModelUnavailable(f"Model {model.id}: {type(pipe).__name__} takes no LoRA; remove its `fused_loras`.")
    if not path.is_file():
        raise ModelUnavailable(f"Model {model.id}: fused_loras: there is no {path}.")
    try:
        load_lora(pipe, path, "fused")
    except ValueError as error:
        raise ModelUnavailable(f"Model {model.id}: fused_loras: {path.name} does not fit: {error}") from None
    # The default of some classes leaves out the text encoders.
    names = [name for name in pipe._lora_loadable_modules if getattr(pipe, name, None) is not None]
    pipe.fuse_lora(components=names, lora_scale=weight)
    pipe.unload_lora_weights()


def _change_denoisers(model: Model, pipe: Any, dtype: torch.dtype) -> dict[str, str]:
    receipt: dict[str, str] = {}
    for denoiser in _denoisers(pipe):
        name = type(denoiser).__name__
        if model.layerwise_casting:
            denoiser.enable_layerwise_casting(storage_dtype=STORAGE, compute_dtype=dtype)
            receipt["layerwise_casting"] = str(STORAGE).removeprefix("torch.")
        if model.attention != "default":
            processors = [module.processor for module in denoiser.modules() if hasattr(module, "processor")]
            if not any(hasattr(processor, "_attention_backend") for processor in processors):
                raise ModelUnavailable(f"Model {model.id}: {name} has only one attention; remove its `attention`.")
            backend = AttentionBackendName(model.attention)
            with attention_backend(backend):  # else it would stay the default of every model of this process
                denoiser.set_attention_backend(backend.value)
            receipt["attention"] = model.attention
        if model.cache is not None:
            if not hasattr(denoiser, "enable_cache"):
                raise ModelUnavailable(f"Model {model.id}: {name} has no cache; remove its `cache`.")
            denoiser.enable_cache(cache_config(model, denoiser, dtype, model.steps.default))
            receipt["cache"] = str(model.cache)
        if model.compile == "regional" and not getattr(denoiser, "_repeated_blocks", None):
            raise ModelUnavailable(f"Model {model.id}: {name} has no repeated blocks; use `compile = 'model'`.")
        if model.compile != "none":
            receipt["compile"] = model.compile
    return receipt


def _denoisers(pipe: Any) -> Sequence[Any]:
    """The denoisers as `Any`: mypy takes the methods that diffusers adds to modules for tensors."""
    return denoisers(pipe)


def place(model: Model, pipe: Any, device: torch.device) -> None:
    """Move a pipeline to its device, or leave it in RAM until each part is needed, and compile it."""
    if model.offload == "none" or device.type == "cpu":
        pipe.to(device)
    elif model.offload == "model":
        pipe.enable_model_cpu_offload(device=device)
    elif model.offload == "sequential":
        pipe.enable_sequential_cpu_offload(device=device)
    else:
        pipe.enable_group_offload(device, offload_type="leaf_level", use_stream=device.type == "cuda")
    for denoiser in _denoisers(pipe):
        if model.compile == "regional":
            denoiser.compile_repeated_blocks()
        elif model.compile == "model":
            # Only this method: the hooks that count steps and stop a call stay outside of what is compiled.
            denoiser.forward = torch.compile(denoiser.forward)


def clear_caches(pipe: Any) -> None:
    """Empty the caches of the denoisers: a call that was stopped leaves its last steps in them."""
    for denoiser in _denoisers(pipe):
        if getattr(denoiser, "is_cache_enabled", False):
            denoiser._reset_stateful_cache()
