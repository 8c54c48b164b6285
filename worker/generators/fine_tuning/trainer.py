"""Trains the LoRA of a model, a step at a time.

All chance of a step comes from the seed and the number of the step. So a training that was interrupted and goes on
after a saved step ends with the same weights as one that was not, to the byte, on the same kind of device.
"""

import math
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

import torch
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from core.catalog import Model
from core.errors import first_line
from core.fine_tuning.hyperparameters import Hyperparameters
from core.generation_errors import GenerationError, ModelUnavailable, OutOfMemory
from core.settings import Settings
from worker.generators import memory
from worker.generators.device_errors import is_out_of_memory
from worker.generators.devices import device_of, dtype_of
from worker.generators.fine_tuning.objective import Example, Objective, objective_of
from worker.generators.packages import quieten
from worker.generators.source import find, load_pipeline
from worker.generators.threads import threads_of

_ADAPTER: Final = "default"
_WARM_UP: Final = 0.05
"""Share of the steps in which the learning rate rises. After it, it falls as a cosine to a tenth."""
_MAX_NORM: Final = 1.0


class Trainer:
    """One training. It holds the model's weights in memory."""

    def __init__(self, model: Model, settings: Settings, hyperparameters: Hyperparameters, seed: int) -> None:
        """Load the model. Raises GenerationError: it cannot be loaded, or its family cannot be trained."""
        self._hyperparameters = hyperparameters
        self._seed = seed
        self._device = device_of(settings.device)
        quieten()
        pipe, _ = load_pipeline(
            model, find(model, settings.models_dir), settings.models_dir, self._device, dtype_of(model, self._device)
        )
        pipe.set_progress_bar_config(disable=True)
        torch.set_num_threads(settings.torch_threads or threads_of(pipe))
        try:
            self._objective: Objective = objective_of(pipe)
        except ValueError as error:
            raise ModelUnavailable(f"Model {model.id}: {first_line(error)}.") from None
        self._count = 0
        self._parameters: dict[str, nn.Parameter] = {}
        self.step = 0
        """Steps that are done."""

    def encode(self, examples: Iterable[Example]) -> None:
        """Encode the examples, and add the adapters. Raises what `examples` raises."""
        self._count = self._objective.encode(examples)
        torch.manual_seed(self._seed)  # of the adapters' first weights
        rank = self._hyperparameters.rank
        for name, network in self._objective.networks.items():
            network.requires_grad_(False)
            ends = tuple(f".{layer}" for layer in self._objective.layers)
            layers = [layer for layer, _ in network.named_modules() if layer.endswith(ends)]
            config = LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=layers)
            inject_adapter_in_model(config, network, _ADAPTER)
            for parameter_name, parameter in network.named_parameters():
                if parameter.requires_grad:
                    parameter.data = parameter.data.float()
                    self._parameters[f"{name}.{parameter_name}"] = parameter
        values = list(self._parameters.values())
        self._optimizer = torch.optim.AdamW(values, lr=self._hyperparameters.learning_rate, weight_decay=1e-2)

    def train_step(self) -> float:
        """Do one step. Returns the loss. Raises GenerationError, and ModelUnavailable if the loss is no number."""
        chance = torch.Generator().manual_seed(self._seed * 1_000_003 + self.step)
        for group in self._optimizer.param_groups:
            group["lr"] = self._learning_rate()
        autocast = self._device.type == "cuda"
        try:
            with torch.autocast("cuda", torch.bfloat16) if autocast else nullcontext():
                loss = self._objective.loss(self._rows(), chance)
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            torch.nn.utils.clip_grad_norm_(self._parameters.values(), _MAX_NORM)
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise OutOfMemory(
                    "The training does not fit into the memory: lower batch_size or resolution."
                ) from None
            raise
        value = loss.item()
        if not math.isfinite(value):
            raise GenerationError(f"The loss of step {self.step + 1} is no number: lower the learning rate.")
        self.step += 1
        return value

    def _learning_rate(self) -> float:
        total = self._hyperparameters.steps
        rise = min(1.0, (self.step + 1) / max(1.0, _WARM_UP * total))
        fall = 0.1 + 0.9 * (1 + math.cos(math.pi * self.step / total)) / 2
        return self._hyperparameters.learning_rate * rise * fall

    def _rows(self) -> list[int]:
        """The examples of this step: each occurs once an epoch, in a new order."""
        size = self._hyperparameters.batch_size
        rows = []
        for position in range(self.step * size, (self.step + 1) * size):
            epoch, index = divmod(position, self._count)
            order = torch.randperm(self._count, generator=torch.Generator().manual_seed(self._seed + epoch))
            rows.append(int(order[index]))
        return rows

    def close(self) -> None:
        """Free the memory of the weights."""
        device = self._device
        vars(self).clear()
        memory.free(device)

    def save_state(self, path: Path) -> None:
        """Write what `load_state` needs to go on after this step."""
        tensors: dict[str, Tensor] = {}
        for name, parameter in self._parameters.items():
            tensors[f"weight.{name}"] = parameter.detach().cpu().contiguous()
            for key in ("exp_avg", "exp_avg_sq"):
                tensors[f"{key}.{name}"] = self._optimizer.state[parameter][key].cpu().contiguous()
        save_file(tensors, path, {"step": str(self.step)})

    def load_state(self, path: Path) -> None:
        """Go on after the step at which a state was saved. Raises ValueError if it is that of another training."""
        with safe_open(path, "pt") as file:
            names = {f"{key}.{name}" for key in ("weight", "exp_avg", "exp_avg_sq") for name in self._parameters}
            if set(file.keys()) != names:
                raise ValueError("the saved state has other tensors than this training")
            self.step = int(file.metadata()["step"])
            for name, parameter in self._parameters.items():
                parameter.data.copy_(file.get_tensor(f"weight.{name}"))
                self._optimizer.state[parameter] = {
                    "step": torch.tensor(float(self.step)),
                    "exp_avg": file.get_tensor(f"exp_avg.{name}").to(self._device),
                    "exp_avg_sq": file.get_tensor(f"exp_avg_sq.{name}").to(self._device),
                }

    def save_lora(self, path: Path) -> None:
        """Write the LoRA, as the model's family names its tensors."""
        weights: dict[str, Mapping[str, Any]] = {}
        for name, network in self._objective.networks.items():
            state = get_peft_model_state_dict(network, adapter_name=_ADAPTER)
            weights[name] = {key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}
        self._objective.save(weights, path)
