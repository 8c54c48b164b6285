"""Files of LoRAs and IP-Adapters, read without torch: whether one can be loaded, and for which family of models it is.

Trainers name the tensors in their own ways: kohya's scripts (`lora_unet_…lora_down.weight`), diffusers
(`unet.…lora.down.weight`), and peft (`….lora_A.weight`). Each layer has a matrix that reduces, whose last dimension is
the width of the layer's input.
"""

import re
from dataclasses import dataclass
from typing import Final

from core.model_files.weights import Shapes

_REDUCING: Final = re.compile(r"(lora_down|lora_A|lora\.down|_lora\.down|lora_linear_layer\.down)\b")
_UNREADABLE: Final = (
    ("dora_scale", "DoRA"),
    ("lora_magnitude_vector", "DoRA"),
    (".hada_w", "LoHa of LyCORIS"),
    (".lokr_w", "LoKr of LyCORIS"),
    (".oft_", "OFT"),
    (".boft_", "BOFT"),
    (".a1.weight", "GLoRA of LyCORIS"),
    (".on_input", "IA3 of LyCORIS"),
)
"""Part of a tensor's name, and the kind of file that has it. Without these tensors, the image would be another."""


@dataclass(frozen=True, slots=True)
class LoraFamily:
    """The models that a LoRA was trained for.

    pipeline: how the names of their classes begin; width: of the text embeddings that the denoiser reads, if classes of
    several families begin so.
    """

    name: str
    pipeline: str
    width: int | None = None


_BY_TEXT_WIDTH: Final = {
    768: LoraFamily("Stable Diffusion 1", "StableDiffusion", 768),
    1024: LoraFamily("Stable Diffusion 2", "StableDiffusion", 1024),
    2048: LoraFamily("Stable Diffusion XL", "StableDiffusionXL"),
}
_BY_WIDTH: Final = {
    1536: LoraFamily("Stable Diffusion 3", "StableDiffusion3"),
    2432: LoraFamily("Stable Diffusion 3.5 large", "StableDiffusion3"),
    3072: LoraFamily("Qwen-Image", "QwenImage"),
}
_FLUX: Final = LoraFamily("FLUX.1", "Flux")
_FLUX2: Final = LoraFamily("FLUX.2", "Flux2")
_Z_IMAGE: Final = LoraFamily("Z-Image", "ZImage")
_OF_FLUX: Final = re.compile(r"double_blocks[._]\d|single_transformer_blocks[._]\d")
_OF_FLUX2: Final = re.compile(r"to_qkv_mlp_proj|single_blocks[._]\d+[._]linear1.*to_qkv_mlp")
_OF_Z_IMAGE: Final = re.compile(r"(^|[._])layers[._]\d+[._]attention[._]")
_CROSS_ATTENTION: Final = re.compile(r"attn2[._](processor\.)?to_k")
_OF_JOINT_ATTENTION: Final = re.compile(r"transformer_blocks[._]\d+[._]attn[._]to_q|joint_blocks[._]\d+")


def is_reducing(name: str) -> bool:
    """Whether a tensor is the reducing matrix of a layer, of which each has one."""
    return _REDUCING.search(name) is not None


def is_lora(shapes: Shapes) -> bool:
    """Whether a file has the tensors of a LoRA, of whatever kind."""
    return any(is_reducing(name) for name in shapes) or unreadable_kind(shapes) is not None


def unreadable_kind(shapes: Shapes) -> str | None:
    """The kind of a file whose tensors would be dropped when it is loaded, such as DoRA; None if there are none."""
    return next((kind for part, kind in _UNREADABLE for name in shapes if part in name), None)


def lora_family_of(shapes: Shapes) -> LoraFamily | None:
    """The family that a LoRA was trained for; None if its tensors do not tell one that is known here."""
    widths = {name: shape[-1] for name, shape in shapes.items() if is_reducing(name) and shape}
    if any(_OF_FLUX2.search(name) for name in widths):
        return _FLUX2
    if any(_OF_FLUX.search(name) for name in widths):
        return _FLUX
    if any(_OF_Z_IMAGE.search(name) for name in widths):
        return _Z_IMAGE
    for name, width in widths.items():
        if _CROSS_ATTENTION.search(name):
            return _BY_TEXT_WIDTH.get(width)
    for name, width in widths.items():
        if _OF_JOINT_ATTENTION.search(name):
            return _BY_WIDTH.get(width)
    return None


_OF_ADAPTER: Final = (("image_proj.", "ip_adapter_proj_model."), ("ip_adapter.", "double_blocks."))
"""How the names of an IP-Adapter's tensors begin; the second of each is of XLabs' files for FLUX.1."""
_BY_ADAPTER_WIDTH: Final = _BY_TEXT_WIDTH | {4096: _FLUX}


def is_ip_adapter(shapes: Shapes) -> bool:
    """Whether a file has the tensors of an IP-Adapter."""
    return all(any(name.startswith(prefixes) for name in shapes) for prefixes in _OF_ADAPTER)


def ip_adapter_family_of(shapes: Shapes) -> LoraFamily | None:
    """The family that an IP-Adapter was trained for; None if its tensors do not tell one that is known here."""
    widths = {shape[-1] for name, shape in shapes.items() if name.endswith(("to_k_ip.weight", "k_proj.weight"))}
    return _BY_ADAPTER_WIDTH.get(min(widths)) if widths else None


_FIRST_LAYER: Final = re.compile(r"(^|[._])(x_embedder|img_in)[._]")


def control_lora_inputs(shapes: Shapes) -> int | None:
    """The width of the image layer that a LoRA of FLUX.1 changes; None if it changes none, or is of another family.

    A Control-LoRA has twice the inputs of the model's own layer, for the control image beside the latents.
    """
    if lora_family_of(shapes) is not _FLUX or unreadable_kind(shapes) is not None:
        return None
    widths = (shape[-1] for name, shape in shapes.items() if is_reducing(name) and shape and _FIRST_LAYER.search(name))
    return next(widths, None)
