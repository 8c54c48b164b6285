"""`safelight up` with a key for OpenAI starts a worker for OpenAI's models."""

from pathlib import Path

import httpx
import psutil

from cli.local.ports import free_port
from tests.cli.terminal import CATALOG, Terminal, final_job
from tests.openai_stub import KEY, MODEL, OpenAIStub

REMOTE = f"""
[[models]]
id = "{MODEL}"
generator = "openai_images"
queue = "openai"
sizes = ["64x64"]
microbatch_size = 1
"""


def test_images_come_from_the_device_and_from_openai_each_by_a_worker_of_its_own(directory: Path) -> None:
    with OpenAIStub() as openai:
        terminal = Terminal(
            directory / "up-openai", free_port(),
            SAFELIGHT_OPENAI_API_KEY=KEY, SAFELIGHT_OPENAI_BASE_URL=openai.url, NO_PROXY="127.0.0.1",
        )  # fmt: skip
        (terminal.directory / "catalog.toml").write_text(CATALOG + REMOTE)
        with terminal.start("up") as process:
            process.until_says("image.data[0].url")
            jobs = [
                httpx.post(f"{terminal.url}/v1/jobs", json={"prompt": "a cat", **fields}).json()["id"]
                for fields in ({}, {"model": MODEL})
            ]
            finals = [final_job(f"{terminal.url}/v1/jobs/{job}") for job in jobs]
            commands = [child.cmdline() for child in psutil.Process(process.pid).children(recursive=True)]

    assert [job["status"] for job in finals] == ["completed", "completed"]
    assert len(openai.received) == 1
    assert sum("openai" in command and "--concurrency=32" in command for command in commands) == 1
    assert sum("local" in command and "--concurrency=2" in command for command in commands) == 1
