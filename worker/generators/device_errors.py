"""Tells the failures of a device from those of a request: a broken driver, memory or connection, by torch's messages.

Not among them: too little memory, and an argument that a kernel refuses. Both are about the size of the request.
"""

from typing import Final

import torch

from core.errors import first_line
from core.generation_errors import DeviceFailed, OutOfMemory

_WORDS: Final = (
    "CUDA error", "CUDA driver", "CUDA unknown error", "CUDA-capable device", "No CUDA GPUs", "device-side assert",
    "cudaError", "HIP error", "hipError", "NVML", "uncorrectable ECC", "CUBLAS_STATUS_EXECUTION_FAILED",
    "CUBLAS_STATUS_INTERNAL_ERROR", "CUBLAS_STATUS_NOT_INITIALIZED", "CUDNN_STATUS_EXECUTION_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR", "CUDNN_STATUS_NOT_INITIALIZED", "Found no NVIDIA driver",
)  # fmt: skip
_OF_THE_REQUEST: Final = ("invalid configuration argument", "invalid argument", "cudaErrorInvalidValue")
_NO_MEMORY: Final = ("out of memory", "not enough memory", "can't allocate memory", "STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device is out of memory. Some allocators have a class for it; others only a message."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)


def is_device_failure(error: BaseException) -> bool:
    """Whether the device itself has failed, so that other requests would fail on it too."""
    if is_out_of_memory(error) or not isinstance(error, RuntimeError | AssertionError):
        return False
    message = str(error)
    return any(words in message for words in _WORDS) and not any(words in message for words in _OF_THE_REQUEST)


def raise_device_error(error: Exception, network: str) -> None:
    """Raise OutOfMemory or DeviceFailed for an error of loading a network, if it is one of the device."""
    if is_out_of_memory(error):
        raise OutOfMemory(f"{network} does not fit.") from error
    if is_device_failure(error):
        raise DeviceFailed(f"{network} could not be loaded to the device: {first_line(error)}") from error
