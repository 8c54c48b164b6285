"""Tiny control networks of every family for which diffusers has a pipeline, beside the family's tiny pipeline."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    CogView4ControlPipeline,
    ControlNetUnionModel,
    FluxControlNetModel,
    FluxControlPipeline,
    QwenImageControlNetModel,
    SanaControlNetModel,
    SD3ControlNetModel,
    T2IAdapter,
    ZImageControlNetModel,
)
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from tests.contract.kinds import a_diffusers_generator
from tests.contract.pipelines import a_tiny_flux, a_tiny_sdxl, a_tiny_stable_diffusion, save_pipeline
from tests.families import chat, pipelines

Specs = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class ControlFamily:
    """A family with a kind of control networks.

    make: the pipeline. add: saves the networks into a folder, and returns the catalogue's `controls`, of which the
    first two can act together if `several`. edits: "image-to-image" and "inpainting", as far as it can.
    """

    make: Callable[[], Any]
    add: Callable[[Any, Path], Specs]
    edits: tuple[str, ...] = ()
    several: bool = True
    in_gate: bool = False
    options: Mapping[str, Any] | None = None
    has_weight: bool = True
    shares: bool = True


def save(network: Any, folder: Path, seed: int = 0) -> str:
    """Save a network. A new one has no effect, as its last layers are zero: these are not."""
    torch.manual_seed(seed)
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    network.save_pretrained(folder)
    return str(folder).lstrip("/")


def _union_of_sdxl(pipe: Any, folder: Path) -> Specs:
    torch.manual_seed(1)
    names = (
        "block_out_channels", "down_block_types", "cross_attention_dim", "attention_head_dim", "layers_per_block",
        "norm_num_groups", "addition_embed_type", "addition_time_embed_dim", "projection_class_embeddings_input_dim",
    )  # fmt: skip
    network = ControlNetUnionModel(
        **{name: pipe.unet.config[name] for name in names},
        conditioning_embedding_out_channels=(16, 32),
        num_trans_channel=8,
        num_trans_head=2,
        num_proj_channel=8,
    )
    source = save(network, folder / "union")
    return [{"type": "canny", "source": source, "mode": 3}, {"type": "depth", "source": source, "mode": 1}]


def stable_diffusion_with_attention_first() -> Any:
    """As its real denoiser is: the features of a T2I-Adapter have the size of the blocks with attention."""
    pipe: Any = a_tiny_stable_diffusion()
    blocks = {
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    }
    pipe.register_modules(unet=_changed(pipe.unet, **blocks))
    return pipe


def _changed(network: Any, **changes: Any) -> Any:
    """A network of the same class with another configuration."""
    torch.manual_seed(2)
    config = {name: value for name, value in network.config.items() if name != "_use_default_values"}
    return type(network).from_config(config | changes)


def _deeper(make: Callable[[], Any]) -> Callable[[], Any]:
    """A pipeline whose transformer has two layers: a control network acts behind the first."""

    def new() -> Any:
        pipe = make()
        pipe.register_modules(transformer=_changed(pipe.transformer, num_layers=2))
        return pipe

    return new


def _adapters(kind: str, factor: int) -> Callable[[Any, Path], Specs]:
    def add(pipe: Any, folder: Path) -> Specs:
        specs = []
        for seed, (name, channels) in enumerate((("canny", 1), ("depth", 3))):
            torch.manual_seed(seed)
            network = T2IAdapter(
                in_channels=channels, channels=[8, 16], num_res_blocks=1, downscale_factor=factor, adapter_type=kind
            )
            specs.append({"type": name, "source": save(network, folder / name, seed)})
        return specs

    return add


def _flux_union(pipe: Any, folder: Path) -> Specs:
    torch.manual_seed(1)
    network = FluxControlNetModel.from_config(dict(pipe.transformer.config) | {"num_mode": 3})
    source = save(network, folder / "union")
    return [{"type": "canny", "source": source, "mode": 0}, {"type": "depth", "source": source, "mode": 2}]


def _of_config(kind: Any, word: str = "transformer", **changes: Any) -> Callable[[Any, Path], Specs]:
    def add(pipe: Any, folder: Path) -> Specs:
        specs = []
        for seed, name in enumerate(("canny", "depth")):
            torch.manual_seed(seed)
            network = kind.from_config(dict(pipe.components[word].config) | changes)
            specs.append({"type": name, "source": save(network, folder / name, seed)})
        return specs

    return add


def _one_of_config(kind: Any, **changes: Any) -> Callable[[Any, Path], Specs]:
    def add(pipe: Any, folder: Path) -> Specs:
        source = _of_config(kind, **changes)(pipe, folder)[0]["source"]
        return [{"type": "canny", "source": source}, {"type": "depth", "source": source}]

    return add


def _z_image(pipe: Any, folder: Path) -> Specs:
    torch.manual_seed(1)
    network = ZImageControlNetModel(
        control_layers_places=[0],
        control_refiner_layers_places=[0],
        control_in_dim=9,
        add_control_noise_refiner="control_noise_refiner",
        dim=32,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
    )
    return [{"type": "canny", "source": save(network, folder / "canny")}]


def flux_with_control_inputs() -> Any:
    """FLUX.1 Canny: the denoiser reads latents and the control image."""
    pipe: Any = a_tiny_flux()
    parts = {name: part for name, part in pipe.components.items() if name not in ("image_encoder", "feature_extractor")}
    transformer = _changed(pipe.transformer, in_channels=32, out_channels=16)
    return FluxControlPipeline(**{**parts, "transformer": transformer})


def cogview_with_control_inputs() -> Any:
    """CogView 4 Control."""
    pipe: Any = chat.cogview_4()
    transformer = _changed(pipe.transformer, in_channels=8, out_channels=4)
    return CogView4ControlPipeline(**{**pipe.components, "transformer": transformer})


def a_control_lora(path: Path, seed: int = 3) -> None:
    """A Control-LoRA: its first layer has twice the inputs, and it has values of a normalization layer."""
    transformer = flux_with_control_inputs().transformer
    transformer.add_adapter(
        LoraConfig(r=2, lora_alpha=2, target_modules=["x_embedder", "to_q"], init_lora_weights=False)
    )
    torch.manual_seed(seed)
    state = {name: torch.randn_like(weight) for name, weight in get_peft_model_state_dict(transformer).items()}
    FluxControlPipeline.save_lora_weights(path.parent, state, weight_name=path.name)


def _control_lora(pipe: Any, folder: Path) -> Specs:
    a_control_lora(folder / "canny.safetensors")
    return [{"type": "canny", "source": str(folder / "canny.safetensors").lstrip("/")}]


def _none(pipe: Any, folder: Path) -> Specs:
    return [{"type": "canny"}]


BOTH = ("image-to-image", "inpainting")
_NO_BINNING = {"use_resolution_binning": False}

FAMILIES: dict[str, ControlFamily] = {
    "Stable Diffusion XL, union": ControlFamily(a_tiny_sdxl, _union_of_sdxl, BOTH, in_gate=True),
    "Stable Diffusion 1, T2I-Adapter": ControlFamily(
        stable_diffusion_with_attention_first, _adapters("full_adapter", 2), in_gate=True
    ),
    "Stable Diffusion XL, T2I-Adapter": ControlFamily(a_tiny_sdxl, _adapters("full_adapter_xl", 4)),
    "FLUX.1, union": ControlFamily(a_tiny_flux, _flux_union, BOTH),
    "FLUX.1 Canny": ControlFamily(flux_with_control_inputs, _none, BOTH, several=False, has_weight=False),
    "FLUX.1, Control-LoRA": ControlFamily(
        a_tiny_flux, _control_lora, BOTH, several=False, has_weight=False, in_gate=True
    ),
    "Stable Diffusion 3": ControlFamily(
        _deeper(pipelines.stable_diffusion_3),
        _of_config(SD3ControlNetModel, extra_conditioning_channels=0),
        shares=False,
    ),
    "Qwen-Image": ControlFamily(chat.qwen_image, _one_of_config(QwenImageControlNetModel, extra_condition_channels=0)),
    "Sana": ControlFamily(_deeper(chat.sana), _of_config(SanaControlNetModel), several=False, options=_NO_BINNING),
    "Z-Image": ControlFamily(pipelines.z_image, _z_image, ("inpainting",), several=False),
    "CogView 4 Control": ControlFamily(
        cogview_with_control_inputs, _none, several=False, has_weight=False, shares=False
    ),
}

INPAINTING: dict[str, ControlFamily] = {
    "Qwen-Image": ControlFamily(chat.qwen_image, _of_config(QwenImageControlNetModel, extra_condition_channels=4)),
    "Stable Diffusion 3": ControlFamily(
        _deeper(pipelines.stable_diffusion_3), _of_config(SD3ControlNetModel, extra_conditioning_channels=1)
    ),
}
"""Families with control networks that were trained for inpainting."""


def a_generator_of(family: ControlFamily, folder: Path, **changes: Any) -> Any:
    """The generator of a family with its control networks."""
    pipe = family.make()
    specs = family.add(pipe, folder)
    generator = a_diffusers_generator(
        save_pipeline(pipe, folder / "model"),
        operations=["generation", "edit"],
        controls=[dict(spec) for spec in specs],
        options=dict(family.options or {}),
        **changes,
    )
    generator._settings = generator._settings.model_copy(update={"models_dir": Path("/")})
    return generator
