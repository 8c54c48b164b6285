"""A Safelight that offers OpenAI's models, and a stub in place of OpenAI."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from cli.local.embedded import EmbeddedValkey
from tests.faults.provider.calls import OPENAI
from tests.openai_stub import KEY, OpenAIStub
from tests.stack import CATALOG, Stack


@pytest.fixture
def openai() -> Iterator[OpenAIStub]:
    with OpenAIStub() as stub:
        yield stub


@pytest.fixture(scope="package")
def base_stack(directory: Path, fresh_database: Callable[[], str], valkey: EmbeddedValkey) -> Iterator[Stack]:
    """A Safelight that offers OpenAI's models; API and sweep run, no worker does yet."""
    with Stack(directory / "openai", fresh_database(), valkey.url) as stack:
        (stack.directory / "catalog.toml").write_text(CATALOG + OPENAI)
        stack.environment |= {
            "SAFELIGHT_OPENAI_API_KEY": KEY,
            "SAFELIGHT_OPENAI_BREAKER_FAILURES": "1000",
            "NO_PROXY": "127.0.0.1",
        }
        stack.api()
        stack.sweep()
        yield stack


@pytest.fixture
def service(base_stack: Stack, openai: OpenAIStub) -> Iterator[Stack]:
    """The same with an empty database and an empty storage, for workers that ask this stub and end with the test."""
    base_stack.database.execute(sa.text("TRUNCATE jobs, files, provider_calls CASCADE"))
    shutil.rmtree(base_stack.directory / "images", ignore_errors=True)
    base_stack.environment["SAFELIGHT_OPENAI_BASE_URL"] = openai.url
    with base_stack.apart():
        yield base_stack
