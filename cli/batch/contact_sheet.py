"""Writes the contact sheet of an output directory, `index.html`, from its manifest."""

import csv
from datetime import datetime
from pathlib import Path

from cli.batch.manifest import MANIFEST, plain_text
from cli.batch.output_directory import OutputDirectory
from cli.table import format_count
from core.batches.contact_sheet import NAME, SheetEntry, page_end, page_entry, page_head
from safelight_client import Batch


def write_contact_sheet(batch: Batch, directory: OutputDirectory) -> Path:
    """Write the page for the lines of the manifest; returns its path."""
    created = datetime.fromtimestamp(batch.created_at).astimezone()
    lines = format_count(batch.request_counts.total, "line")
    facts = f"{lines}, {batch.model or 'several models'}, {created:%Y-%m-%d %H:%M}"
    with (
        (directory.path / MANIFEST).open(encoding="utf-8-sig", newline="") as manifest,
        directory.open_file(NAME) as file,
    ):
        file.write(page_head(batch.id, facts).encode())
        for row in csv.DictReader(manifest):
            file.write(page_entry(_entry(row, directory)).encode(errors="replace"))
        file.write(page_end().encode())
    return directory.path / NAME


def _entry(row: dict[str, str], directory: OutputDirectory) -> SheetEntry:
    has_file = bool(row["file"]) and (directory.path / row["file"]).is_file()
    error = plain_text(row["error_message"])
    if row["file"] and not has_file:
        error = "The image was deleted from Safelight."
    return SheetEntry(
        custom_id=plain_text(row["custom_id"]),
        prompt=plain_text(row["prompt"]),
        status=row["status"],
        file=row["file"] if has_file else None,
        seed=row["seed"],
        error=error,
    )
