"""`safelight api | worker | sweep | deliver | migrate`: one part at a time, as on machines of their own."""

from typing import Annotated

import typer

from cli.environment import joined, read_catalog, read_settings, served_queues, threads
from cli.errors import CommandError
from cli.local import processes


def api() -> None:
    """Run the API in the foreground."""
    settings = joined(read_settings())
    processes.become(processes.api(settings), settings)


def worker(
    queue: Annotated[
        list[str] | None,
        typer.Option(help="Queue to serve; may be repeated. Default: all that this machine can draw by itself."),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, help="Threads. Default: 2 for a device (one draws, one uploads), 32 for a remote API."),
    ] = None,
) -> None:
    """Run a worker in the foreground."""
    settings = joined(read_settings())
    catalog = read_catalog(settings)
    if unknown := set(queue or ()) - set(catalog.queues):
        known = ", ".join(catalog.queues)
        raise CommandError(f"No model of the catalogue waits in {', '.join(sorted(unknown))}; queues: {known}.")
    can = served_queues(catalog, settings)
    local = tuple(name for name in can if not catalog.is_remote(name))
    queues = tuple(queue or local or can)
    if not queues:
        raise CommandError("No model of the catalogue can be drawn with here: pip install 'safelight[worker]'.")
    remote = {name for name in queues if catalog.is_remote(name)}
    if remote and len(remote) < len(queues):
        raise CommandError(f"{', '.join(sorted(remote))} needs no device and the others do: start a worker for each.")
    if lacking := remote - set(can):
        raise CommandError(
            f"The models of {', '.join(sorted(lacking))} need SAFELIGHT_OPENAI_API_KEY and `pip install "
            "'safelight[openai]'`."
        )
    processes.become(processes.worker(queues, concurrency or threads(catalog, queues)), settings)


def sweep() -> None:
    """Run the sweep in the foreground: takes back lost jobs, expires old ones, tidies up."""
    settings = joined(read_settings())
    processes.become(processes.sweep(), settings)


def deliver() -> None:
    """Run the deliverer of webhooks in the foreground; any number may run."""
    settings = joined(read_settings())
    processes.become(processes.deliver(), settings)


def migrate() -> None:
    """Bring the database to the newest revision."""
    from cli.database import upgrade
    from migrations import newest

    upgrade(joined(read_settings()))
    print(f"The database is at revision {newest()}.")


def version() -> None:
    """Print the version."""
    from importlib.metadata import version

    print(version("safelight"))
