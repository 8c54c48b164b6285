"""The checks of `safelight doctor`: one for each part that a process may need.

A check returns what it has found, or raises CheckFailed. It leaves nothing behind.
"""

import http.client
import json
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

from cli.environment import (
    explain_missing_files,
    explain_missing_packages,
    reachable_host,
    read_available_catalog,
    read_catalog,
    with_embedded_database,
    with_embedded_redis,
)
from cli.errors import CommandError
from cli.packages import install_command
from cli.panel import api_url
from core.settings import Settings

MIN_FREE_BYTES = 2_000_000_000
"""With less, a day of images may fill the disk."""

PROBE_TORCH = "import torch, diffusers; print(torch.__version__, 'cuda' if torch.cuda.is_available() else 'cpu')"


class CheckFailed(Exception):
    """A part does not work: the message is the problem, `remedy` is what to do."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Subject:
    """What is checked: the settings of a process, and the queues that it serves. No queues: it is no worker."""

    settings: Settings
    queues: tuple[str, ...] = ()


Check = Callable[[Subject], str]


def check_models(subject: Subject) -> str:
    """The catalogue, and for a worker the files of the models of its queues."""
    catalog = read_available_catalog(subject.settings)
    models = [model for model in catalog.models if not subject.queues or model.queue in subject.queues]
    reasons = {
        model.id: reason
        for model in models
        if subject.queues and (reason := explain_missing_files(model, subject.settings))
    }
    if reasons:
        verb = "is" if len(reasons) == 1 else "are"
        raise CheckFailed(f"{', '.join(reasons)} {verb} not usable", " ".join(reasons.values()))
    return f"{', '.join(model.id for model in models)}; the default is {catalog.default}"


def check_packages(subject: Subject) -> str:
    """What a worker generates with: torch for a device, OpenAI's SDK for OpenAI's models."""
    catalog = read_catalog(subject.settings)
    generators = {model.generator for model in catalog.models if model.queue in subject.queues}
    packages = []
    if "diffusers_local" in generators:
        probe = subprocess.run([sys.executable, "-c", PROBE_TORCH], capture_output=True, text=True, check=False)  # noqa: S603 - our own line
        if probe.returncode:
            reason = (probe.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise CheckFailed(reason, install_command("worker"))
        version, device = probe.stdout.split()[-2:]
        packages.append(f"torch {version} on {device}")
    for model in catalog.models:
        if model.queue in subject.queues and (remedy := explain_missing_packages(model)):
            raise CheckFailed(f"{model.id} cannot be loaded", remedy)
    if "openai_images" in generators and subject.settings.openai_api_key is not None:
        if find_spec("openai") is None:
            raise CheckFailed("the package openai is not installed", install_command("openai"))
        packages.append("openai")
    return ", ".join(packages) or "no package of a generator is needed"


def check_postgres(subject: Subject) -> str:
    """The database: its version and its revision."""
    from cli.database import get_revision, open_database
    from core.revision import get_server_version
    from migrations import newest

    try:
        with open_database(with_embedded_database(subject.settings)) as database:
            (version,) = database.execute(get_server_version())
            revision = get_revision(database)
    except CommandError as error:
        raise CheckFailed(
            str(error), "Start `safelight up`, or check SAFELIGHT_DATABASE_URL and the database server."
        ) from None
    if int(version.partition(".")[0]) < 15:
        raise CheckFailed(f"Postgres {version}", "Upgrade the server to Postgres 15 or newer.")
    if revision != newest():
        raise CheckFailed(f"tables at revision {revision}, this version needs {newest()}", "Run `safelight migrate`.")
    return f"Postgres {version}, tables at revision {revision}"


def check_redis(subject: Subject) -> str:
    """Redis or Valkey: its version, and that it drops nothing when it is full."""
    import redis
    import redis.sentinel

    from core.redis.connection import connect

    try:
        with connect(with_embedded_redis(subject.settings), seconds=3) as client:
            info = client.info()
    except redis.sentinel.MasterNotFoundError:  # its message shows every option of each Sentinel's client
        reason = "no Sentinel answers with the address of the master"
        raise CheckFailed(reason, "Check the hosts and `master_name` in SAFELIGHT_REDIS_URL.") from None
    except (redis.RedisError, ValueError, OSError) as error:
        raise CheckFailed(str(error), "Start `safelight up`, or check SAFELIGHT_REDIS_URL and the server.") from None
    if (policy := info.get("maxmemory_policy")) != "noeviction":
        raise CheckFailed(f"maxmemory-policy is {policy}", "Set it to noeviction, or notifications may be dropped.")
    return f"{info.get('server_name', 'redis')} {info.get('valkey_version', info['redis_version'])}"


def check_storage(subject: Subject) -> str:
    """The object storage, with one small object."""
    from core.errors import SafelightError, first_line
    from core.storage import Storage

    settings = subject.settings
    url = settings.storage_url or f"file://{settings.data_dir / 'images'}"
    key, content = f"doctor-{uuid.uuid4().hex}", b"safelight"
    try:
        with _without_new_folders(url):
            storage = Storage(settings)
            storage.put(key, content, "text/plain")
            is_intact = storage.get(key) == content
            storage.delete([key])
    except (SafelightError, OSError, ValueError) as error:
        reason = first_line(error.__cause__ or error)
        raise CheckFailed(f"{url}: {reason}", "Check SAFELIGHT_STORAGE_URL, its credentials and permissions.") from None
    if not is_intact:
        raise CheckFailed(f"{url} returns other content than was written", "Use another storage.")
    return f"{url}: write, read and delete work"


@contextmanager
def _without_new_folders(url: str) -> Iterator[None]:
    """Delete the folders that a check has made for a local storage."""
    parts = urlsplit(url)
    folder = Path(unquote(parts.path))
    missing = [path for path in (folder, *folder.parents) if not path.exists()] if parts.scheme == "file" else []
    try:
        yield
    finally:
        with suppress(OSError):
            for path in missing:
                path.rmdir()


def check_api(subject: Subject) -> str:
    """The API of this machine, and what it depends on."""
    settings = subject.settings
    connection = http.client.HTTPConnection(reachable_host(settings), settings.port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        body = json.loads(connection.getresponse().read())
        down = [name for name, state in body["checks"].items() if state != "ok"]
        status = body["status"]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckFailed(
            f"{api_url(settings)} does not answer as Safelight: {error}",
            "Start `safelight up` or `safelight api`, or set SAFELIGHT_PORT to its port.",
        ) from None
    finally:
        connection.close()
    if down:
        raise CheckFailed(f"{status}: {', '.join(down)} down", "See the parts above and the API's log.")
    return f"{api_url(settings)} is {status}"


def check_workers(subject: Subject) -> str:
    """That each queue of the catalogue has a worker, on this machine or another."""
    from cli.database import open_database
    from core import workers

    catalog = read_available_catalog(subject.settings)
    try:
        with open_database(with_embedded_database(subject.settings)) as database:
            rows = {row.queue: row for row in database.execute(workers.count_by_queue())}
    except CommandError:
        raise CheckFailed("unknown without the database", "See postgres above.") from None
    if lacking := [queue for queue in catalog.queues if queue not in rows]:
        commands = ", ".join(f"`safelight worker --queue {queue}`" for queue in lacking)
        raise CheckFailed(f"no worker serves {', '.join(lacking)}", f"Start {commands}; until then, jobs wait.")
    return ", ".join(
        f"{queue}: {row.workers}" + ("" if row.ready_workers else ", still loading a model")
        for queue, row in sorted(rows.items())
    )


def check_disk(subject: Subject) -> str:
    """Free space in the data directory."""
    settings = subject.settings
    folder = next(path for path in (settings.data_dir, *settings.data_dir.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    detail = f"{free / 1e9:.1f} GB free in {folder}"
    if free < MIN_FREE_BYTES:
        raise CheckFailed(detail, "Free some space, shorten SAFELIGHT_RETENTION, or set SAFELIGHT_DATA_DIR.")
    return detail


CHECKS: dict[str, Check] = {
    "models": check_models,
    "packages": check_packages,
    "postgres": check_postgres,
    "redis": check_redis,
    "storage": check_storage,
    "api": check_api,
    "workers": check_workers,
    "disk": check_disk,
}
