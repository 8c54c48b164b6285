"""Tiny IP-Adapters with random weights, in the files that their authors publish, and their image encoders."""

from pathlib import Path
from typing import Any

import torch
from diffusers.models.attention_processor import SD3IPAdapterJointAttnProcessor2_0
from diffusers.models.embeddings import ImageProjection, IPAdapterTimeImageProjection
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection, SiglipVisionConfig, SiglipVisionModel

from tests.contract.kinds import a_diffusers_generator
from tests.contract.pipelines import save_pipeline

WIDTH = 16
_ENCODER = {
    "hidden_size": WIDTH,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}


def an_image_encoder(folder: Path, *, is_siglip: bool = False) -> None:
    torch.manual_seed(3)
    kind: Any = SiglipVisionModel if is_siglip else CLIPVisionModelWithProjection
    config: Any = SiglipVisionConfig(**_ENCODER) if is_siglip else CLIPVisionConfig(**_ENCODER, projection_dim=WIDTH)
    kind(config).save_pretrained(folder)


def an_ip_adapter(pipe: Any, file: Path, seed: int) -> None:
    """An adapter of a pipeline's denoiser."""
    torch.manual_seed(seed)
    if hasattr(pipe, "is_ip_adapter_active"):
        parts = _of_stable_diffusion_3(pipe.transformer)
    else:
        parts = _of_unet(pipe.unet) if hasattr(pipe, "unet") else _of_flux(pipe.transformer)
    save_file(
        {f"{part}.{name}": value.contiguous() for part, values in parts.items() for name, value in values.items()},
        file,
    )


def _projection(width: int) -> dict[str, torch.Tensor]:
    state = ImageProjection(image_embed_dim=WIDTH, cross_attention_dim=width, num_image_text_embeds=4).state_dict()
    return {name.replace("image_embeds", "proj"): value for name, value in state.items()}


def _of_unet(unet: Any) -> dict[str, dict[str, torch.Tensor]]:
    width, channels = unet.config.cross_attention_dim, unet.config.block_out_channels
    layers: dict[str, torch.Tensor] = {}
    for number, name in enumerate(name for name in unet.attn_processors if "attn2" in name):
        block, place, *_ = name.split(".")
        by_place = {"up_blocks": channels[::-1], "down_blocks": channels}
        size = by_place[block][int(place)] if block in by_place else channels[-1]
        layers |= {f"{2 * number + 1}.to_{key}_ip.weight": torch.randn(size, width) for key in "kv"}
    return {"image_proj": _projection(width), "ip_adapter": layers}


def _of_flux(transformer: Any) -> dict[str, dict[str, torch.Tensor]]:
    width, size = transformer.config.joint_attention_dim, transformer.inner_dim
    layers: dict[str, torch.Tensor] = {}
    for number in range(transformer.config.num_layers):
        layers |= {f"{number}.to_{key}_ip.weight": torch.randn(size, width) for key in "kv"}
        layers |= {f"{number}.to_{key}_ip.bias": torch.randn(size) for key in "kv"}
    return {"image_proj": _projection(width), "ip_adapter": layers}


def _of_stable_diffusion_3(transformer: Any) -> dict[str, dict[str, torch.Tensor]]:
    size = transformer.config.attention_head_dim * transformer.config.num_attention_heads
    projection = IPAdapterTimeImageProjection(
        embed_dim=WIDTH, output_dim=size, hidden_dim=64, depth=4, heads=1, num_queries=2, timestep_in_dim=320
    )
    layers: dict[str, torch.Tensor] = {}
    for number, _ in enumerate(transformer.attn_processors):
        layer = SD3IPAdapterJointAttnProcessor2_0(
            hidden_size=size,
            ip_hidden_states_dim=size,
            head_dim=transformer.config.attention_head_dim,
            timesteps_emb_dim=64,
        )
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        layers |= {f"{number}.{name}": value for name, value in layer.state_dict().items()}
    return {"image_proj": projection.state_dict(), "ip_adapter": layers}


def an_adapted_generator(make: Any, folder: Path, **changes: Any) -> Any:
    """A generator whose model has the IP-Adapters `plus` and `style`."""
    pipe = make()
    an_image_encoder(folder / "encoder", is_siglip=hasattr(pipe, "is_ip_adapter_active"))
    entries = []
    for seed, name in enumerate(("plus", "style")):
        an_ip_adapter(pipe, folder / f"{name}.safetensors", seed)
        place = str(folder).lstrip("/")
        entries.append({"name": name, "file": f"{place}/{name}.safetensors", "image_encoder": f"{place}/encoder"})
    model = save_pipeline(pipe, folder / "model")
    generator = a_diffusers_generator(
        model, **({"operations": ["generation", "edit"], "ip_adapters": entries} | changes)
    )
    generator._settings = generator._settings.model_copy(update={"models_dir": Path("/")})
    return generator
