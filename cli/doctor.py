"""`safelight doctor`: asks each part whether it works, and says what to do where it does not. Exit code 1 if any fails.

Only looks; all that it writes is one small object in the store, which it deletes again.
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

from cli.environment import joined, missing_files, reachable_host, read_catalog, read_settings
from cli.errors import CommandError
from cli.panel import address
from core.settings import Settings

LEAST_FREE_BYTES = 2_000_000_000
"""Below that a day of images may fill the disk."""

LEAST_PYTHON = (3, 11)
PROBE_TORCH = "import torch, diffusers; print(torch.__version__, 'cuda' if torch.cuda.is_available() else 'cpu')"


class Ailing(Exception):
    """A part does not work; the message says what was seen, `remedy` what to do."""

    def __init__(self, seen: str, remedy: str) -> None:
        super().__init__(seen)
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Finding:
    """What is to be said of one part; `remedy` is empty where it works."""

    part: str
    seen: str
    remedy: str = ""


def doctor() -> None:
    """Check each part of this installation and say what to do."""
    findings = list(_examine())
    _show(findings)
    if any(finding.remedy for finding in findings):
        raise typer.Exit(1)


def _examine() -> Iterator[Finding]:
    yield _finding("python", lambda _: _python(), Settings.model_construct())
    try:
        settings = read_settings()
    except CommandError as error:
        yield Finding("settings", "wrong", str(error))
        return
    yield Finding("settings", f"data in {settings.data_dir}")
    for part, check in CHECKS.items():
        yield _finding(part, check, settings)


def _finding(part: str, check: Callable[[Settings], str], settings: Settings) -> Finding:
    try:
        return Finding(part, check(settings))
    except Ailing as ailing:
        return Finding(part, str(ailing), ailing.remedy)
    except CommandError as error:
        return Finding(part, "not found", str(error))


def _show(findings: list[Finding]) -> None:
    if not sys.stdout.isatty():
        for finding in findings:
            print(f"{'FAIL' if finding.remedy else 'ok':<5} {finding.part:<10} {finding.seen}")
            if finding.remedy:
                print(f"{'':<16} -> {finding.remedy}")
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("", "part", "found", "what to do", box=box.SIMPLE)
    for finding in findings:
        mark = Text("FAIL", "bold red") if finding.remedy else Text("ok", "green")
        table.add_row(mark, finding.part, Text(finding.seen), Text(finding.remedy))
    Console().print(table)


def _python() -> str:
    if sys.version_info < LEAST_PYTHON:
        raise Ailing(platform.python_version(), "Install Python 3.11 or newer.")
    return platform.python_version()


def _models(settings: Settings) -> str:
    catalog = read_catalog(settings)
    for model in catalog.models:
        if reason := missing_files(model, settings):
            raise Ailing(f"{model.id} is incomplete", reason)
    return f"{', '.join(model.id for model in catalog.models)}; the default is {catalog.default}"


def _torch(_: Settings) -> str:
    probe = subprocess.run([sys.executable, "-c", PROBE_TORCH], capture_output=True, text=True, check=False)  # noqa: S603 - our own line
    if probe.returncode:
        reason = (probe.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise Ailing(reason, "pip install 'safelight[worker]'; without it only remote and fake models work here.")
    version, device = probe.stdout.split()[-2:]
    return f"torch {version} on {device}"


def _postgres(settings: Settings) -> str:
    import sqlalchemy as sa

    from cli.database import opened, revision
    from migrations import newest

    settings = joined(settings)
    try:
        with opened(settings) as database:
            version = str(database.execute(sa.text("SHOW server_version"))[0][0])
            found = revision(database)
    except CommandError as error:
        raise Ailing(str(error), "Start `safelight up`, or check SAFELIGHT_DATABASE_URL and its server.") from None
    if int(version.partition(".")[0]) < 15:
        raise Ailing(f"Postgres {version}", "Upgrade the server to Postgres 15 or newer.")
    if found != newest():
        raise Ailing(f"tables at revision {found}, this code wants {newest()}", "Run `safelight migrate`.")
    return f"Postgres {version}, tables at revision {found}"


def _redis(settings: Settings) -> str:
    import redis

    url = joined(settings).redis_url or ""
    try:
        with redis.Redis.from_url(url, socket_timeout=3, socket_connect_timeout=3) as client:
            facts = client.info()
    except (redis.RedisError, ValueError, OSError) as error:
        raise Ailing(str(error), "Start `safelight up`, or check SAFELIGHT_REDIS_URL and its server.") from None
    if (policy := facts.get("maxmemory_policy")) != "noeviction":
        raise Ailing(f"maxmemory-policy is {policy}", "Set it to noeviction, or queued rings may be dropped.")
    return f"{facts.get('server_name', 'redis')} {facts.get('valkey_version', facts['redis_version'])}"


def _storage(settings: Settings) -> str:
    from core.errors import SafelightError
    from core.storage import Storage

    where = settings.storage_url or f"file://{settings.data_dir / 'images'}"
    key, content = f"doctor/{uuid.uuid4().hex}", b"safelight"
    try:
        storage = Storage(settings)
        storage.put(key, content, "text/plain")
        same = storage.get(key) == content
        storage.delete([key])
    except (SafelightError, OSError, ValueError) as error:
        raise Ailing(f"{where}: {error}", "Check SAFELIGHT_STORAGE_URL, its credentials and permissions.") from None
    if not same:
        raise Ailing(f"{where} gives back something else than was written", "Use another store.")
    return f"{where}: written, read, deleted"


def _api(settings: Settings) -> str:
    connection = http.client.HTTPConnection(reachable_host(settings), settings.port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        body = json.loads(answer.read())
        down = [name for name, state in body["checks"].items() if state != "ok"]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Ailing(
            f"{address(settings)} does not answer as Safelight: {error}",
            "Start `safelight up` or `safelight api`, or set SAFELIGHT_PORT to where it is.",
        ) from None
    finally:
        connection.close()
    if down:
        raise Ailing(f"{body['status']}: {', '.join(down)} down", "See the parts above, and the API's log.")
    return f"{address(settings)} is {body['status']}"


def _disk(settings: Settings) -> str:
    folder = next(path for path in (settings.data_dir, *settings.data_dir.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    seen = f"{free / 1e9:.1f} GB free in {folder}"
    if free < LEAST_FREE_BYTES:
        raise Ailing(seen, "Make room, shorten SAFELIGHT_RETENTION, or set SAFELIGHT_DATA_DIR to another disk.")
    return seen


CHECKS: dict[str, Callable[[Settings], str]] = {
    "models": _models,
    "torch": _torch,
    "postgres": _postgres,
    "redis": _redis,
    "storage": _storage,
    "api": _api,
    "disk": _disk,
}
