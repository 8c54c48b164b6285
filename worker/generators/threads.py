"""The number of CPU threads with which networks are fastest."""

from typing import Any, Final

import torch

from worker.generators.denoiser import denoisers

CORES: Final = torch.get_num_threads()
"""torch's default: the physical cores that this process may use."""

# In a smaller network, an operation is so short that threads wait for each other longer than they work. unclip-mini
# (11 M) on two busy cores: 0.64 s an image with one thread and 1.61 s with two, 0.38 s and 2.9 s in batches of eight.
_PARAMETERS_WORTH_THREADS: Final = 100_000_000


def threads_of(pipe: Any) -> int:
    """The number of CPU threads with which the networks of a pipeline are fastest."""
    largest = max(sum(weight.numel() for weight in module.parameters()) for module in denoisers(pipe))
    return CORES if largest >= _PARAMETERS_WORTH_THREADS else 1
