"""The official SDK against real processes."""

from collections.abc import Iterator

import openai
import pytest

from tests.stack import Stack


@pytest.fixture
def client(safelight: Stack) -> Iterator[openai.OpenAI]:
    """The SDK as everybody makes it, but for its base URL."""
    with openai.OpenAI(base_url=f"{safelight.url}/v1", api_key="anything") as client:
        yield client
