"""Tiny pipelines saved as model sites have them: one file, with the names that the families' first code gave.

diffusers converts from these names; this is the way back (`diffusers/loaders/single_file_utils.py`).
"""

import re
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from .pipelines import a_tiny_sdxl, a_tiny_stable_diffusion

State = dict[str, torch.Tensor]

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_UNET_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_OPEN_CLIP = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def a_checkpoint_of_sd1(folder: Path) -> tuple[Any, Path]:
    """A tiny Stable Diffusion 1, and its checkpoint. Its text encoder is as wide as the real one: that tells it."""
    torch.manual_seed(0)
    pipe: Any = a_tiny_stable_diffusion()
    encoder = CLIPTextModel(_clip(pipe, hidden_size=768, num_attention_heads=2))
    pipe = StableDiffusionPipeline(**pipe.components | {"unet": _unet(pipe, 768), "text_encoder": encoder})
    text = _prefixed("cond_stage_model.transformer.text_model.", _flat(encoder))
    return pipe, _save(_unet_and_vae(pipe) | text, folder / "sd1.safetensors")


def a_checkpoint_of_sdxl(folder: Path) -> tuple[Any, Path]:
    """A tiny Stable Diffusion XL, and its checkpoint. Its second text encoder has ten layers, and its own width."""
    torch.manual_seed(0)
    pipe: Any = a_tiny_sdxl()
    encoder = CLIPTextModelWithProjection(_clip(pipe, num_hidden_layers=10, hidden_size=24, projection_dim=24))
    pipe = StableDiffusionXLPipeline(
        **pipe.components | {"unet": _unet(pipe, 16 + 24), "text_encoder_2": encoder}, add_watermarker=False
    )
    first = _prefixed("conditioner.embedders.0.transformer.text_model.", _flat(pipe.text_encoder))
    second = _prefixed("conditioner.embedders.1.model.", _open_clip(encoder))
    return pipe, _save(_unet_and_vae(pipe) | first | second, folder / "sdxl.safetensors")


def _clip(pipe: Any, **changes: int) -> CLIPTextConfig:
    return CLIPTextConfig(**pipe.text_encoder.config.to_dict() | changes)


def _unet(pipe: Any, width: int) -> UNet2DConditionModel:
    config = dict(pipe.unet.config) | {
        "layers_per_block": 2,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": width,
        "projection_class_embeddings_input_dim": 6 * 8 + 24,  # of XL: six numbers, and the prompt
    }
    return UNet2DConditionModel.from_config(config)


def _unet_and_vae(pipe: Any) -> State:
    unet = {_unet_name(name): weight for name, weight in pipe.unet.state_dict().items()}
    blocks = len(pipe.vae.config.block_out_channels)
    vae = {_vae_name(name, blocks): weight for name, weight in pipe.vae.state_dict().items()}
    return _prefixed("model.diffusion_model.", unet) | _prefixed("first_stage_model.", vae)


def _unet_name(name: str) -> str:
    for new, old in _UNET_ENDS.items():
        if name.startswith(f"{new}."):
            return name.replace(new, old, 1)
    kind, block, part, number, rest = re.fullmatch(r"(down|mid|up)_blocks?\.?(\d*)\.(\w+)\.(\d)\.(.*)", name).groups()  # type: ignore[union-attr]  # every other name has this form
    place = 3 * int(block or 0) + int(number)  # two resnets, and a sampler
    if part == "resnets":
        for new, old in _RESNET.items():
            rest = rest.replace(new, old, 1) if rest.startswith(f"{new}.") else rest
    if kind == "mid":
        return f"middle_block.{2 * int(number) if part == 'resnets' else 1}.{rest}"
    if part == "downsamplers":
        return f"input_blocks.{place + 3}.0.op.{rest.removeprefix('conv.')}"
    if part == "upsamplers":
        return f"output_blocks.{place + 2}.1.{rest}"  # of the block without attention
    side = f"input_blocks.{place + 1}" if kind == "down" else f"output_blocks.{place}"
    return f"{side}.{0 if part == 'resnets' else 1}.{rest}"


def _vae_name(name: str, blocks: int) -> str:
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda match: f"mid.block_{int(match[1]) + 1}", name)
    if "mid_block.attentions.0." in name:
        name = name.replace("mid_block.attentions.0", "mid.attn_1")
        for new, old in _VAE_ATTENTION.items():
            name = name.replace(f".{new}.", f".{old}.")
    name = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d)", lambda match: f"up.{blocks - 1 - int(match[1])}", name)
    return name.replace(".resnets.", ".block.").replace("upsamplers.0", "upsample")


def _flat(encoder: Any) -> State:
    return {name.removeprefix("text_model."): weight for name, weight in encoder.state_dict().items()}


def _open_clip(encoder: Any) -> State:
    weights, state = _flat(encoder), {}
    for name, weight in weights.items():
        if (match := re.fullmatch(r"encoder\.layers\.(\d+)\.(.*)", name)) is None:
            continue
        layer, rest = match.groups()
        if rest.startswith("self_attn.q_proj"):
            kind = rest.rpartition(".")[2]
            parts = [weights[name.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj")]
            state[f"transformer.resblocks.{layer}.attn.in_proj_{kind}"] = torch.cat(parts)
        for new, old in _OPEN_CLIP.items():
            if rest.startswith(f"{new}."):
                state[f"transformer.resblocks.{layer}.{rest.replace(new, old, 1)}"] = weight
    return state | {
        "positional_embedding": weights["embeddings.position_embedding.weight"],
        "token_embedding.weight": weights["embeddings.token_embedding.weight"],
        "ln_final.weight": weights["final_layer_norm.weight"],
        "ln_final.bias": weights["final_layer_norm.bias"],
        "text_projection": weights["text_projection.weight"].T,
    }


def _prefixed(prefix: str, state: State) -> State:
    return {f"{prefix}{name}": weight for name, weight in state.items()}


def _save(state: State, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: weight.contiguous().clone() for name, weight in state.items()}, path)
    return path


def config_folder(pipe: Any, folder: Path) -> Path:
    """The folder of a pipeline without its weights."""
    pipe.save_pretrained(folder)
    for path in folder.rglob("*.safetensors"):
        path.unlink()
    return folder
