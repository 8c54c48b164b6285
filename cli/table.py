"""Text for a terminal: tables with aligned columns, durations, counts. Chinese characters are two columns wide."""

import shutil
from collections.abc import Iterator, Sequence

UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
MIN_LAST_WIDTH = 20


def format_table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The lines of a table; the first row is the header. The last column is cut if the terminal is narrow."""
    from rich.cells import cell_len, set_cell_size

    for *cells, last in align(rows):
        start = "  ".join([*cells, ""])
        width = max(MIN_LAST_WIDTH, shutil.get_terminal_size().columns - cell_len(start))
        text = last.rstrip()
        if cell_len(text) > width:
            text = set_cell_size(text, width - 1).rstrip() + "…"
        yield (start + text).rstrip()


def align(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """The cells of a table, padded to the width of their column."""
    from rich.cells import cell_len, set_cell_size

    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    return [[set_cell_size(cell, width) for cell, width in zip(row, widths, strict=True)] for row in rows]


def one_line(text: str) -> str:
    """A text on one line, without control characters."""
    return "".join(character if character.isprintable() else "�" for character in " ".join(text.split()))


def format_count(number: int, noun: str) -> str:
    """`1 line`, `2 lines`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def format_duration(seconds: float) -> str:
    """A duration in its largest unit."""
    size, unit = next(((size, unit) for size, unit in UNITS if seconds >= size), UNITS[-1])
    return f"{max(0, int(seconds // size))} {unit}"


def format_bytes(size: int | None) -> str:
    """A number of bytes in MB, or in GB from 10 GB on. Empty if it is not known."""
    if size is None:
        return ""
    return f"{size / 1e9:.1f} GB" if size >= 10**10 else f"{size / 1e6:.0f} MB"
