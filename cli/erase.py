"""`safelight erase`: delete all data of a job, a batch, an end user or a project, and print how much it was."""

import json
import time
from typing import Annotated

import typer

from cli.database import open_database
from cli.environment import read_settings, with_embedded_urls
from cli.errors import CommandError
from cli.table import format_count
from core import keys
from core.db import Database
from core.erasures import records
from core.erasures.records import ErasureRow, Kind, NewErasure
from core.errors import StorageUnavailable
from core.permissions import make_private
from core.settings import Settings

POLL_SECONDS = 0.5


def erase(
    job: Annotated[str | None, typer.Option(help="Id of a job.")] = None,
    batch: Annotated[str | None, typer.Option(help="Id of a batch.")] = None,
    user: Annotated[str | None, typer.Option(help="An end user: `user` of OpenAI's calls or of the metadata.")] = None,
    project: Annotated[
        str | None,
        typer.Option(help="A project, by name or id: with --job, --batch or --user, whose; alone, all of its data."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before all data of a project is deleted.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Delete data for good: rows, images, files, and the idempotent responses that mention them.

    Jobs that are not final are cancelled first. If this command is interrupted, the sweep continues the erasure.
    """
    subjects: dict[Kind, str | None] = {"job": job, "batch": batch, "user": user}
    subject_by_kind = {kind: subject for kind, subject in subjects.items() if subject is not None}
    if len(subject_by_kind) > 1 or not (subject_by_kind or project):
        raise CommandError("Set exactly one of --job, --batch and --user, or only --project.")
    settings = with_embedded_urls(read_settings())
    make_private(settings.data_dir)
    with open_database(settings) as database:
        project_id = _project_id(database, project or "default")
        kind, subject = next(iter(subject_by_kind.items()), ("project", project_id))
        if kind == "project" and not yes:
            typer.confirm(f"Delete all jobs, images, batches, files and webhook endpoints of {project_id}?", abort=True)
        (row,) = database.execute(records.submit(NewErasure(project_id, kind, subject)))
        row = _run(settings, database, row)
    print(json.dumps(row.counts) if as_json else _describe(row))


def _project_id(database: Database, name: str) -> str:
    rows = database.execute(keys.get_project_by_name(name))
    if not rows:
        raise CommandError(f"There is no project {name!r}.")
    return rows[0]


def _run(settings: Settings, database: Database, row: ErasureRow) -> ErasureRow:
    """Run an erasure to its end. If a sweep is running, it does the work, and this process waits."""
    from core.locks import SessionLock
    from worker.sweep.erase import APPLICATION, LOCK, Eraser

    eraser = Eraser(settings)
    lock = SessionLock(settings, f"safelight {LOCK}", idle=settings.statement_timeout * 4, application=APPLICATION)
    try:
        while row.finished_at is None:
            if lock.acquire():
                for _ in eraser.erase(row):
                    pass
            (row,) = database.execute(records.get(row.project_id, row.id))
            if row.finished_at is None:
                time.sleep(POLL_SECONDS)  # a sweep erases, or a job in progress ends at its next step: neither notifies
    except StorageUnavailable as error:
        raise CommandError(f"{error.message} The sweep continues the erasure {row.id}.") from None
    finally:
        lock.close()
        eraser.close()
    return row


def _describe(row: ErasureRow) -> str:
    parts = [format_count(number, name.removesuffix("s").replace("_", " ")) for name, number in row.counts.items()]
    return f"Deleted: {', '.join(parts)}."
