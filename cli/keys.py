"""`safelight keys create | list | revoke | audit`: API keys. A key is shown only when it is created."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from cli.database import open_database
from cli.environment import read_settings, with_embedded_urls
from cli.errors import CommandError
from cli.table import format_table, one_line
from core import audit, keys
from core.audit import AuditFilter, AuditRow, AuditType, NewAuditEvent
from core.db import Database
from core.rows.key import KeyRow
from core.scopes import DEFAULT_SCOPES, Scope
from core.tables import DEFAULT_PROJECT

app = typer.Typer(
    name="keys",
    help="Create, list and revoke API keys; list the audit log.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

Project = Annotated[str, typer.Option(help="Project of the key, by name or id. It is created if it does not exist.")]


UNITS = {"m": "minutes", "h": "hours", "d": "days"}
AUDIT_HEADER = ("time", "event", "actor", "subject", "details")
HEADER = ("id", "project", "key", "scopes", "last used", "state", "name")


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Name of the key, such as its purpose.")],
    project: Project = "default",
    scope: Annotated[
        list[Scope] | None,
        typer.Option(help=f"What the key may be used for; may be repeated. Default: {', '.join(DEFAULT_SCOPES)}."),
    ] = None,
    expires_in: Annotated[
        str | None, typer.Option(help="Time until the key expires, such as 30d, 12h or 90m. Default: never.")
    ] = None,
) -> None:
    """Create a key and print it. It cannot be shown again."""
    duration = None if expires_in is None else _duration(expires_in)
    with open_database(with_embedded_urls(read_settings())) as database:
        rows = database.execute(keys.get_project_by_name(project)) or database.execute(keys.add_project(project))
        key = keys.new_key()
        _add(database, key, rows[0], name, scope or DEFAULT_SCOPES, duration)
    print(key)


def _add(
    database: Database,
    key: str,
    project_id: str,
    name: str,
    scopes: Sequence[Scope] = DEFAULT_SCOPES,
    expires_in: timedelta | None = None,
) -> None:
    details = {"name": name, "scopes": list(scopes), "prefix": key[: keys.PREFIX_LENGTH]}
    event = NewAuditEvent(AuditType.KEY_CREATED, project_id=project_id, data=details)
    database.execute(audit.with_audit_event(keys.add(key, project_id, name, scopes, expires_in), event))


def _duration(text: str) -> timedelta:
    match = re.fullmatch(r"([1-9][0-9]{0,5})([mhd])", text)
    if match is None:
        raise CommandError(f"--expires-in is {text!r}: give a number and a unit, such as 30d, 12h or 90m.")
    return timedelta(**{UNITS[match[2]]: int(match[1])})


@app.command("list")
def list_keys() -> None:
    """List all keys with their scopes, last use, and expiry or revocation."""
    with open_database(with_embedded_urls(read_settings())) as database:
        rows = database.execute(keys.list_keys())
    if rows:
        print(*format_table([HEADER, *map(_cells, rows)]), sep="\n")


def _cells(row: KeyRow) -> tuple[str, ...]:
    last_used = "never" if row.last_used_at is None else _minute(row.last_used_at)
    scopes = ",".join(row.scopes) or "none"
    return (row.id, row.project_id, f"{row.prefix}...", scopes, last_used, _state(row), one_line(row.name))


def _state(row: KeyRow) -> str:
    if row.revoked_at is not None:
        return f"revoked {_minute(row.revoked_at)}"
    if row.expires_at is not None:
        return f"{'expires' if row.is_valid else 'expired'} {_minute(row.expires_at)}"
    return f"since {_minute(row.created_at)}"


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(help="Id of the key, as in `list`.")]) -> None:
    """Revoke a key. The API rejects it within a second, and ends its open streams."""
    with open_database(with_embedded_urls(read_settings())) as database:
        if not database.execute(audit.with_audit_event(keys.revoke(key_id), NewAuditEvent(AuditType.KEY_DELETED))):
            raise CommandError(f"There is no key {key_id}, or it was revoked before.")
    print(f"{key_id} is revoked.")


@app.command("audit")
def list_audit(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Number of events.")] = 50,
) -> None:
    """List the newest events of the audit log: keys, webhook endpoints, deletions, refused keys."""
    with open_database(with_embedded_urls(read_settings())) as database:
        rows = database.execute(audit.list_events(AuditFilter(), limit=limit))
    if rows:
        print(*format_table([AUDIT_HEADER, *map(_audit_cells, reversed(rows))]), sep="\n")


def _audit_cells(row: AuditRow) -> tuple[str, ...]:
    details = one_line(" ".join(f"{name}={value}" for name, value in row.data.items()))
    return (f"{row.created_at:%Y-%m-%d %H:%M:%S}", row.type, row.api_key_id or row.actor, row.subject_id or "", details)


def create_first_key(database: Database, file: Path) -> str | None:
    """Create a key for the default project if there is no valid key; returns the new key.

    It is stored in a private file until the caller has shown it and deletes the file: an interruption loses no key.
    """
    if file.exists() and database.execute(keys.list_valid([keys.hash_key(file.read_text())])):
        return file.read_text()
    if any(row.is_valid for row in database.execute(keys.list_keys())):
        return None
    key = keys.new_key()
    file.touch(mode=0o600)
    file.write_text(key)
    _add(database, key, DEFAULT_PROJECT, "first")
    return key
