"""LoRAs of unclip-mini: adapters in its decoder and its prior, with the methods of diffusers' pipelines.

A file has `network.layer.lora_A.weight` and `lora_B.weight` for each layer that it changes. The scale of an adapter
is 1: its alpha is its rank.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file
from torch import Tensor


class UnclipLoras:
    """What a pipeline needs so that LoRAs can be loaded into it."""

    lora_networks: ClassVar[tuple[str, ...]] = ("decoder", "prior")

    @classmethod
    def lora_state_dict(cls, folder: Path, weight_name: str, **_: Any) -> dict[str, Tensor]:
        """The tensors of a file."""
        return load_file(Path(folder) / weight_name)

    def load_lora_weights(self, folder: Path, weight_name: str, adapter_name: str) -> None:
        """Add the layers of a file to the networks, and switch them on. Raises ValueError for an unknown network."""
        state = self.lora_state_dict(folder, weight_name)
        if unknown := {name.partition(".")[0] for name in state} - set(self.lora_networks):
            raise ValueError(f"the model has no network {min(unknown)} for a LoRA")
        for name in self.lora_networks:
            part = {key.partition(".")[2]: value for key, value in state.items() if key.startswith(f"{name}.")}
            network = getattr(self, name, None)
            if part and network is None:
                raise ValueError(f"the model has no {name}")
            if part:
                _add(network, part, adapter_name)

    def set_adapters(self, names: Sequence[str], weights: Sequence[float]) -> None:
        """Apply these adapters, and no others."""
        for layer in self._lora_layers():
            present = [name for name in names if name in layer.lora_A]
            layer.set_adapter(present)
            for name, weight in zip(names, weights, strict=True):
                if name in present:
                    layer.set_scale(name, weight)

    def delete_adapters(self, name: str) -> None:
        """Remove an adapter."""
        for layer in self._lora_layers():
            if name in layer.lora_A:
                layer.delete_adapter(name)
        for network in self._lora_modules():
            getattr(network, "peft_config", {}).pop(name, None)

    def _lora_modules(self) -> list[Any]:
        networks = [getattr(self, name, None) for name in self.lora_networks]
        return [network for network in networks if network is not None]

    def _lora_layers(self) -> list[Any]:
        modules = (module for network in self._lora_modules() for module in network.modules())
        return [module for module in modules if isinstance(module, BaseTunerLayer)]


def _add(network: Any, state: Mapping[str, Tensor], adapter_name: str) -> None:
    layers = {
        key.removesuffix(".lora_A.weight"): value for key, value in state.items() if key.endswith(".lora_A.weight")
    }
    ranks = {name: weight.shape[0] for name, weight in layers.items()}
    if not ranks:
        raise ValueError("the file has no layers")
    modules = dict(network.named_modules())
    if unknown := [name for name in ranks if name not in modules]:
        raise ValueError(f"{len(unknown)} of its {len(ranks)} layers are not in the networks of the model")
    config = LoraConfig(
        r=max(ranks.values()), lora_alpha=max(ranks.values()), rank_pattern=ranks, alpha_pattern=ranks,
        target_modules=list(ranks), init_lora_weights=False,
    )  # fmt: skip
    inject_adapter_in_model(config, network, adapter_name)
    result: Any = set_peft_model_state_dict(network, dict(state), adapter_name)
    if result.unexpected_keys:
        raise ValueError(f"{len(result.unexpected_keys)} of its tensors do not fit")
    network.requires_grad_(False)
