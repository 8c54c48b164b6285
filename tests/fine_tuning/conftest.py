"""A Safelight with a tiny pipeline of SDXL's classes that may be fine-tuned."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.local.embedded import EmbeddedValkey
from tests.contract.pipelines import a_tiny_sdxl
from tests.stack import Stack

CATALOG = """
default = "tiny-sdxl"

[[models]]
id = "tiny-sdxl"
generator = "diffusers_local"
source = "tiny-sdxl"
sizes = ["32x32"]
steps = { default = 2, min = 1, max = 10 }
microbatch_size = 4
fine_tuning = { steps = 12, max_steps = 2000, batch_size = 2, learning_rate = 0.01, rank = 2, resolution = 32 }

[[models]]
id = "fake"
generator = "fake"
sizes = ["64x64"]
"""


@pytest.fixture(scope="module")
def safelight(directory: Path, fresh_database: Callable[[], str], valkey: EmbeddedValkey) -> Iterator[Stack]:
    folder = directory / "fine-tuning"
    a_tiny_sdxl().save_pretrained(folder / "models" / "tiny-sdxl")
    settings = {
        "SAFELIGHT_MODELS_DIR": str(folder / "models"),
        "SAFELIGHT_TRAINING_SAVE": "0.01",
        "SAFELIGHT_LEASE": "10",  # while torch is imported, a busy machine renews late
        "SAFELIGHT_HEARTBEAT": "2",
        "SAFELIGHT_DEVICE": "cpu",
    }
    with Stack(folder, fresh_database(), valkey.url, **settings) as stack:
        (folder / "catalog.toml").write_text(CATALOG)
        stack.api()
        yield stack
