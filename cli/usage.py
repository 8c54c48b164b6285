"""`safelight usage`: what projects used, as a table or CSV."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from cli.database import open_database
from cli.environment import read_settings, with_embedded_urls
from cli.errors import CommandError
from core.reports import usage as usage_statements
from core.responses.usage import CSV_COLUMNS, as_csv

WIDTHS = {"1m": timedelta(minutes=1), "1h": timedelta(hours=1), "1d": timedelta(days=1)}
MAX_ROWS = 100_000


def usage(
    days: Annotated[int, typer.Option(min=1, max=3660, help="Days until now.")] = 30,
    by: Annotated[str, typer.Option(help="Columns to group by, separated by commas.")] = "project_id,model",
    bucket: Annotated[str, typer.Option(help="Width of a row in time: 1m, 1h or 1d.")] = "1d",
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Print images, bytes, device-seconds and costs of all projects."""
    names = [name.strip() for name in by.split(",") if name.strip()]
    if unknown := set(names) - set(usage_statements.DIMENSIONS):
        raise CommandError(
            f"--by: {min(unknown)} is not a column. Choose from {', '.join(usage_statements.DIMENSIONS)}."
        )
    if bucket not in WIDTHS:
        raise CommandError(f"--bucket must be one of {', '.join(WIDTHS)}.")
    end = datetime.now(UTC)
    start = (end - timedelta(days=days)).replace(hour=0, minute=0, second=0, microsecond=0)
    statement = usage_statements.list_usage(
        start,
        end + timedelta(minutes=1),
        WIDTHS[bucket],
        group_by=[name for name in usage_statements.DIMENSIONS if name in names],
        limit=MAX_ROWS,
    )
    with open_database(with_embedded_urls(read_settings())) as database:
        rows = database.execute(statement)
    if csv:
        print(as_csv(rows), end="")
        return
    columns = ["time", *(name for name in CSV_COLUMNS if name in names), *usage_statements.AMOUNTS]
    table = [columns]
    for row in rows:
        amounts = [f"{getattr(row, name):g}" for name in usage_statements.AMOUNTS]
        table.append(
            [
                f"{row.started_at:%Y-%m-%d %H:%M}",
                *(str(getattr(row, name)) for name in columns[1 : -len(amounts)]),
                *amounts,
            ]
        )
    widths = [max(len(line[number]) for line in table) for number in range(len(columns))]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
