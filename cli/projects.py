"""`safelight projects list | limits`: projects, and the limits of projects and API keys."""

from typing import Annotated

import typer

from cli.database import open_database
from cli.environment import read_settings, with_embedded_urls
from cli.errors import CommandError
from core import keys, limits
from core.db import Database
from core.limits import UNLIMITED, Subject
from core.rows.usage import LimitUse
from core.running_limits import count_running

app = typer.Typer(
    name="projects",
    help="List projects, and set and show their limits.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

Limit = Annotated[str | None, typer.Option(help="A number, `unlimited`, or `default` for the value of the settings.")]


@app.command("list")
def list_projects() -> None:
    """List all projects: id and name."""
    with open_database(with_embedded_urls(read_settings())) as database:
        for row in database.execute(keys.list_projects()):
            print(f"{row.id}  {row.name}")


@app.command("limits")
def project_limits(
    name: Annotated[str, typer.Argument(help="Project, by name or id, or the id of an API key.")],
    requests_per_minute: Limit = None,
    jobs: Limit = None,
    stored_bytes: Limit = None,
    device_seconds_per_day: Limit = None,
    provider_usd_per_month: Limit = None,
    running_jobs: Limit = None,
    images_per_minute: Limit = None,
) -> None:
    """Set limits of a project or an API key, and show all its limits and what it uses."""
    options = {
        "requests_per_minute": requests_per_minute,
        "jobs": jobs,
        "stored_bytes": stored_bytes,
        "device_seconds_per_day": device_seconds_per_day,
        "provider_usd_per_month": provider_usd_per_month,
        "running_jobs": running_jobs,
        "images_per_minute": images_per_minute,
    }
    values = {limit: _number(limit, text) for limit, text in options.items() if text is not None}
    settings = with_embedded_urls(read_settings())
    with open_database(settings) as database:
        project_id, subject_id = _find(database, name)
        if subject_id != project_id and "stored_bytes" in values:
            raise CommandError("An API key has no limit of stored bytes: set it for the project.")
        if values:
            database.execute(limits.change(subject_id, values))
        rows = database.execute(limits.get([subject_id]))
        key_id = None if subject_id == project_id else subject_id
        subjects = limits.subjects_of(rows, settings, project_id, key_id)
        uses = {use.subject_id: use for use in database.execute(limits.get_use([subject_id]))}
        (running,) = database.execute(count_running(project_id, key_id))
    subject = next((subject for subject in subjects if subject.id == subject_id), None)
    for limit in options:
        print(_line(limit, subject, uses.get(subject_id), running))


def _find(database: Database, name: str) -> tuple[str, str]:
    """The project, and the project or key that is meant."""
    for row in database.execute(keys.list_keys()) if name.startswith("key_") else ():
        if row.id == name:
            return row.project_id, row.id
    rows = database.execute(keys.get_project_by_name(name))
    if not rows:
        raise CommandError(f"There is no project or API key {name}.")
    return rows[0], rows[0]


def _number(limit: str, text: str) -> float | None:
    if text == "default":
        return None
    if text == "unlimited":
        return UNLIMITED
    try:
        number = float(text) if limit in ("device_seconds_per_day", "provider_usd_per_month") else int(text)
    except ValueError:
        number = -1
    if not 0 <= number < 2**31 and not (limit == "stored_bytes" and 0 <= number < 2**63):
        raise CommandError(f"--{limit.replace('_', '-')} must be a number from 0, `unlimited` or `default`.")
    if limit in ("requests_per_minute", "images_per_minute", "running_jobs") and number == 0:
        raise CommandError(f"--{limit.replace('_', '-')} must be at least 1; revoke the keys to stop a project.")
    return number


def _line(limit: str, subject: Subject | None, use: LimitUse | None, running: int) -> str:
    value = None if subject is None else getattr(subject.limits, limit)
    columns = {"jobs": "jobs", "stored_bytes": "stored_bytes"} | {
        "device_seconds_per_day": "device_seconds",
        "provider_usd_per_month": "provider_usd",
    }
    use_text = f", {getattr(use, columns[limit]):g} used" if use is not None and limit in columns else ""
    if limit == "running_jobs" and value is not None:
        use_text = f", {running} used"
    return f"{limit:24}{'unlimited' if value is None else f'{value:g}'}{use_text}"
