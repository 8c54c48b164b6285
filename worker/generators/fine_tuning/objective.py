"""What a family of models learns: its networks, and the loss of a batch of examples."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from PIL import Image
from torch import Generator, Tensor, nn

Example = tuple[Image.Image, str]
"""An image in RGB, square and of the training's resolution, and its caption."""


class Objective(Protocol):
    """The objective of a family. Examples are encoded once; then only the networks with adapters are needed."""

    networks: Mapping[str, nn.Module]
    """The networks that get adapters, by their names in the pipeline."""
    layers: tuple[str, ...]
    """The ends of the names of the layers that get adapters."""

    def encode(self, examples: Iterable[Example]) -> int:
        """Encode the examples, one at a time. Returns how many there are."""
        ...

    def loss(self, rows: Sequence[int], generator: Generator) -> Tensor:
        """The loss of a batch. rows: numbers of examples. generator: the only source of chance."""
        ...

    def save(self, weights: Mapping[str, Mapping[str, Tensor]], path: Path) -> None:
        """Write adapters as the family's LoRA file. weights: by network, with peft's names."""
        ...


def drop(rows: int, share: float, generator: Generator) -> Tensor:
    """Which rows lose their caption, (N,) bool: without some, guidance would stop to work."""
    import torch

    return torch.rand(rows, generator=generator) < share


def objective_of(pipe: Any) -> Objective:
    """The objective for a pipeline. Raises ValueError if its family cannot be trained."""
    from worker.generators.fine_tuning.stable_diffusion import StableDiffusionObjective
    from worker.generators.fine_tuning.unclip import UnclipObjective

    match type(pipe).__name__:
        case "UnclipPipeline":
            return UnclipObjective(pipe)
        case "StableDiffusionPipeline" | "StableDiffusionXLPipeline":
            return StableDiffusionObjective(pipe)
        case name:
            raise ValueError(f"{name} cannot be fine-tuned; Stable Diffusion 1, 2 and XL and unclip-mini can")
