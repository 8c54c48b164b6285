"""`safelight keys create | list | revoke`: who may come in. A key is shown once, when it is made."""

from typing import Annotated

import typer

from cli.database import opened
from cli.environment import joined, read_settings
from cli.errors import CommandError
from core import keys
from core.db import Database
from core.tables import DEFAULT_PROJECT

app = typer.Typer(
    name="keys",
    help="API keys: create, list, revoke.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

Project = Annotated[str, typer.Option(help="Project that the key opens, by name or id; made if there is none.")]


@app.command()
def create(name: Annotated[str, typer.Argument(help="What the key is for.")], project: Project = "default") -> None:
    """Make a key and show it, this once."""
    with opened(joined(read_settings())) as database:
        rows = database.execute(keys.get_project_by_name(project)) or database.execute(keys.add_project(project))
        key = keys.new_key()
        database.execute(keys.add(key, rows[0], name))
    print(key)


@app.command("list")
def list_keys() -> None:
    """Show all keys: id, project, name, first characters, and whether revoked."""
    with opened(joined(read_settings())) as database:
        for row in database.execute(keys.list_keys()):
            state = f"revoked {row.revoked_at:%Y-%m-%d}" if row.revoked_at else f"since {row.created_at:%Y-%m-%d}"
            print(f"{row.id}  {row.project_id}  {row.prefix}...  {state}  {row.name}")


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(help="Id of the key, as `list` shows it.")]) -> None:
    """Lock a key out. The API notices within half a minute."""
    with opened(joined(read_settings())) as database:
        if not database.execute(keys.revoke(key_id)):
            raise CommandError(f"There is no key {key_id}, or it was revoked before.")
    print(f"{key_id} is revoked.")


def first_key(database: Database) -> str | None:
    """Make a key for the default project unless there is any key; returns it, to be shown once."""
    if any(row.revoked_at is None for row in database.execute(keys.list_keys())):
        return None
    key = keys.new_key()
    database.execute(keys.add(key, DEFAULT_PROJECT, "first"))
    return key
