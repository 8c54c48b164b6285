"""The libraries of models: which package is missing, from their errors; and how they are made silent."""

import re
from typing import Final

import diffusers
import transformers

_REQUIRES: Final = re.compile(r"requires the ([\w. -]+?) library but it was not found")
_PACKAGES: Final = {"OmniGenMultiModalProcessor": "torchvision", "ftfy": "ftfy"}
"""By name that diffusers defines only if a package is there, and uses all the same: the package."""


def missing_package(error: BaseException) -> str | None:
    """The package whose absence caused an error; None if the error has another cause."""
    if isinstance(error, NameError) and error.name in _PACKAGES:
        return _PACKAGES[error.name]
    match = _REQUIRES.search(str(error)) if isinstance(error, ImportError) else None
    return None if match is None else match[1].strip().lower()


def quieten() -> None:
    """Turn off the libraries' progress bars and their advice in the worker's log."""
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
