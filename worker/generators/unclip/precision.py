"""The arithmetic of the networks of unclip-mini on a CPU: bfloat16 where the CPU has it, else that of their weights."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import torch

HAS_BFLOAT16: Final = any(torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16"))
"""Whether this CPU multiplies in bfloat16: it takes two thirds of the time, without a visible difference."""


def fast_arithmetic() -> AbstractContextManager[Any]:
    """A context in which networks compute in bfloat16 on a CPU that has it."""
    return torch.autocast("cpu", torch.bfloat16) if HAS_BFLOAT16 else nullcontext()
