"""`safelight up`: all of Safelight on one machine.

It starts embedded Postgres and Valkey (unless their URLs are set), migrates the database, and runs the sweep, the
deliverer, the API and workers until Ctrl-C. Only one `up` can use a data directory: it locks the file `up.lock`, which
has its pid and URL.
"""

import fcntl
import http.client
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

import typer

from cli import environment
from cli.errors import CommandError
from cli.local import processes
from cli.local.child import Child, describe_exit
from cli.local.embedded import EmbeddedPostgres, EmbeddedValkey
from cli.local.ports import is_free
from cli.local.supervisor import Supervisor
from cli.packages import install_command
from cli.panel import print_panel
from core.catalog import Catalog
from core.permissions import make_private
from core.settings import Settings
from core.settings.environment import list_unknown

READY_SECONDS = 120.0
"""Maximum time until `/readyz` answers 200. A busy machine has needed 20 s."""

LOAD_SECONDS = 60.0
"""Maximum time that the start waits for a worker to load its model: one from a hub takes longer."""


METRICS_OFFSETS = {"sweep": 0, "deliver": 1, "worker": 2, "remote-worker": 3, "training": 4}
"""What is added to `metrics_port` for each process. The API shows its metrics on its own port."""


def up(
    without_worker: Annotated[
        bool, typer.Option("--without-worker", help="Start no worker; jobs wait for another worker.")
    ] = False,
) -> None:
    """Run all of Safelight on this machine: Postgres, Valkey, API, worker, sweep and deliverer.

    Ctrl-C finishes running work, then stops. A second Ctrl-C stops at once.
    """
    start_time = time.monotonic()
    settings = environment.read_settings()
    for sentence in list_unknown():
        _log(sentence)
    catalog = environment.read_catalog(settings)
    queues = () if without_worker else _list_queues(catalog, settings)
    with _lock_data_dir(settings):
        _check_port(settings)
        try:
            with Supervisor(_log) as supervisor:
                settings = _start_postgres_and_valkey(settings, supervisor)
                key = _prepare_database(settings)
                _start_servers(settings, supervisor, catalog, queues)
                _wait_until_ready(settings, supervisor)
                is_loading = not _wait_for_workers(settings, supervisor, queues)
                seconds = time.monotonic() - start_time
                print_panel(settings, catalog.default, key, seconds=seconds, is_loading=is_loading)
                _first_key_file(settings).unlink(missing_ok=True)
                supervisor.run()
        except KeyboardInterrupt:
            _log("Stopped.")
            raise typer.Exit(130) from None
        _log("Stopped.")


def _log(line: str) -> None:
    with suppress(OSError):  # the terminal may be closed
        print(line, flush=True)


def _list_queues(catalog: Catalog, settings: Settings) -> tuple[str, ...]:
    """The queues for the workers. Raises CommandError if files of a model are missing."""
    if not environment.has_torch():
        _log(f"torch is not installed, so only remote and fake models work: {install_command('worker')}")
    else:
        for model in catalog.models:
            if reason := environment.explain_missing_files(model, settings):
                raise CommandError(reason)
    queues = environment.list_available_queues(catalog, settings)
    if not queues:
        _log("No model of the catalogue can run on this machine, so no worker is started.")
    return queues


@contextmanager
def _lock_data_dir(settings: Settings) -> Iterator[None]:
    """Lock the data directory. Raises CommandError if it is locked already or not writable."""
    path = settings.data_dir / "up.lock"
    make_private(settings.data_dir)
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
            raise CommandError(_describe_holder(path)) from None
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "url": settings.base_url}))
        file.flush()
        yield
        file.truncate(0)


def _describe_holder(path: Path) -> str:
    with suppress(ValueError, KeyError):
        holder = json.loads(path.read_text())
        return f"Safelight is running on {path.parent} already, as pid {holder['pid']} at {holder['url']}."
    return f"Another `safelight up` is starting on {path.parent}."


def _check_port(settings: Settings) -> None:
    try:
        port_is_free = is_free(settings.port, settings.host)
    except OSError as error:
        raise CommandError(
            f"The API cannot listen on {settings.host}:{settings.port} ({error.strerror}): set SAFELIGHT_HOST and "
            "SAFELIGHT_PORT to an address of this machine."
        ) from None
    if not port_is_free:
        raise CommandError(f"Port {settings.port} of {settings.host} is in use: set SAFELIGHT_PORT to a free one.")


def _start_postgres_and_valkey(settings: Settings, supervisor: Supervisor) -> Settings:
    """Start the embedded servers whose URL is not set; returns the settings with both URLs."""
    logs = settings.data_dir / "logs"
    try:
        if settings.database_url is None:
            postgres = EmbeddedPostgres(settings.data_dir / "postgres", log=logs / "postgres.log")
            supervisor.start(postgres)
            settings = settings.model_copy(
                update={"database_url": postgres.application_url, "migrations_database_url": postgres.url}
            )
        if settings.redis_url is None:
            valkey = EmbeddedValkey(settings.data_dir / "valkey", log=logs / "valkey.log")
            supervisor.start(valkey)
            settings = settings.model_copy(update={"redis_url": valkey.url})
    except OSError as error:
        raise CommandError(f"{error.filename} cannot be used ({error.strerror}): see {settings.data_dir}.") from None
    return settings


def _prepare_database(settings: Settings) -> str | None:
    """Migrate the database. If API keys are needed and there is none, create one and return it."""
    from cli.database import open_database, upgrade
    from cli.keys import create_first_key
    from core import workers

    settings.signing_key  # noqa: B018 - created here, before several processes need it
    upgrade(settings)
    with open_database(settings) as database:
        database.execute(workers.withdraw_host(socket.gethostname()))  # what a kill has left must not count as ready
        return create_first_key(database, _first_key_file(settings)) if settings.needs_key else None


def _first_key_file(settings: Settings) -> Path:
    """The file that has the first key until it was shown."""
    return settings.data_dir / "first_key"


def _start_servers(settings: Settings, supervisor: Supervisor, catalog: Catalog, queues: tuple[str, ...]) -> None:
    """Start sweep and deliverer, then the API and the workers."""
    variables = environment.server_environment(settings)

    def child(name: str, command: list[str], stop_seconds: float) -> Child:
        log = settings.data_dir / "logs" / f"{name}.log"
        directory = environment.ROOT
        environment_of_child = variables | _metrics_variables(settings, name)
        return Child(
            name, command, log=log, environment=environment_of_child, directory=directory, stop_seconds=stop_seconds
        )

    supervisor.start(
        child("sweep", processes.sweep(), 20),
        child("deliver", processes.deliver(), settings.webhook_timeout.total_seconds() + 5),
    )
    servers = [child("api", processes.api(), processes.API_GRACE_SECONDS + 5)]
    local = [queue for queue in queues if not catalog.is_remote(queue)]
    remote = [queue for queue in queues if catalog.is_remote(queue)]
    for name, worker_queues, limit in (
        ("worker", local, settings.drain_timeout),
        ("remote-worker", remote, settings.openai_timeout),  # the images of a running call are billed
    ):
        if worker_queues:
            command = processes.worker(worker_queues, environment.get_concurrency(catalog, worker_queues))
            servers.append(child(name, command, limit.total_seconds() + 10))  # to requeue jobs takes a moment
    if local and any(model.fine_tuning is not None for model in catalog.models) and environment.has_torch():
        servers.append(child("training", processes.training(), settings.drain_timeout.total_seconds() + 10))
    supervisor.start(*servers)


def _metrics_variables(settings: Settings, name: str) -> dict[str, str]:
    """The port for the metrics of a process, if ports are set."""
    if settings.metrics_port is None or name not in METRICS_OFFSETS:
        return {}
    return {"SAFELIGHT_METRICS_PORT": str(settings.metrics_port + METRICS_OFFSETS[name])}


def _wait_until_ready(settings: Settings, supervisor: Supervisor) -> None:
    """Wait until `/readyz` answers 200. Raises CommandError if a server ends."""
    deadline = time.monotonic() + READY_SECONDS
    while _read_readiness(settings)[0] != HTTPStatus.OK:
        _check_servers(settings, supervisor)
        if time.monotonic() > deadline:
            raise CommandError(f"The API was not ready after {READY_SECONDS:.0f} s: see {settings.data_dir / 'logs'}.")
        time.sleep(0.05)  # readiness depends on several servers, and they do not signal it


def _wait_for_workers(settings: Settings, supervisor: Supervisor, queues: tuple[str, ...]) -> bool:
    """Wait until the workers have loaded their first model, at most LOAD_SECONDS. Returns whether they have.

    Raises CommandError if a server ends.
    """
    deadline = time.monotonic() + LOAD_SECONDS
    if queues:
        _log("Loading the model ...")
    while not _has_ready_workers(settings, queues):
        _check_servers(settings, supervisor)
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)  # the workers say it in the database, which the API reads
    return True


def _check_servers(settings: Settings, supervisor: Supervisor) -> None:
    """Raises CommandError if a server has ended."""
    if (dead := supervisor.find_dead()) is not None:
        log = settings.data_dir / "logs" / f"{dead.name}.log"
        raise CommandError(f"The {dead.name} ended during the start ({describe_exit(dead.exit_code or 0)}): see {log}.")


def _has_ready_workers(settings: Settings, queues: tuple[str, ...]) -> bool:
    _, states = _read_readiness(settings)
    return all(states.get(queue) == "ok" for queue in queues)


def _read_readiness(settings: Settings) -> tuple[int, dict[str, str]]:
    """The status of `/readyz`, 0 if it does not answer, and the state of each queue."""
    connection = http.client.HTTPConnection(environment.reachable_host(settings), settings.port, timeout=5)
    with suppress(OSError, http.client.HTTPException, ValueError, KeyError), closing(connection):
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        return response.status, json.loads(response.read())["queues"]
    return 0, {}
