"""`safelight api | worker | training | sweep | deliver | migrate`: the parts of Safelight, each as its own process."""

from typing import Annotated

import typer

from cli.environment import (
    get_concurrency,
    has_torch,
    list_available_queues,
    read_available_catalog,
    read_catalog,
    read_settings,
    with_embedded_urls,
)
from cli.errors import CommandError
from cli.local import processes
from cli.packages import install_command


def api() -> None:
    """Run the API in the foreground."""
    settings = with_embedded_urls(read_settings())
    read_available_catalog(settings)
    processes.exec_server(processes.api(), settings)


def worker(
    queue: Annotated[
        list[str] | None,
        typer.Option(help="Queue to serve; repeatable. Default: all queues of local models that can run here."),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, help="Number of threads. Default: 2 for a device, 32 for a provider."),
    ] = None,
) -> None:
    """Run a worker in the foreground."""
    settings = with_embedded_urls(read_settings())
    catalog = read_catalog(settings)
    if unknown := set(queue or ()) - set(catalog.queues):
        names = ", ".join(sorted(unknown))
        raise CommandError(f"No model of the catalogue has the queue {names}; queues: {', '.join(catalog.queues)}.")
    available = list_available_queues(catalog, settings)
    local = tuple(name for name in available if not catalog.is_remote(name))
    queues = tuple(queue or local or available)
    if not queues:
        raise CommandError(f"No model of the catalogue can run here: {install_command('worker')}")
    remote = {name for name in queues if catalog.is_remote(name)}
    if remote and len(remote) < len(queues):
        raise CommandError(
            f"{', '.join(sorted(remote))} is a provider's queue and the others are not: start a worker for each kind."
        )
    if lacking := remote - set(available):
        raise CommandError(
            f"The models of {', '.join(sorted(lacking))} need SAFELIGHT_OPENAI_API_KEY and the "
            f"packages of `{install_command('openai')}`."
        )
    processes.exec_server(processes.worker(queues, concurrency or get_concurrency(catalog, queues)), settings)


def sweep() -> None:
    """Run the sweep in the foreground: it requeues lost jobs, expires old jobs and deletes old data."""
    settings = with_embedded_urls(read_settings())
    read_available_catalog(settings)
    processes.exec_server(processes.sweep(), settings)


def deliver() -> None:
    """Run the deliverer of webhooks in the foreground. Several may run."""
    settings = with_embedded_urls(read_settings())
    processes.exec_server(processes.deliver(), settings)


def training() -> None:
    """Run a worker of fine-tuning jobs in the foreground. Several may run, each on a device of its own."""
    settings = with_embedded_urls(read_settings())
    catalog = read_catalog(settings)
    if all(model.fine_tuning is None for model in catalog.models):
        raise CommandError("No model of the catalogue has `fine_tuning`: see docs/11-fine-tuning.md.")
    if not has_torch():
        raise CommandError(f"torch is not installed: {install_command('worker')}")
    processes.exec_server(processes.training(), settings)


def migrate() -> None:
    """Migrate the database to the newest revision."""
    from cli.database import upgrade
    from migrations import newest

    upgrade(with_embedded_urls(read_settings()))
    print(f"The database is at revision {newest()}.")


def version() -> None:
    """Print the version."""
    from importlib.metadata import version

    print(version("safelight"))
