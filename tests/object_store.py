"""A real S3 server for tests: SeaweedFS in one process, with one bucket and one pair of keys."""

import sys
from pathlib import Path

from tests.processes import Process
from tests.stack import free_port

BUCKET = "safelight"
PARTS = ("s3", "master", "filer", "volume", "admin")


class ObjectStore(Process):
    """S3 at `environment["AWS_ENDPOINT_URL"]`; use it as a context manager."""

    def __init__(self, directory: Path) -> None:
        ports = {f"{part}.port{kind}": free_port() for part in PARTS for kind in ("", ".grpc")}
        keys = {"AWS_ACCESS_KEY_ID": "safelight", "AWS_SECRET_ACCESS_KEY": "of-the-test"}
        weed = str(Path(sys.executable).with_name("weed"))
        options = (
            f"-dir={directory}", f"-bucket={BUCKET}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-admin.ui=false",
            "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false",
        )  # fmt: skip
        port_options = (f"-{name}={port}" for name, port in ports.items())
        directory.mkdir(parents=True, exist_ok=True)
        super().__init__("weed", [weed, "-logtostderr=true", "mini", *options, *port_options], keys)
        self.environment = {
            **keys,
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports['s3.port']}",
            "AWS_REGION": "us-east-1",
            "SAFELIGHT_STORAGE_URL": f"s3://{BUCKET}/images",
        }
        self.until_says(f"created bucket {BUCKET}")
