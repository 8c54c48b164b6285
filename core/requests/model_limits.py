"""Values within the limits of a model: its ranges, and its lists of choices."""

import re

from core.catalog import Choices, Model, Range
from core.errors import InvalidParameter
from core.parameters.job import dimensions_of
from core.parameters.sizes import FreeSizes
from core.text import quote, shorten

_SIZE = re.compile(r"[1-9][0-9]{1,3}x[1-9][0-9]{1,3}")


def number_within(limit: Range, name: str, value: float | None) -> float | None:
    """A number of a range, or the default for None. Raises InvalidParameter."""
    if value is None:
        return limit.default
    if not limit.min <= value <= limit.max:
        number = shorten(f"{value:g}" if abs(value) < 1e300 else str(value))  # a larger int is no float
        raise InvalidParameter(f"{name} is {number}; the allowed range is {limit.min:g} to {limit.max:g}.", param=name)
    return value


def _free_size(limit: Choices, free: FreeSizes, value: str, model: Model) -> str:
    """A size within the bounds of a model. Raises InvalidParameter, with the nearest size that is allowed."""
    is_size = _SIZE.fullmatch(value) is not None
    if is_size and free.allow(*dimensions_of(value)):
        return value
    near = free.nearest(*dimensions_of(value)) if is_size else None
    advice = "" if near is None else f" The nearest is {near[0]}x{near[1]}."
    raise InvalidParameter(
        f"size {quote(value)} is not available for {model.id}; choose from {', '.join(limit.values)}, "
        f"or {free}.{advice}",
        param="size",
    )


def choice_of(limit: Choices, name: str, value: str | None, model: Model) -> str | None:
    """A value of a list, or the default for None and `auto`. Raises InvalidParameter."""
    if value in (None, "auto"):
        return limit.default
    if value not in limit.values:
        if limit.free is not None:
            return _free_size(limit, limit.free, value or "", model)
        values = ", ".join(limit.values)
        raise InvalidParameter(
            f"{name} {quote(value)} is not available for {model.id}; choose from {values}.", param=name
        )
    return value
