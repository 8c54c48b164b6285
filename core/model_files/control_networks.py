"""Control networks by their configuration, without torch: what each is, and which pipelines and denoisers it fits."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_WIDTHS: Final = ("cross_attention_dim", "joint_attention_dim", "block_out_channels")
"""Values of the configuration in which a control network equals the denoiser that it was trained with."""
_BY_TEXT_WIDTH: Final = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2", 2048: "Stable Diffusion XL"}
_XL_ADAPTER: Final = "full_adapter_xl"
_PIPELINE: Final = re.compile(r"(?P<family>.+?)(?P<task>Img2Img|Inpaint|)Pipeline")

_TYPES: Final[Mapping[str, str]] = {
    **{word: word for word in ("canny", "depth", "pose", "lineart", "scribble", "tile", "normal", "seg", "inpaint")},
    **{"openpose": "pose", "hed": "softedge", "softedge": "softedge", "normalbae": "normal", "mlsd": "mlsd"},
    **{"zoedepth": "depth", "sketch": "scribble", "blur": "blur", "gray": "gray", "inpainting": "inpaint"},
}
"""Words in the names of control networks, and the type of images that each stands for."""


@dataclass(frozen=True, slots=True)
class NetworkKind:
    """A class of control networks of diffusers.

    denoiser: the class that it guides. pipelines: the families of pipelines that can have one, as the names of their
    classes begin. name: of the models that it guides, if these are of one family only.
    """

    denoiser: str
    pipelines: tuple[str, ...]
    name: str = ""


KINDS: Final[Mapping[str, NetworkKind]] = {
    "ControlNetModel": NetworkKind("UNet2DConditionModel", ("StableDiffusion", "StableDiffusionXL")),
    "ControlNetUnionModel": NetworkKind("UNet2DConditionModel", ("StableDiffusionXL",)),
    "FluxControlNetModel": NetworkKind("FluxTransformer2DModel", ("Flux",), "FLUX.1"),
    "QwenImageControlNetModel": NetworkKind("QwenImageTransformer2DModel", ("QwenImage",), "Qwen-Image"),
    "SanaControlNetModel": NetworkKind("SanaTransformer2DModel", ("Sana",), "Sana"),
    "SD3ControlNetModel": NetworkKind("SD3Transformer2DModel", ("StableDiffusion3",), "Stable Diffusion 3"),
    "T2IAdapter": NetworkKind("UNet2DConditionModel", ("StableDiffusion", "StableDiffusionXL")),
    "ZImageControlNetModel": NetworkKind("ZImageTransformer2DModel", ("ZImage",), "Z-Image"),
}


@dataclass(frozen=True, slots=True)
class Denoiser:
    """The network of a pipeline that removes noise: its class, its configuration, and the class of its pipeline."""

    name: str
    config: Mapping[str, Any]
    pipeline: str


def class_of_folder(folder: Path) -> str:
    """The class of the network in a folder; "" if there is none, as where only workers have the files."""
    try:
        return str(json.loads((folder / "config.json").read_text("utf-8")).get("_class_name", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def describe(name: str, config: Mapping[str, Any]) -> str:
    """What a control network is and which models it was trained for, as far as its configuration tells."""
    family = KINDS[name].name
    if name == "T2IAdapter":
        family = f"Stable Diffusion {'XL' if config.get('adapter_type') == _XL_ADAPTER else '1'}"
    family = family or _BY_TEXT_WIDTH.get(config.get("cross_attention_dim") or 0, "")
    return f"a {name} for {family}" if family else f"a {name}"


def misfit(name: str, config: Mapping[str, Any], denoiser: Denoiser) -> str | None:
    """Why a control network does not fit a denoiser, as far as the configurations tell; None if it does.

    name: of the network's class, one of `KINDS`.
    """
    if denoiser.name != KINDS[name].denoiser:
        return f"a {name} is for a {KINDS[name].denoiser}, not for a {denoiser.name}"
    for width in _WIDTHS:
        first, second = (_plain(part.get(width)) for part in (config, denoiser.config))
        if first is not None and second is not None and first != second:
            return f"it was trained for another model ({width} is {first}, not {second})"
    return _misfit_of_adapter(config, denoiser) if name == "T2IAdapter" else None


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _misfit_of_adapter(config: Mapping[str, Any], denoiser: Denoiser) -> str | None:
    """T2I-Adapters name no model: the kind of network and its first width tell."""
    is_xl = config.get("adapter_type") == _XL_ADAPTER
    if is_xl != denoiser.pipeline.startswith("StableDiffusionXL"):
        return f"it is for Stable Diffusion {'XL' if is_xl else '1'}, not for a {denoiser.pipeline}"
    widths = [part.get(key) or (None,) for part, key in ((config, "channels"), (denoiser.config, "block_out_channels"))]
    first, second = (width[0] for width in widths)
    if first is not None and second is not None and first != second:
        return f"it was trained for another model (its width is {first}, not {second})"
    return None


def mode_count(name: str, config: Mapping[str, Any]) -> int | None:
    """How many kinds of control images a union network reads; None if it is no union."""
    count = config.get("num_control_type", 6) if name == "ControlNetUnionModel" else config.get("num_mode")
    return count if isinstance(count, int) else None


def is_for_inpainting(config: Mapping[str, Any]) -> bool:
    """Whether a network reads the image that is to be filled, and where."""
    return any(config.get(name) for name in ("extra_condition_channels", "extra_conditioning_channels"))


def family_and_task(pipeline: str) -> tuple[str, str] | None:
    """The family of a class of pipelines and its task, "" for text-to-image: `FluxImg2ImgPipeline` of `Flux`.

    None if the class is named in another way.
    """
    match = _PIPELINE.fullmatch(pipeline)
    return None if match is None else (match["family"], match["task"])


def control_type_of(name: str) -> str:
    """The type of control images that the name of a network, file or model says, else the name itself."""
    words = re.split(r"[^a-z0-9]+", name.lower())
    return next((_TYPES[word] for word in words if word in _TYPES), "-".join(filter(None, words))[:32].strip("-"))
