"""`safelight keys create | list | revoke`: API keys. A key is shown only when it is created."""

from typing import Annotated

import typer

from cli.database import open_database
from cli.environment import read_settings, with_embedded_urls
from cli.errors import CommandError
from core import keys
from core.db import Database
from core.tables import DEFAULT_PROJECT

app = typer.Typer(
    name="keys",
    help="Create, list and revoke API keys.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

Project = Annotated[str, typer.Option(help="Project of the key, by name or id. It is created if it does not exist.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Name of the key, such as its purpose.")], project: Project = "default"
) -> None:
    """Create a key and print it. It cannot be shown again."""
    with open_database(with_embedded_urls(read_settings())) as database:
        rows = database.execute(keys.get_project_by_name(project)) or database.execute(keys.add_project(project))
        key = keys.new_key()
        database.execute(keys.add(key, rows[0], name))
    print(key)


@app.command("list")
def list_keys() -> None:
    """List all keys: id, project, first characters, date of creation or revocation, name."""
    with open_database(with_embedded_urls(read_settings())) as database:
        for row in database.execute(keys.list_keys()):
            state = f"revoked {row.revoked_at:%Y-%m-%d}" if row.revoked_at else f"since {row.created_at:%Y-%m-%d}"
            print(f"{row.id}  {row.project_id}  {row.prefix}...  {state}  {row.name}")


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(help="Id of the key, as in `list`.")]) -> None:
    """Revoke a key. The API rejects it after half a minute at most."""
    with open_database(with_embedded_urls(read_settings())) as database:
        if not database.execute(keys.revoke(key_id)):
            raise CommandError(f"There is no key {key_id}, or it was revoked before.")
    print(f"{key_id} is revoked.")


def create_first_key(database: Database) -> str | None:
    """Create a key for the default project if there is no valid key; returns the new key."""
    if any(row.revoked_at is None for row in database.execute(keys.list_keys())):
        return None
    key = keys.new_key()
    database.execute(keys.add(key, DEFAULT_PROJECT, "first"))
    return key
