"""`safelight up`, from an empty directory until its last process has ended. The tests depend on their order."""

import os
import select
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest
import redis

from cli.checks import CHECKS
from cli.keys import create_first_key
from cli.local.embedded import APPLICATION_ROLE, EmbeddedPostgres, EmbeddedValkey
from cli.local.ports import free_port
from core import keys
from core.db import Database
from tests.cli.terminal import Terminal, final_job
from tests.processes import Process
from tests.waiting import PATIENCE, until

PNG = b"\x89PNG\r\n"
LAST_CURL_LINE = '|| echo "No image yet: repeat from the second curl on"'
LAST_LINE = "print(image.data[0].url)"


@pytest.fixture(scope="module")
def terminal(directory: Path) -> Terminal:
    return Terminal(directory / "up", free_port())


@pytest.fixture(scope="module")
def up(terminal: Terminal) -> Iterator[Process]:
    with terminal.start("up") as process:
        process.until_says(LAST_LINE)
        yield process


def family(process: Process) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def lines(process: Process, first: str, last: str) -> str:
    """What a process said from one line to another, both included."""
    output = process.output()
    begin = output.index(first)
    return output[begin : output.index(last, begin) + len(last)]


def is_ready(terminal: Terminal) -> bool:
    try:
        return httpx.get(f"{terminal.url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_it_is_ready_when_it_says_so(up: Process, terminal: Terminal) -> None:
    assert f"Safelight is ready at {terminal.url} (" in up.output()
    assert f"{terminal.url}/docs" in up.output()
    answer = httpx.get(f"{terminal.url}/readyz")
    assert answer.json() == {
        "status": "ready",
        "checks": {"database": "ok", "redis": "ok", "storage": "ok"},
        "queues": {"local": "ok"},
    }


@pytest.mark.skipif(shutil.which("curl") is None, reason="the lines are for curl")
def test_its_curl_lines_end_in_an_image(up: Process, directory: Path) -> None:
    subprocess.run(["sh", "-c", lines(up, "job=$(curl", LAST_CURL_LINE)], cwd=directory, check=True, timeout=PATIENCE)
    assert (directory / "cat.png").read_bytes().startswith(PNG)


def test_its_sdk_lines_print_the_address_of_an_image(up: Process) -> None:
    snippet = lines(up, "from openai import", LAST_LINE)
    result = subprocess.run([sys.executable, "-c", snippet], capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == 0, result.stderr
    assert httpx.get(result.stdout.strip()).content.startswith(PNG)


def test_the_doctor_finds_everything_well(up: Process, terminal: Terminal) -> None:
    result = terminal.run("doctor")
    assert result.returncode == 0, result.stdout
    assert [line.split()[:2] for line in result.stdout.splitlines()] == [
        ["ok", part] for part in ("python", "settings", *CHECKS)
    ]


def test_what_it_writes_is_for_its_own_account_only(up: Process, terminal: Terminal) -> None:
    """If root runs it, the account of Postgres may pass through directories, but not list or read them."""
    modes: dict[Path, int] = {}
    for path in [terminal.data_dir, *terminal.data_dir.rglob("*")]:
        with suppress(FileNotFoundError):  # a temporary file of Postgres
            modes[path] = path.lstat().st_mode

    assert {"images", "logs", "postgres", "valkey"} <= {path.name for path in modes}
    assert any(path.suffix == ".png" for path in modes)
    assert not {str(path): oct(mode) for path, mode in modes.items() if stat.S_ISREG(mode) and mode & 0o077}
    assert not {str(path): oct(mode) for path, mode in modes.items() if stat.S_ISDIR(mode) and mode & 0o067}


def test_its_servers_listen_on_loopback_only_and_no_process_is_superuser(up: Process, terminal: Terminal) -> None:
    connections = [connection for child in family(up) for connection in child.net_connections("inet")]
    assert {connection.laddr.ip for connection in connections if connection.status == "LISTEN"} == {"127.0.0.1"}
    paths = {str(connection.laddr) for child in family(up) for connection in child.net_connections("unix")}
    assert paths <= {""}  # no socket has a name
    postgres = EmbeddedPostgres(terminal.data_dir / "postgres")
    with psycopg.connect(postgres.url) as owner:
        sessions = "SELECT DISTINCT usename FROM pg_stat_activity WHERE application_name LIKE 'safelight-%'"
        assert owner.execute(sessions).fetchall() == [(APPLICATION_ROLE,)]
    address = f"127.0.0.1:{postgres.port}/safelight"
    for user in ("safelight", APPLICATION_ROLE):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(f"postgresql://{user}:wrong@{address}")
    valkey = EmbeddedValkey(terminal.data_dir / "valkey")
    with redis.Redis(port=valkey.port) as client, pytest.raises(redis.AuthenticationError):
        client.ping()


def test_a_second_one_on_the_same_directory_says_who_is_running(up: Process, terminal: Terminal) -> None:
    output = terminal.refusal("up")
    assert output == f"Safelight is running on {terminal.data_dir} already, as pid {up.pid} at {terminal.url}."


def test_keys_are_made_shown_and_revoked_beside_it(up: Process, terminal: Terminal) -> None:
    key = terminal.run("keys", "create", "phone", "--project", "home").stdout.strip()
    (_, line) = terminal.run("keys", "list").stdout.splitlines()
    assert line.endswith("phone")
    assert key[:9] in line
    assert key not in line
    key_id = line.split()[0]
    assert terminal.run("keys", "revoke", key_id).stdout == f"{key_id} is revoked.\n"
    assert terminal.refusal("keys", "revoke", key_id) == f"There is no key {key_id}, or it was revoked before."


@pytest.mark.parametrize(
    ("name", "program"),
    [("api", "api"), ("worker", "celery"), ("valkey", "valkey-server"), ("postgres", "postgres")],
)
def test_a_server_that_dies_is_started_again(up: Process, terminal: Terminal, name: str, program: str) -> None:
    def servers() -> list[int]:
        children = psutil.Process(up.pid).children()
        return [child.pid for child in children if program in (child.name(), *child.cmdline())]

    (before,) = servers()
    os.kill(before, signal.SIGKILL)
    up.until_says(f"{name} has ended (killed by SIGKILL); it starts again in 0.5 s.")
    until(lambda: servers() not in ([], [before]) and is_ready(terminal))


def test_ctrl_c_leaves_no_process(up: Process, terminal: Terminal) -> None:
    everybody = family(up)
    assert len({os.getpgid(child.pid) for child in psutil.Process(up.pid).children()}) == 6  # each its own group
    up.signal(signal.SIGINT)
    assert up.wait() == 0
    assert not [process for process in everybody if process.is_running()]
    up.until_says("Stopped.")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children that their parent has died")
def test_a_kill_takes_every_server_with_it(terminal: Terminal) -> None:
    with terminal.start("up", SAFELIGHT_AUTH="on") as process:
        process.until_says(LAST_LINE)
        key = next(word for word in process.output().split() if word.startswith("sl_"))
        until(lambda: not (terminal.data_dir / "first_key").exists())  # it was shown
        with httpx.Client(base_url=terminal.url) as client:
            assert client.get("/v1/jobs").status_code == 401
            assert client.get("/v1/jobs", headers={"authorization": f"Bearer {key}"}).status_code == 200
        ends = [os.pidfd_open(child.pid) for child in family(process)]
        process.kill()
        for end in ends:
            assert select.select([end], [], [], PATIENCE)[0]
            os.close(end)


def test_the_first_ctrl_c_waits_for_the_job_in_hand_and_the_second_does_not(terminal: Terminal) -> None:
    with terminal.start("up") as process:
        process.until_says(LAST_LINE)
        job = httpx.post(f"{terminal.url}/v1/jobs", json={"model": "slow", "prompt": "a cat"}).json()
        until(lambda: httpx.get(job["urls"]["self"]).json()["status"] == "in_progress")
        everybody = family(process)
        process.signal(signal.SIGINT)
        process.until_says("Stopping: running work is finished first.")
        (worker,) = (child for child in everybody if "celery" in child.cmdline())
        assert worker.is_running()
        process.signal(signal.SIGINT)
        assert process.wait() == 0
        assert not [child for child in psutil.wait_procs(everybody, PATIENCE)[1] if child.is_running()]


def test_without_a_worker_jobs_wait_and_a_worker_of_its_own_draws_them(terminal: Terminal) -> None:
    with terminal.start("up", "--without-worker") as process:
        process.until_says(LAST_LINE)
        assert not [child for child in family(process) if "celery" in child.cmdline()]
        job = httpx.post(f"{terminal.url}/v1/jobs", json={"prompt": "a cat"}).json()
        result = terminal.run("doctor", "api", SAFELIGHT_PROT="1")
        assert result.returncode == 1
        assert "SAFELIGHT_PROT is no setting and is ignored: did you mean SAFELIGHT_PORT?" in result.stdout
        failures = [line.split() for line in result.stdout.splitlines() if line.startswith("FAIL")]
        assert [words[1] for words in failures] == ["settings", "workers"]
        with terminal.start("worker", "--queue", "local", "--concurrency", "2"):
            assert final_job(job["urls"]["self"])["status"] == "completed"
        process.signal(signal.SIGTERM)
        assert process.wait() == 0


def test_the_first_key_is_offered_again_until_it_was_shown(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "first_key"
    key = create_first_key(database, file)
    again = create_first_key(database, file)  # after a Ctrl-C before the panel
    mode = file.stat().st_mode
    file.unlink()

    assert key is not None
    assert again == key
    assert stat.S_IMODE(mode) == 0o600
    assert create_first_key(database, file) is None
    (row,) = database.execute(keys.list_keys())
    database.execute(keys.revoke(row.id))
    file.write_text(key)
    assert create_first_key(database, file) not in (None, key)
