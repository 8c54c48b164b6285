"""`manifest.csv` of an output directory: the result of each line, after its last retry."""

import csv
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

from cli.batch.output_directory import OutputDirectory
from safelight_client import Batch

MANIFEST = "manifest.csv"

ENCODING = "utf-8-sig"
"""Excel reads a CSV file as UTF-8 only if it begins with a byte order mark."""


def write_manifest(results: Sequence[Batch], directory: OutputDirectory) -> Path:
    """Write the result of each line, after its last retry; returns the path.

    `results` are the finished batch and its finished retries, in order.
    """
    retry_rows: dict[str, list[dict[str, str]]] = {}
    for batch in results[1:]:
        rows = defaultdict(list)
        with _download_manifest(batch) as text:
            for row in csv.DictReader(text):
                rows[row["custom_id"]].append(row)
        retry_rows.update(rows)
    retry_ids = set(retry_rows)
    with _download_manifest(results[0]) as text, directory.open_file(MANIFEST) as file:
        reader = csv.DictReader(text)
        output = TextIOWrapper(file, ENCODING, newline="", write_through=True)
        writer = csv.DictWriter(output, reader.fieldnames or (), extrasaction="ignore")
        writer.writeheader()
        for row in reader:
            # The first row of a line is replaced by all rows of its retry; its other rows by none.
            for result in retry_rows.pop(row["custom_id"], ()) if row["custom_id"] in retry_ids else (row,):
                writer.writerow({**result, "file": _file_name(result, directory)})
        output.detach()
    return directory.path / MANIFEST


def plain_text(cell: str) -> str:
    """A text of the manifest without the ' that the API adds before a value that a spreadsheet would run."""
    return re.sub(r"^'(?=[=+@\t\r-])", "", cell)


def _file_name(row: Mapping[str, str], directory: OutputDirectory) -> str:
    """The name of a row's image in the directory. The API's manifest has the names in its ZIP file."""
    if not row["file"]:
        return ""
    custom_id, prompt = plain_text(row["custom_id"]), plain_text(row["prompt"])
    return directory.image_name(custom_id, prompt, int(row["index"]), Path(row["file"]).suffix)


@contextmanager
def _download_manifest(batch: Batch) -> Iterator[TextIO]:
    with tempfile.TemporaryDirectory() as folder:
        path = batch.save_manifest(Path(folder) / MANIFEST)
        with path.open(encoding=ENCODING, newline="") as text:
            yield text
