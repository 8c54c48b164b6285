"""What the commands of `safelight admin` print: a table, or an object of JSON per row."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer

from cli.table import format_table

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object per row.")]


def print_rows(as_json: bool, rows: Iterable[Mapping[str, Any]], table: Sequence[Sequence[str]]) -> None:
    """Print rows as JSON, or the table of them; its first row is the header."""
    if as_json:
        for row in rows:
            print(json.dumps(row, ensure_ascii=False))
        return
    print(*format_table(table), sep="\n")
