"""In which precision the networks of unclip-mini compute: bfloat16 on a CPU that has it, else as their weights are."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch


def quick(device: torch.device) -> AbstractContextManager[Any]:
    """Arithmetic in bfloat16 on a CPU that has it: twice as quick, and the eye sees no difference."""
    native = device.type == "cpu" and any(
        torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16")
    )
    return torch.autocast("cpu", torch.bfloat16) if native else nullcontext()
