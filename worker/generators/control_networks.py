"""The classes of control networks that diffusers has: how each is loaded, and which pipelines it makes.

diffusers has a pipeline with a control network for some tasks of some families. Its name is that of the plain pipeline
with a word in the middle: `FluxImg2ImgPipeline` and `FluxControlNetImg2ImgPipeline`. It is made from the model's own
pipeline, with which it shares all networks.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import diffusers
import torch
from diffusers.models.controlnets.multicontrolnet_union import MultiControlNetUnionModel

from core.errors import first_line
from core.model_files.control_networks import Denoiser, family_and_task, is_for_inpainting, misfit, mode_count
from core.parameters.control import ControlSpec
from worker.generators.device_errors import is_out_of_memory


@dataclass(frozen=True, slots=True)
class NetworkClass:
    """A class of control networks.

    word: in the names of pipelines that have one. several: the class that combines several networks; None: there is
    none. component: its name in the pipeline.
    """

    word: str
    several: Any = None
    component: str = "controlnet"


CLASSES: Final = {
    "ControlNetModel": NetworkClass("ControlNet", diffusers.MultiControlNetModel),
    "ControlNetUnionModel": NetworkClass("ControlNetUnion", MultiControlNetUnionModel),
    "FluxControlNetModel": NetworkClass("ControlNet", diffusers.FluxMultiControlNetModel),
    "QwenImageControlNetModel": NetworkClass("ControlNet", diffusers.QwenImageMultiControlNetModel),
    "SanaControlNetModel": NetworkClass("ControlNet"),
    "SD3ControlNetModel": NetworkClass("ControlNet", diffusers.SD3MultiControlNetModel),
    "T2IAdapter": NetworkClass("Adapter", diffusers.MultiAdapter, "adapter"),
    "ZImageControlNetModel": NetworkClass("ControlNet"),
}

_OF_SINGLE_FILES: Final = ("ControlNetModel", "ZImageControlNetModel")
"""Classes that diffusers reads from a checkpoint, whatever names its author gave the tensors."""

INPAINTING_PIPELINES: Final = {
    "QwenImagePipeline": "QwenImageControlNetInpaintPipeline",
    "StableDiffusion3Pipeline": "StableDiffusion3ControlNetInpaintingPipeline",
}
"""By the pipeline of the family, that for a control network that was trained for inpainting."""

UNSEEDED: Final = frozenset(
    {
        "CogView4ControlPipeline",
        "QwenImageControlNetInpaintPipeline",
        "StableDiffusion3ControlNetInpaintingPipeline",
        "StableDiffusion3ControlNetPipeline",
    }
)
"""Pipelines that encode control images with noise of torch's own generator, instead of those of the call."""


def load_network(spec: ControlSpec, pipe: Any, folder: Path, dtype: torch.dtype, checkpoint: Path | None = None) -> Any:
    """A control network on the CPU. Raises ValueError with the reason, or MemoryError.

    folder: with its config.json. checkpoint: its weights, if they are elsewhere.
    """
    path = folder / "config.json"
    try:
        name = json.loads(path.read_text("utf-8"))["_class_name"]
    except FileNotFoundError:
        raise ValueError(f"there is no {path}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not valid: {error!r}") from None
    if str(name) not in CLASSES:
        raise ValueError(f"{name!r} is none of the classes that can be used here: {', '.join(CLASSES)}")
    kind, source = getattr(diffusers, name), checkpoint or folder
    if checkpoint is not None and name not in _OF_SINGLE_FILES:
        raise ValueError(f"diffusers reads no single file of a {name}; use the folder that it saves")
    if checkpoint is not None and not checkpoint.is_file():
        raise ValueError(f"there is no {checkpoint}")
    try:
        network = (
            kind.from_pretrained(folder, dtype=dtype, use_safetensors=True, local_files_only=True)
            if checkpoint is None
            else kind.from_single_file(str(checkpoint), config=str(folder), dtype=dtype, local_files_only=True)
        )
    except NotImplementedError:  # of torch: a tensor that the file did not fill has no numbers to copy
        raise ValueError(f"{source} lacks tensors of the {name} that {path} describes") from None
    except Exception as error:  # a broken folder can make the libraries raise anything
        if is_out_of_memory(error):
            raise MemoryError from error
        raise ValueError(f"{source} could not be loaded: {type(error).__name__}: {first_line(error)}") from error
    check_network(spec, network, pipe)
    return network.eval()


def check_network(spec: ControlSpec, network: Any, pipe: Any) -> None:
    """Check that a control network fits a pipeline, as far as can be seen. Raises ValueError with the reason."""
    denoiser = pipe.components.get("transformer") or pipe.components.get("unet")
    name, config = type(network).__name__, getattr(denoiser, "config", {})
    reason = misfit(name, network.config, Denoiser(type(denoiser).__name__, config, type(pipe).__name__))
    if reason is not None:
        raise ValueError(reason)
    _check_mode(spec, network)
    if not _pipeline_classes(pipe, network):
        raise ValueError(f"diffusers {diffusers.__version__} has no pipeline of {type(pipe).__name__} with a {name}")


def _check_mode(spec: ControlSpec, network: Any) -> None:
    """A union network has to know which kind its image is."""
    count = mode_count(type(network).__name__, network.config)
    if count is None:
        if spec.mode is not None:
            raise ValueError(f"it has no modes: {type(network).__name__} is no union; remove `mode`")
    elif spec.mode is None:
        raise ValueError(f"it is one network for {count} kinds of control images: set `mode`, from 0 to {count - 1}")
    elif spec.mode >= count:
        raise ValueError(f"it has the modes 0 to {count - 1}, not {spec.mode}")


def pipeline_class(pipe: Any, network: Any) -> Any:
    """The class of a pipeline with a control network, for the task of `pipe`. None: diffusers has none."""
    if (parts := family_and_task(type(pipe).__name__)) is None:
        return None
    family, task = parts
    if is_for_inpainting(network.config):
        name = INPAINTING_PIPELINES.get(f"{family}Pipeline") if task == "Inpaint" else None
    else:
        name = f"{family}{CLASSES[type(network).__name__].word}{task}Pipeline"
        if name in INPAINTING_PIPELINES.values() or not _reads_masks(network, pipe, task):
            name = None
    return getattr(diffusers, name, None) if name is not None else None


def _reads_masks(network: Any, pipe: Any, task: str) -> bool:
    """Whether a network can edit within a mask. Z-Image's reads image and mask too, if it has inputs for them."""
    if type(network).__name__ != "ZImageControlNetModel" or task != "Inpaint":
        return True
    return bool(network.config.control_in_dim == 2 * pipe.transformer.in_channels + 1)


def _pipeline_classes(pipe: Any, network: Any) -> list[Any]:
    """The classes of pipelines with a control network, for all tasks of a family."""
    if (parts := family_and_task(type(pipe).__name__)) is None:
        return []
    family, _ = parts
    if is_for_inpainting(network.config):
        name = INPAINTING_PIPELINES.get(f"{family}Pipeline", "")
        return [getattr(diffusers, name)] if name else []
    word = CLASSES[type(network).__name__].word
    names = (f"{family}{word}{task}Pipeline" for task in ("", "Img2Img", "Inpaint"))
    return [getattr(diffusers, name) for name in names if hasattr(diffusers, name)]


def new_pipeline(kind: Any, pipe: Any, **networks: Any) -> Any:
    """A pipeline of another class with the parts of `pipe`, and further networks.

    `from_pipe` of diffusers would change the type of all weights.
    """
    modules, options = kind._get_signature_keys(kind)
    parts = {name: part for name, part in pipe.components.items() if name in modules and name not in networks}
    config = dict(pipe.config)
    values = {name: config.get(name, config.get(f"_{name}")) for name in options}
    pipeline = kind(**parts, **{name: value for name, value in values.items() if value is not None}, **networks)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def combine(networks: Sequence[Any]) -> Any:
    """One network of several. Raises ValueError if they cannot act together."""
    if len(networks) == 1:
        return networks[0]
    names = {type(network).__name__ for network in networks}
    several = CLASSES[type(networks[0]).__name__].several
    if len(names) > 1 or several is None or any(is_for_inpainting(network.config) for network in networks):
        raise ValueError(f"diffusers does not combine {' and '.join(sorted(names))}")
    if names == {"QwenImageControlNetModel"}:
        networks = list(dict.fromkeys(networks))
        if len(networks) > 1:
            raise ValueError("diffusers combines several images of Qwen-Image only in one network")
    # A union network is called once for each image, so that each has a weight and steps of its own.
    return several(list(networks))
