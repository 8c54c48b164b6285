"""Muon: momentum whose matrices are orthogonalised before they are applied, so every direction learns at once.

For the inner matrices of a network only; biases, norms, embeddings and outer layers stay with AdamW. Updates are scaled
to AdamW's usual size, so both share one learning rate.

Sources: Jordan et al. 2024 (kellerjordan.github.io/posts/muon); the scale, Liu et al. 2025 (arXiv:2502.16982).
"""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

_QUINTIC = (3.4445, -4.7750, 2.0315)


class Muon(Optimizer):
    """Holds matrices and convolution kernels, the latter as (out, in x height x width) matrices."""

    def __init__(
        self, params: Iterable[nn.Parameter], base_lr: float, *, momentum: float = 0.95, weight_decay: float = 0.01
    ) -> None:
        defaults = {"lr": base_lr, "base_lr": base_lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # a closure makes no sense here
        for group in self.param_groups:
            alike: dict[tuple[int, int], list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike[len(parameter), parameter[0].numel()].append(parameter)
            for shape, parameters in alike.items():
                self._update(shape, parameters, group)

    def _update(self, shape: tuple[int, int], parameters: list[Tensor], group: dict[str, float]) -> None:
        """One batched update of all matrices of one shape."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for parameter in parameters:
            if "momentum" not in self.state[parameter]:
                self.state[parameter]["momentum"] = torch.zeros_like(parameter)
        averages = [self.state[parameter]["momentum"] for parameter in parameters]
        torch._foreach_lerp_(averages, gradients, 1 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, averages, group["momentum"])  # Nesterov
        stacked = torch.stack([matrix.reshape(shape) for matrix in ahead])
        updates = orthogonalise(stacked).to(parameters[0].dtype) * (0.2 * max(shape) ** 0.5)
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        changes = [update.reshape(parameter.shape) for update, parameter in zip(updates, parameters, strict=True)]
        torch._foreach_add_(parameters, changes, alpha=-group["lr"])


def orthogonalise(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Push all singular values of (N, rows, columns) towards one, by Newton-Schulz iteration in bfloat16."""
    a, b, c = _QUINTIC
    norms: Tensor = torch.linalg.matrix_norm(matrices, keepdim=True)
    x: Tensor = matrices / (norms + 1e-7)
    tall = x.shape[1] > x.shape[2]
    x = (x.mT if tall else x).bfloat16().contiguous()
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x
