"""Tables for a terminal: aligned columns, of which the last gives way to a narrow one. Chinese letters are two wide."""

import shutil
from collections.abc import Iterator, Sequence

AGES = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
NARROWEST_LAST = 20


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows of equally many cells as lines; the first row is the head."""
    from rich.cells import cell_len, set_cell_size

    widths = [max(cell_len(cell) for cell in column) for column in zip(*(row[:-1] for row in rows), strict=True)]
    room = max(NARROWEST_LAST, shutil.get_terminal_size().columns - sum(widths) - 2 * len(widths))
    for *cells, last in rows:
        if cell_len(last) > room:
            last = set_cell_size(last, room - 1).rstrip() + "…"
        yield "  ".join([*map(set_cell_size, cells, widths), last])


def plain(text: str) -> str:
    """A text on one line, without what would move the cursor."""
    return "".join(letter if letter.isprintable() else "�" for letter in " ".join(text.split()))


def counted(number: int, noun: str) -> str:
    """`1 line`, `2 lines`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def span(seconds: float) -> str:
    """A length of time in its largest unit."""
    size, unit = next(((size, unit) for size, unit in AGES if seconds >= size), AGES[-1])
    return f"{max(0, int(seconds // size))} {unit}"
