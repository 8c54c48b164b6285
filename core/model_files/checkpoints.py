"""Checkpoints: a whole model in one file, as model sites offer it. The names of its tensors tell the family.

The names are those with which diffusers finds the family (`diffusers/loaders/single_file_utils.py`), in its order.
Nothing here needs torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from core.model_files.weights import Shapes

CHECKPOINT_SUFFIXES: Final = (".safetensors",)

_UNET: Final = "model.diffusion_model."
_FIRST_LAYER: Final = f"{_UNET}input_blocks.0.0.weight"
_CROSS_ATTENTION: Final = f"{_UNET}input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight"
_XL: Final = "conditioner.embedders.1.model.transformer.resblocks.9.mlp.c_proj.bias"
_XL_REFINER: Final = "conditioner.embedders.0.model.transformer.resblocks.9.mlp.c_proj.bias"
_INPAINTING_CHANNELS: Final = 9  # latents, mask, and the latents of what stays
_TEXT_ENCODERS: Final = ("conditioner.", "cond_stage_model.", "text_encoders.")
_AUTOENCODERS: Final = ("first_stage_model.", "vae.")


@dataclass(frozen=True, slots=True)
class CheckpointFamily:
    """A family of checkpoints.

    name: as people call it.
    pipeline: the class of diffusers.
    config: the repository of the hub whose configuration files fit.
    """

    name: str
    pipeline: str
    config: str


SD1: Final = CheckpointFamily(
    "Stable Diffusion 1", "StableDiffusionPipeline", "stable-diffusion-v1-5/stable-diffusion-v1-5"
)
_SD1_INPAINTING: Final = CheckpointFamily(
    "Stable Diffusion 1 inpainting",
    "StableDiffusionInpaintPipeline",
    "stable-diffusion-v1-5/stable-diffusion-inpainting",
)
_SD2: Final = CheckpointFamily("Stable Diffusion 2", "StableDiffusionPipeline", "stabilityai/stable-diffusion-2-1")
_SD2_INPAINTING: Final = CheckpointFamily(
    "Stable Diffusion 2 inpainting", "StableDiffusionInpaintPipeline", "stabilityai/stable-diffusion-2-inpainting"
)
SDXL: Final = CheckpointFamily(
    "Stable Diffusion XL", "StableDiffusionXLPipeline", "stabilityai/stable-diffusion-xl-base-1.0"
)
_SDXL_INPAINTING: Final = CheckpointFamily(
    "Stable Diffusion XL inpainting",
    "StableDiffusionXLInpaintPipeline",
    "diffusers/stable-diffusion-xl-1.0-inpainting-0.1",
)
_SDXL_REFINER: Final = CheckpointFamily(
    "Stable Diffusion XL refiner", "StableDiffusionXLImg2ImgPipeline", "stabilityai/stable-diffusion-xl-refiner-1.0"
)
_FLUX_DEV: Final = CheckpointFamily("FLUX.1 dev", "FluxPipeline", "black-forest-labs/FLUX.1-dev")
_FLUX_SCHNELL: Final = CheckpointFamily("FLUX.1 schnell", "FluxPipeline", "black-forest-labs/FLUX.1-schnell")
_FLUX_FILL: Final = CheckpointFamily("FLUX.1 Fill", "FluxFillPipeline", "black-forest-labs/FLUX.1-Fill-dev")
_SD3: Final = CheckpointFamily(
    "Stable Diffusion 3", "StableDiffusion3Pipeline", "stabilityai/stable-diffusion-3-medium-diffusers"
)
_SD35_LARGE: Final = CheckpointFamily(
    "Stable Diffusion 3.5 large", "StableDiffusion3Pipeline", "stabilityai/stable-diffusion-3.5-large"
)
_TRANSFORMERS: Final[Sequence[tuple[str, CheckpointFamily]]] = (
    ("joint_blocks.37.x_block.mlp.fc1.weight", _SD35_LARGE),
    ("joint_blocks.0.context_block.adaLN_modulation.1.bias", _SD3),
    (
        "distilled_guidance_layer.in_proj.bias",
        CheckpointFamily("Chroma", "ChromaPipeline", "lodestones/Chroma1-HD"),
    ),
    ("guidance_in.in_layer.bias", _FLUX_DEV),
    ("double_blocks.0.img_attn.norm.key_norm.scale", _FLUX_SCHNELL),
    ("double_layers.0.attn.w2q.weight", CheckpointFamily("AuraFlow", "AuraFlowPipeline", "fal/AuraFlow-v0.3")),
    (
        "layers.0.adaLN_modulation.0.weight",
        CheckpointFamily("Z-Image", "ZImagePipeline", "Tongyi-MAI/Z-Image-Turbo"),
    ),
    ("cap_embedder.0.weight", CheckpointFamily("Lumina 2", "Lumina2Pipeline", "Alpha-VLLM/Lumina-Image-2.0")),
)
"""A tensor of the transformer, and the family that has it; the first that is there counts."""


def family_of(shapes: Shapes) -> CheckpointFamily | None:
    """The family of a checkpoint; None if it is none of those known here, or no checkpoint of an image model."""
    if _XL_REFINER in shapes:
        return _SDXL_REFINER
    is_inpainting = shapes.get(_FIRST_LAYER, (0, 0))[1] == _INPAINTING_CHANNELS
    if _XL in shapes:
        return _SDXL_INPAINTING if is_inpainting else SDXL
    width = shapes.get(_CROSS_ATTENTION, (0,))[-1]
    if width == 1024 and "edm_mean" not in shapes:
        return _SD2_INPAINTING if is_inpainting else _SD2
    if width == 768:
        return _SD1_INPAINTING if is_inpainting else SD1
    for name, family in _TRANSFORMERS:
        if name in shapes or f"{_UNET}{name}" in shapes:
            first = shapes.get("img_in.weight") or shapes.get(f"{_UNET}img_in.weight") or (0, 0)
            return _FLUX_FILL if family is _FLUX_DEV and first[1] == 384 else family
    return None


def has_all_parts(shapes: Shapes) -> bool:
    """Whether a checkpoint has text encoders and an autoencoder too, not only the denoiser."""
    return all(any(name.startswith(prefixes) for name in shapes) for prefixes in (_TEXT_ENCODERS, _AUTOENCODERS))
