"""`safelight doctor`: checks each part of the installation and suggests a fix for each problem. Exit code 1 if any.

The only thing it writes is one small object in the storage, which it deletes again.
"""

import http.client
import json
import platform
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import typer

from cli.environment import explain_missing_files, reachable_host, read_catalog, read_settings, with_embedded_urls
from cli.errors import CommandError
from cli.panel import api_url
from core.settings import Settings

MIN_FREE_BYTES = 2_000_000_000
"""With less, a day of images may fill the disk."""

MIN_PYTHON = (3, 11)
PROBE_TORCH = "import torch, diffusers; print(torch.__version__, 'cuda' if torch.cuda.is_available() else 'cpu')"


class CheckFailed(Exception):
    """A part does not work: the message is the problem, `remedy` is what to do."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check. `remedy` is empty if the part works."""

    part: str
    detail: str
    remedy: str = ""


def doctor() -> None:
    """Check each part of the installation and suggest a fix for each problem."""
    findings = list(_check_parts())
    _print_findings(findings)
    if any(finding.remedy for finding in findings):
        raise typer.Exit(1)


def _check_parts() -> Iterator[Finding]:
    yield _run_check("python", lambda _: _check_python(), Settings.model_construct())
    try:
        settings = read_settings()
    except CommandError as error:
        yield Finding("settings", "wrong", str(error))
        return
    yield Finding("settings", f"data in {settings.data_dir}")
    for part, check in CHECKS.items():
        yield _run_check(part, check, settings)


def _run_check(part: str, check: Callable[[Settings], str], settings: Settings) -> Finding:
    try:
        return Finding(part, check(settings))
    except CheckFailed as failure:
        return Finding(part, str(failure), failure.remedy)
    except CommandError as error:
        return Finding(part, "not found", str(error))


def _print_findings(findings: list[Finding]) -> None:
    if not sys.stdout.isatty():
        for finding in findings:
            print(f"{'FAIL' if finding.remedy else 'ok':<5} {finding.part:<10} {finding.detail}")
            if finding.remedy:
                print(f"{'':<16} -> {finding.remedy}")
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("", "part", "result", "what to do", box=box.SIMPLE)  # wraps long text, unlike cli.table
    for finding in findings:
        state = Text("FAIL", "bold red") if finding.remedy else Text("ok", "green")
        table.add_row(state, finding.part, Text(finding.detail), Text(finding.remedy))
    Console().print(table)


def _check_python() -> str:
    if sys.version_info < MIN_PYTHON:
        raise CheckFailed(platform.python_version(), "Install Python 3.11 or newer.")
    return platform.python_version()


def _check_models(settings: Settings) -> str:
    catalog = read_catalog(settings)
    for model in catalog.models:
        if reason := explain_missing_files(model, settings):
            raise CheckFailed(f"{model.id} is incomplete", reason)
    return f"{', '.join(model.id for model in catalog.models)}; the default is {catalog.default}"


def _check_torch(_: Settings) -> str:
    probe = subprocess.run([sys.executable, "-c", PROBE_TORCH], capture_output=True, text=True, check=False)  # noqa: S603 - our own line
    if probe.returncode:
        reason = (probe.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise CheckFailed(reason, "pip install 'safelight[worker]'; without it, only remote and fake models work here.")
    version, device = probe.stdout.split()[-2:]
    return f"torch {version} on {device}"


def _check_postgres(settings: Settings) -> str:
    from cli.database import get_revision, open_database
    from core.revision import get_server_version
    from migrations import newest

    settings = with_embedded_urls(settings)
    try:
        with open_database(settings) as database:
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


def _check_redis(settings: Settings) -> str:
    import redis
    import redis.sentinel

    from core.redis.connection import connect

    try:
        with connect(with_embedded_urls(settings), seconds=3) as client:
            info = client.info()
    except redis.sentinel.MasterNotFoundError:  # its message shows every option of each Sentinel's client
        reason = "no Sentinel answers with the address of the master"
        raise CheckFailed(reason, "Check the hosts and `master_name` in SAFELIGHT_REDIS_URL.") from None
    except (redis.RedisError, ValueError, OSError) as error:
        raise CheckFailed(str(error), "Start `safelight up`, or check SAFELIGHT_REDIS_URL and the server.") from None
    if (policy := info.get("maxmemory_policy")) != "noeviction":
        raise CheckFailed(f"maxmemory-policy is {policy}", "Set it to noeviction, or notifications may be dropped.")
    return f"{info.get('server_name', 'redis')} {info.get('valkey_version', info['redis_version'])}"


def _check_storage(settings: Settings) -> str:
    from core.errors import SafelightError, first_line
    from core.storage import Storage

    url = settings.storage_url or f"file://{settings.data_dir / 'images'}"
    key, content = f"doctor/{uuid.uuid4().hex}", b"safelight"
    try:
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


def _check_api(settings: Settings) -> str:
    connection = http.client.HTTPConnection(reachable_host(settings), settings.port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        body = json.loads(connection.getresponse().read())
        down = [name for name, state in body["checks"].items() if state != "ok"]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckFailed(
            f"{api_url(settings)} does not answer as Safelight: {error}",
            "Start `safelight up` or `safelight api`, or set SAFELIGHT_PORT to its port.",
        ) from None
    finally:
        connection.close()
    if down:
        raise CheckFailed(f"{body['status']}: {', '.join(down)} down", "See the parts above and the API's log.")
    return f"{api_url(settings)} is {body['status']}"


def _check_disk(settings: Settings) -> str:
    folder = next(path for path in (settings.data_dir, *settings.data_dir.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    detail = f"{free / 1e9:.1f} GB free in {folder}"
    if free < MIN_FREE_BYTES:
        raise CheckFailed(detail, "Free some space, shorten SAFELIGHT_RETENTION, or set SAFELIGHT_DATA_DIR.")
    return detail


CHECKS: dict[str, Callable[[Settings], str]] = {
    "models": _check_models,
    "torch": _check_torch,
    "postgres": _check_postgres,
    "redis": _check_redis,
    "storage": _check_storage,
    "api": _check_api,
    "disk": _check_disk,
}
