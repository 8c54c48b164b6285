"""Tiny pipelines of families that only edit."""

from typing import Any

import torch
from diffusers import (
    FluxFillPipeline,
    FluxPriorReduxPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionXLInstructPix2PixPipeline,
)
from diffusers.pipelines.flux.modeling_flux import ReduxImageEncoder
from transformers import SiglipImageProcessorPil, SiglipVisionConfig, SiglipVisionModel

from tests.contract.pipelines import a_tiny_flux, a_tiny_sdxl, a_tiny_stable_diffusion
from tests.families.pipelines import with_options


def flux_fill() -> Any:
    """Its transformer sees the latents, the masked image and the mask, of 2 by 2 latents of 2 by 2 pixels."""
    pipe: Any = a_tiny_flux()
    torch.manual_seed(0)
    transformer = with_options(pipe.transformer, in_channels=16 + 16 + 16, out_channels=16, guidance_embeds=True)
    return FluxFillPipeline(**_without_adapters(pipe) | {"transformer": transformer})


def flux_redux() -> Any:
    """Draws nothing itself: it makes the embeddings of an image, which a FLUX.1 reads like those of a prompt."""
    torch.manual_seed(0)
    vision = SiglipVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=16
    )
    return FluxPriorReduxPipeline(
        image_encoder=SiglipVisionModel(vision),
        feature_extractor=SiglipImageProcessorPil(size={"height": 32, "width": 32}),
        image_embedder=ReduxImageEncoder(redux_dim=16, txt_in_features=16),
    )


def inpainting() -> Any:
    return a_tiny_stable_diffusion(StableDiffusionInpaintPipeline, channels=9)


def instruct_pix2pix() -> Any:
    return a_tiny_stable_diffusion(StableDiffusionInstructPix2PixPipeline, channels=8)


def instruct_pix2pix_xl() -> Any:
    pipe: Any = a_tiny_sdxl()
    torch.manual_seed(0)
    return StableDiffusionXLInstructPix2PixPipeline(
        **_without_adapters(pipe) | {"unet": with_options(pipe.unet, in_channels=8)}, add_watermarker=False
    )


def _without_adapters(pipe: Any) -> dict[str, Any]:
    return {name: part for name, part in pipe.components.items() if name not in ("image_encoder", "feature_extractor")}
