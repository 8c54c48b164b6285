"""The measurements and their table: each figure, its reference, and the ratio.

A ratio is computed within a round, in which both sides had the same conditions; the table has the medians over rounds.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from cli.table import align


def quantile(values: Iterable[float], share: float) -> float:
    """The value that `share` of all values do not exceed (nearest rank)."""
    ascending = sorted(values)
    return ascending[min(int(share * len(ascending)), len(ascending) - 1)]


@dataclass(frozen=True, slots=True)
class Target:
    """What the median of a line must reach: of its ratio, or of Safelight's own figure, which then has a unit."""

    sign: Literal[">=", "<="]
    bound: float
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.sign} {self.bound:g} {self.unit}".rstrip()


def at_least(bound: float, unit: str = "") -> Target:
    """A target that larger figures reach."""
    return Target(">=", bound, unit)


def at_most(bound: float, unit: str = "") -> Target:
    """A target that smaller figures reach."""
    return Target("<=", bound, unit)


@dataclass(slots=True)
class Line:
    """One line of the table: a figure of ours, its reference, one value of each a round."""

    name: str
    unit: str
    reference: str
    target: Target | None = None
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)

    def add(self, ours: float, theirs: float) -> None:
        """Add the values of a round."""
        self.ours.append(ours)
        self.theirs.append(theirs)

    @property
    def ratios(self) -> list[float]:
        """Ours over theirs, by round. Not a number where the reference was too short for its clock."""
        pairs = zip(self.ours, self.theirs, strict=True)
        return [figure / reference if reference else math.nan for figure, reference in pairs]

    @property
    def is_reached(self) -> bool | None:
        """Whether the median reaches the target. None without a target."""
        if self.target is None:
            return None
        middle = statistics.median(self.ours if self.target.unit else self.ratios)
        return middle >= self.target.bound if self.target.sign == ">=" else middle <= self.target.bound

    def cells(self) -> tuple[str, ...]:
        """The line as it is printed."""
        return (
            self.name,
            summary(self.ours),
            self.unit,
            self.reference,
            summary(self.theirs),
            summary(self.ratios),
            "" if self.target is None else str(self.target),
            {None: "", True: "yes", False: "no"}[self.is_reached],
        )


HEADINGS = ("what", "Safelight", "unit", "reference of the same run", "reference", "ratio", "target", "reached")


def summary(values: Sequence[float]) -> str:
    """Median and range: `410 [398..431]`."""
    if not values:
        return "-"
    middle = statistics.median(values)
    digits = 0 if middle >= 100 else 1 if middle >= 10 else 2 if middle >= 1 else 3
    return f"{middle:.{digits}f} [{min(values):.{digits}f}..{max(values):.{digits}f}]"


def render(lines: Sequence[Line]) -> str:
    """The table as GitHub's Markdown, aligned for a terminal."""
    head, *rows = align([HEADINGS, *(line.cells() for line in lines)])
    rule = ["-" * len(cell) for cell in head]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))
