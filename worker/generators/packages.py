"""Names the package that a model needs and that is not installed, from the errors of the libraries."""

import re
from typing import Final

_REQUIRES: Final = re.compile(r"requires the ([\w. -]+?) library but it was not found")
_FROM_TORCHVISION: Final = frozenset({"OmniGenMultiModalProcessor"})
"""Names that diffusers defines only if torchvision is there, and uses all the same."""


def missing_package(error: BaseException) -> str | None:
    """The package whose absence caused an error; None if the error has another cause."""
    if isinstance(error, NameError) and error.name in _FROM_TORCHVISION:
        return "torchvision"
    match = _REQUIRES.search(str(error)) if isinstance(error, ImportError) else None
    return None if match is None else match[1].strip().lower()
