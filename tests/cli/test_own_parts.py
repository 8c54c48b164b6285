"""`safelight up` with external servers: each URL that is set replaces an embedded server."""

from collections.abc import Callable
from pathlib import Path

import httpx

from cli.local.embedded import EmbeddedValkey
from cli.local.ports import free_port
from tests.cli.terminal import Terminal, final_job


def test_each_url_that_is_set_replaces_an_embedded_part(
    directory: Path, fresh_database: Callable[[], str], valkey: EmbeddedValkey
) -> None:
    storage = directory / "storage"
    terminal = Terminal(
        directory / "own-parts",
        free_port(),
        SAFELIGHT_DATABASE_URL=fresh_database(),
        SAFELIGHT_REDIS_URL=f"{valkey.url}/5",
        SAFELIGHT_STORAGE_URL=f"file://{storage}",
    )
    with terminal.start("up") as up:
        up.until_says("print(image.data[0].url)")
        job = httpx.post(f"{terminal.url}/v1/jobs", json={"prompt": "x"}).json()
        final = final_job(f"{terminal.url}/v1/jobs/{job['id']}")

    assert final["status"] == "completed"
    assert len(list(storage.glob(f"jobs/{job['id']}/*/0.png"))) == 1
    assert {"postgres", "valkey", "images"}.isdisjoint(path.name for path in terminal.data_dir.iterdir())
