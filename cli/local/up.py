"""`safelight up`: everything on this machine, from nothing to a URL, and away again without a trace.

Embedded Postgres and Valkey where no URL is set, migrations, sweep, deliverer, API and worker; supervised until Ctrl-C.
One `up` a data directory: the lock is the file `up.lock` in it, which names its holder.
"""

import fcntl
import http.client
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer

from cli import environment
from cli.errors import CommandError
from cli.local import processes
from cli.local.child import Child, how_it_ended
from cli.local.embedded import EmbeddedPostgres, EmbeddedValkey, is_free
from cli.local.supervisor import Supervisor
from cli.panel import show
from core.catalog import Catalog
from core.settings import Settings

READY_SECONDS = 120.0
"""Longest until `/readyz` may say yes; a machine under load has been seen to take 20 s."""


def up(
    without_worker: Annotated[
        bool, typer.Option("--without-worker", help="Start no worker; jobs wait for one from elsewhere.")
    ] = False,
) -> None:
    """Run everything on this machine: Postgres, Valkey, API, worker, sweep, deliverer. Ctrl-C drains and stops."""
    began = time.monotonic()
    settings = environment.read_settings()
    catalog = environment.read_catalog(settings)
    queues = () if without_worker else _queues(catalog, settings)
    with _locked(settings):
        _require_free_port(settings)
        try:
            with Supervisor(say) as supervisor:
                settings = _start_postgres_and_valkey(settings, supervisor)
                key = _prepare(settings)
                _start_ours(settings, supervisor, catalog, queues)
                _wait_until_ready(settings, supervisor)
                show(settings, catalog.default, key, seconds=time.monotonic() - began)
                supervisor.run()
        except KeyboardInterrupt:
            say("Stopped.")
            raise typer.Exit(130) from None
        say("Stopped.")


def say(line: str) -> None:
    """Tell the terminal, if it is still there."""
    with suppress(OSError):
        print(line, flush=True)


def _queues(catalog: Catalog, settings: Settings) -> tuple[str, ...]:
    """What a worker here can serve. Raises CommandError when a bundled model's files are missing."""
    if not environment.has_torch():
        say("torch is not installed here, so only remote and fake models work: pip install 'safelight[worker]'.")
    else:
        for model in catalog.models:
            if reason := environment.missing_files(model, settings):
                raise CommandError(reason)
    queues = environment.served_queues(catalog, settings)
    if not queues:
        say("No model of the catalogue can be drawn with here, so no worker is started.")
    return queues


@contextmanager
def _locked(settings: Settings) -> Iterator[None]:
    """Hold the data directory. Raises CommandError when it is held already, or cannot be written."""
    path = settings.data_dir / "up.lock"
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    except OSError as error:
        raise CommandError(
            f"The data directory {settings.data_dir} cannot be written ({error.strerror}): set SAFELIGHT_DATA_DIR to "
            "another one."
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(_holder(path)) from None
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "url": settings.base_url}))
        file.flush()
        yield
        file.truncate(0)


def _holder(path: Path) -> str:
    with suppress(ValueError, KeyError):
        holder = json.loads(path.read_text())
        return f"Safelight is running on {path.parent} already, as pid {holder['pid']} at {holder['url']}."
    return f"Safelight is being started on {path.parent} by somebody else."


def _require_free_port(settings: Settings) -> None:
    try:
        free = is_free(settings.port, settings.host)
    except OSError as error:
        raise CommandError(
            f"The API cannot listen on {settings.host}:{settings.port} ({error.strerror}): set SAFELIGHT_HOST and "
            "SAFELIGHT_PORT to an address of this machine."
        ) from None
    if not free:
        raise CommandError(f"Port {settings.port} of {settings.host} is taken: set SAFELIGHT_PORT to a free one.")


def _start_postgres_and_valkey(settings: Settings, supervisor: Supervisor) -> Settings:
    """Start the embedded servers that no URL replaces; returns the settings with all URLs."""
    found = {}
    logs = settings.data_dir / "logs"
    try:
        if settings.database_url is None:
            postgres = EmbeddedPostgres(settings.data_dir / "postgres", log=logs / "postgres.log")
            supervisor.start(postgres)
            found["database_url"] = postgres.url
        if settings.redis_url is None:
            valkey = EmbeddedValkey(settings.data_dir / "valkey", log=logs / "valkey.log")
            supervisor.start(valkey)
            found["redis_url"] = valkey.url
    except OSError as error:
        raise CommandError(f"{error.filename} cannot be used ({error.strerror}): see {settings.data_dir}.") from None
    return settings.model_copy(update=found)


def _prepare(settings: Settings) -> str | None:
    """Bring the database to its newest form; make the first API key where one is needed, and return it."""
    from cli.database import opened, upgrade
    from cli.keys import first_key

    settings.signing_key  # noqa: B018 - drawn now, so that no two processes draw it at once
    upgrade(settings)
    if not settings.needs_key:
        return None
    with opened(settings) as database:
        return first_key(database)


def _start_ours(settings: Settings, supervisor: Supervisor, catalog: Catalog, queues: tuple[str, ...]) -> None:
    variables = environment.variables(settings)

    def child(name: str, command: list[str], patience: float) -> Child:
        log = settings.data_dir / "logs" / f"{name}.log"
        return Child(name, command, log=log, environment=variables, directory=environment.ROOT, patience=patience)

    supervisor.start(
        child("sweep", processes.sweep(), 20),
        child("deliver", processes.deliver(), settings.webhook_timeout.total_seconds() + 5),
    )
    together = [child("api", processes.api(settings), processes.API_GRACE_SECONDS + 5)]
    local = [queue for queue in queues if not catalog.is_remote(queue)]
    remote = [queue for queue in queues if catalog.is_remote(queue)]
    for name, served, longest in (
        ("worker", local, settings.drain_timeout),
        ("remote-worker", remote, settings.openai_timeout),  # the images of a call under way are paid for
    ):
        if served:
            command = processes.worker(served, environment.threads(catalog, served))
            together.append(child(name, command, longest.total_seconds() + 10))  # giving back takes a moment
    supervisor.start(*together)


def _wait_until_ready(settings: Settings, supervisor: Supervisor) -> None:
    """Wait until `/readyz` says 200. Raises CommandError when a server ends instead."""
    deadline = time.monotonic() + READY_SECONDS
    while not _is_ready(settings):
        if (dead := supervisor.dead()) is not None:
            log = settings.data_dir / "logs" / f"{dead.name}.log"
            raise CommandError(
                f"The {dead.name} ended while starting ({how_it_ended(dead.exit_code or 0)}): see {log}."
            )
        if time.monotonic() > deadline:
            raise CommandError(f"The API was not ready after {READY_SECONDS:.0f} s: see {settings.data_dir / 'logs'}.")
        time.sleep(0.05)  # being ready depends on several servers, and none of them announces it


def _is_ready(settings: Settings) -> bool:
    connection = http.client.HTTPConnection(environment.reachable_host(settings), settings.port, timeout=5)
    with suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    connection.close()
    return False
