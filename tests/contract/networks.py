"""Small networks beside a tiny pipeline: LoRAs and ControlNets."""

from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, StableDiffusionPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from tests.contract.kinds import a_diffusers_generator
from tests.contract.pipelines import a_tiny_stable_diffusion, save_pipeline

CONTROL_TYPES = ("canny", "depth")


def a_lora(path: Path, seed: int) -> None:
    """A LoRA of the tiny pipeline's attention layers."""
    unet = a_tiny_stable_diffusion().unet
    unet.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
    torch.manual_seed(seed)
    state = {name: torch.randn_like(weight) for name, weight in get_peft_model_state_dict(unet).items()}
    StableDiffusionPipeline.save_lora_weights(path.parent, state, weight_name=path.name)


def a_control_network(unet: Any, folder: Path, seed: int) -> str:
    """A ControlNet of a denoiser. A new one has no effect, as its last layers are zero: these are not."""
    network = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(16, 32))
    torch.manual_seed(seed)
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    network.save_pretrained(folder)
    return str(folder).lstrip("/")


def a_controlled_generator(make: Any, folder: Path) -> Any:
    """A generator whose model has a ControlNet of each type."""
    pipe = make()
    controls = [
        {"type": kind, "source": a_control_network(pipe.unet, folder / kind, seed)}
        for seed, kind in enumerate(CONTROL_TYPES)
    ]
    generator = a_diffusers_generator(
        save_pipeline(pipe, folder / "model"), operations=["generation", "edit"], controls=controls
    )
    generator._settings = generator._settings.model_copy(update={"models_dir": Path("/")})
    return generator
