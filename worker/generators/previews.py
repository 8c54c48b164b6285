"""Previews of unfinished images: a callback of the pipeline offers one to the progress reporter after each step.

Previews need a pipeline with its own method `preview` or with diffusers' standard autoencoder; other pipelines have
none. Latents are decoded only if the reporter wants the preview.
"""

from functools import partial
from typing import Any, Final

import torch
import torch.nn.functional as F  # the name every torch reader knows
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor

from core.generation import ProgressReporter
from worker.generators.call import call_parameters

_LARGEST_LATENTS: Final = 32
"""Latents are scaled down to this side before decoding: 256 px with most models, in a fraction of a step's time."""


def callbacks(pipe: Any, reporter: ProgressReporter, width: int, height: int) -> dict[str, Any]:
    """The arguments that make a call of `pipe` offer previews to `reporter`; empty if the pipeline has none."""
    tensor_name = "clean_latents" if hasattr(pipe, "preview") else "latents"
    # Pipelines that combine two others, such as Kandinsky 2.2, take the callback but list no tensors.
    tensor_names = getattr(pipe, "_callback_tensor_inputs", ())
    if "callback_on_step_end" not in call_parameters(pipe) or tensor_name not in tensor_names:
        return {}
    if not hasattr(pipe, "preview") and not _has_standard_autoencoder(pipe):
        return {}

    def offer(pipe: Any, step: int, timestep: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        if step + 1 < getattr(pipe, "num_timesteps", step + 2):  # the last step gives the image itself
            latents = tensors.pop(tensor_name)
            if hasattr(pipe, "preview"):
                reporter.preview(partial(pipe.preview, latents))
            elif (grid := _grid(pipe, latents, width, height)) is not None:
                reporter.preview(partial(_decode, pipe.vae, grid))
        return {}

    return {"callback_on_step_end": offer, "callback_on_step_end_tensor_inputs": [tensor_name]}


def _has_standard_autoencoder(pipe: Any) -> bool:
    vae = pipe.components.get("vae")
    if not isinstance(vae, AutoencoderKL):
        return False
    # Such an autoencoder overflows in half precision; its pipeline raises the precision at the end only.
    return not (vae.config.force_upcast and vae.dtype == torch.float16)


def _grid(pipe: Any, latents: Tensor, width: int, height: int) -> Tensor | None:
    """Latents as (N, C, H, W); None for an unknown shape."""
    if latents.ndim == 3 and hasattr(pipe, "_unpack_latents"):  # Flux keeps them as a row of patches
        latents = pipe._unpack_latents(latents, height, width, pipe.vae_scale_factor)
    return latents if latents.ndim == 4 and latents.shape[1] == pipe.vae.config.latent_channels else None


def _decode(vae: AutoencoderKL, latents: Tensor) -> list[Image.Image]:
    """Small images of latents (N, C, H, W)."""
    config, (height, width) = vae.config, latents.shape[-2:]
    reduction = max(1.0, max(height, width) / _LARGEST_LATENTS)
    small = F.interpolate(latents, (round(height / reduction), round(width / reduction)), mode="area")
    with torch.inference_mode():
        images = vae.decode((small / config.scaling_factor + (config.shift_factor or 0.0)).to(vae.dtype)).sample
    pixels = (images.float() * 127.5 + 127.5).nan_to_num(0).clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(image) for image in pixels]
