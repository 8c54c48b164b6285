"""Tiny pipelines of families that only edit."""

from typing import Any

import torch
from diffusers import (
    FluxFillPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionXLInstructPix2PixPipeline,
)

from tests.contract.pipelines import a_tiny_flux, a_tiny_sdxl, a_tiny_stable_diffusion
from tests.families.pipelines import with_options


def flux_fill() -> Any:
    """Its transformer sees the latents, the masked image and the mask, of 2 by 2 latents of 2 by 2 pixels."""
    pipe: Any = a_tiny_flux()
    torch.manual_seed(0)
    transformer = with_options(pipe.transformer, in_channels=16 + 16 + 16, out_channels=16, guidance_embeds=True)
    return FluxFillPipeline(**_without_adapters(pipe) | {"transformer": transformer})


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
