"""Loads the file of a LoRA into the networks of a pipeline, completely or not at all."""

import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer

from core.errors import first_line
from core.model_files.loras import is_reducing, unreadable_kind
from core.model_files.weights import read_shapes
from worker.generators.device_errors import is_device_failure, is_out_of_memory


def load_lora(pipe: Any, path: Path, adapter: str) -> None:
    """Load a file as an adapter. Raises ValueError with the reason if it does not fit, and leaves nothing of it."""
    try:
        _load(pipe, path, adapter)
    except Exception as error:  # a broken file can make the libraries raise anything
        if is_out_of_memory(error) or is_device_failure(error):
            raise
        reason = first_line(error)
    else:
        return
    with suppress(Exception):  # a part of it may be in the networks
        pipe.delete_adapters(adapter)
    raise ValueError(reason)


def _load(pipe: Any, path: Path, adapter: str) -> None:
    if (kind := unreadable_kind(read_shapes(path))) is not None:
        raise ValueError(f"it is {kind}, which cannot be loaded completely")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of peft: about several adapters, and about layers that do not exist
        expected = _count_layers(pipe, path)
        pipe.load_lora_weights(path.parent, weight_name=path.name, adapter_name=adapter)
    count = sum(adapter in layer.lora_A or adapter in layer.lora_embedding_A for layer in lora_layers(pipe))
    if not count:
        raise ValueError("none of its weights belongs to a network of the model")
    if count < expected:
        raise ValueError(f"{expected - count} of its {expected} layers are not in the networks of the model")


def _count_layers(pipe: Any, path: Path) -> int:
    """The layers that a file changes, with the names that diffusers gives them."""
    unet = pipe.components.get("unet")
    options = {} if unet is None else {"unet_config": unet.config}  # for the names of SDXL's blocks
    state = pipe.lora_state_dict(path.parent, weight_name=path.name, **options)
    weights = state[0] if isinstance(state, tuple) else state
    return sum(is_reducing(name) for name in weights)


def lora_layers(pipe: Any) -> Iterator[Any]:
    """The layers of a pipeline's networks that have adapters."""
    for network in pipe.components.values():
        if isinstance(network, torch.nn.Module):
            yield from (layer for layer in network.modules() if isinstance(layer, BaseTunerLayer))
