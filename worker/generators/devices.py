"""The device of a worker, and the type of a model's weights on it."""

from typing import Final

import torch

from core.catalog import Model
from core.errors import first_line
from core.generation_errors import DeviceFailed, ModelUnavailable

_DTYPES: Final = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def device_of(setting: str) -> torch.device:
    """The device of the setting SAFELIGHT_DEVICE. Raises DeviceFailed if torch does not have it, or not any more."""
    if setting == "auto":
        mps = torch.backends.mps.is_available()
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if mps else "cpu")
    try:
        torch.empty(0, device=setting)
    except (RuntimeError, AssertionError) as error:
        reason = first_line(error)
        raise DeviceFailed(f"SAFELIGHT_DEVICE is {setting!r}, which torch cannot use: {reason}") from error
    return torch.device(setting)


def dtype_of(model: Model, device: torch.device) -> torch.dtype:
    """The option `dtype`. By default half precision on CUDA, single precision elsewhere."""
    if name := model.options.get("dtype"):
        if name not in _DTYPES:
            raise ModelUnavailable(f"Model {model.id}: option dtype must be one of {', '.join(_DTYPES)}, not {name!r}.")
        return _DTYPES[str(name)]
    if device.type != "cuda":
        return torch.float32
    # bfloat16 cannot overflow, as some models do in float16; older cards only emulate it, slowly.
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
