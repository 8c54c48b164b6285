"""Names the package that a model needs and that is not installed, from the errors of the libraries."""

import re
from typing import Final

_REQUIRES: Final = re.compile(r"requires the ([\w. -]+?) library but it was not found")
_PACKAGES: Final = {"OmniGenMultiModalProcessor": "torchvision", "ftfy": "ftfy"}
"""By name that diffusers defines only if a package is there, and uses all the same: the package."""


def missing_package(error: BaseException) -> str | None:
    """The package whose absence caused an error; None if the error has another cause."""
    if isinstance(error, NameError) and error.name in _PACKAGES:
        return _PACKAGES[error.name]
    match = _REQUIRES.search(str(error)) if isinstance(error, ImportError) else None
    return None if match is None else match[1].strip().lower()
