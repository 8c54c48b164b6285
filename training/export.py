"""Writes the trained networks as one diffusers folder in half precision: what `models/unclip-mini` ships.

Can be run at any time while the decoder trains; it takes the averaged weights of the last checkpoint.
"""

from pathlib import Path

import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from training import autoencoder, clip, decoder, prior, tokenizer, upscaler
from training.configuration import Configuration
from worker.generators.unclip.pipeline import UnclipPipeline

SHIFT = 1.5
"""Time shift of the sampler: more of the steps where the layout is decided."""


def assemble(configuration: Configuration) -> UnclipPipeline:
    """The pipeline of the present checkpoints, in single precision."""
    encoders = clip.load(configuration)
    return UnclipPipeline(
        tokenizer=tokenizer.load(configuration),
        text_encoder=encoders.text,
        image_encoder=encoders.image,
        decoder=decoder.load(configuration),
        vae=autoencoder.load(configuration),
        prior=prior.load(configuration) if (configuration.data / "prior.pt").exists() else None,
        upscaler=upscaler.load(configuration) if (configuration.data / "upscaler.pt").exists() else None,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=SHIFT),
    )


def write(configuration: Configuration, folder: Path) -> None:
    """Write the folder: model_index.json, configurations, float16 safetensors. Other files there are left alone."""
    pipeline = assemble(configuration)
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.half()
    pipeline.save_pretrained(folder, safe_serialization=True)
    for weights in folder.rglob("*.safetensors"):
        weights.chmod(0o644)  # the libraries leave them to their owner, and a container's user could not read them
