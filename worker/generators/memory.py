"""The memory of a device: what it has for weights, what a pipeline takes, and how it is given back."""

import ctypes
import gc
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import torch

_GPU_SHARE: Final = 0.8  # the rest is for activations: a pass of SDXL at 1024 x 1024 takes some 4 GiB
_RAM_SHARE: Final = 0.5
_CGROUP_LIMITS: Final = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def capacity(device: torch.device) -> int | None:
    """The bytes that weights may take on a device. None: unknown, as for an Apple GPU."""
    if device.type == "cuda":
        return int(_GPU_SHARE * torch.cuda.get_device_properties(device).total_memory)
    return int(_RAM_SHARE * _ram()) if device.type == "cpu" else None


def device_name(device: torch.device) -> str:
    """What an operator calls a device: the product of a GPU, else the type."""
    return str(torch.cuda.get_device_name(device)) if device.type == "cuda" else device.type


def modules_of(pipe: Any) -> list[torch.nn.Module]:
    """The networks of a pipeline."""
    return [value for value in pipe.components.values() if isinstance(value, torch.nn.Module)]


def size_of(networks: Sequence[torch.nn.Module]) -> int:
    """The bytes of networks. Tensors that they share count once."""
    tensors = {
        tensor.data_ptr(): tensor.numel() * tensor.element_size()
        for network in networks
        for tensor in (*network.parameters(), *network.buffers())
    }
    return sum(tensors.values())


def move(networks: Sequence[torch.nn.Module], device: torch.device, exceptions: Sequence[torch.nn.Module] = ()) -> None:
    """Move networks to a device, except some."""
    for network in networks:
        if not any(network is exception for exception in exceptions):
            network.to(device)


def largest(pipe: Any) -> int:
    """The bytes of the largest network: what a pipeline takes of a device at most while its networks wait in RAM."""
    return max((size_of([network]) for network in modules_of(pipe)), default=0)


def free(device: torch.device) -> None:
    """Give memory that is not used any more back to the driver or the system."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "cpu":
        with suppress(OSError, AttributeError):  # only glibc keeps freed memory, and has this function
            ctypes.CDLL(None).malloc_trim(0)


def _ram() -> int:
    """The bytes of memory that this process may use: the machine's, or its container's if that is less."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _CGROUP_LIMITS:
        with suppress(OSError, ValueError):  # `max`: no limit
            limits.append(int(Path(path).read_text()))
    return min(limits)
