"""Free sizes of a model: any width and height within bounds, beside the sizes that the catalogue names."""

from math import log, sqrt
from typing import Annotated, Self

from annotated_types import Ge, Le
from pydantic import BaseModel, ConfigDict, Field, model_validator

Side = Annotated[int, Ge(16), Le(4096)]


class FreeSizes(BaseModel):
    """The bounds of free sizes, all included. Sides are in pixels."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    multiple: Annotated[int, Ge(1), Le(256)] = Field(16, description="Both sides are multiples of it.")
    min_side: Side = Field(256, description="The shortest side.")
    max_side: Side = Field(2048, description="The longest side.")
    min_pixels: Annotated[int, Ge(1)] = Field(1, description="The smallest area, in pixels.")
    max_pixels: Annotated[int, Ge(1)] = Field(4096 * 4096, description="The largest area, in pixels.")

    @model_validator(mode="after")
    def _has_sizes(self) -> Self:
        if self.min_side % self.multiple or self.max_side % self.multiple:
            raise ValueError(f"min_side and max_side must be multiples of {self.multiple}")
        if self.min_side > self.max_side or self.min_pixels > self.max_pixels:
            raise ValueError("a minimum must not be above its maximum")
        if self.min_side**2 > self.max_pixels or self.max_side**2 < self.min_pixels:
            raise ValueError("no size has its sides and its area within these bounds")
        return self

    def allow(self, width: int, height: int) -> bool:
        """Whether an image may have this size."""
        short, long = sorted((width, height))
        sides_fit = self.min_side <= short and long <= self.max_side
        is_multiple = width % self.multiple == height % self.multiple == 0
        return sides_fit and is_multiple and self.min_pixels <= width * height <= self.max_pixels

    def nearest(self, width: int, height: int) -> tuple[int, int] | None:
        """The allowed size with the most similar area and aspect ratio; None if none is close to it."""
        scale = sqrt(min(max(width * height, self.min_pixels), self.max_pixels) / (width * height))
        target = width * scale, height * scale
        candidates = [(x, y) for x in self._near(target[0]) for y in self._near(target[1]) if self.allow(x, y)]
        return min(candidates, key=lambda size: _distance(size, target), default=None)

    def _near(self, side: float) -> list[int]:
        """Multiples around a side, within the bounds of sides."""
        bounded_side = min(max(side, self.min_side), self.max_side)
        below = int(bounded_side // self.multiple) * self.multiple
        return [below + step * self.multiple for step in (-2, -1, 0, 1, 2)]

    def __str__(self) -> str:
        """The bounds, for messages."""
        return (
            f"WIDTHxHEIGHT in multiples of {self.multiple}, sides from {self.min_side} to {self.max_side}, "
            f"{self.min_pixels} to {self.max_pixels} pixels"
        )


def _distance(size: tuple[int, int], target: tuple[float, float]) -> tuple[float, float]:
    """How much the aspect ratio and the area differ, as logarithms; the aspect ratio counts first."""
    wide, high = (log(side / other) for side, other in zip(size, target, strict=True))
    return round(abs(wide - high), 2), abs(wide + high)
