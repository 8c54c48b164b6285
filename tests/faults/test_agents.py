"""Agents, while the API restarts."""

import asyncio

import pytest
from mcp import Client

from tests.agents import error_of, result_of, with_agent
from tests.stack import Stack


@pytest.mark.slow
def test_a_restart_of_the_api_does_not_end_the_program_of_an_agent(own: Stack) -> None:
    api = own.api()

    async def story(client: Client) -> None:
        assert result_of(await client.call_tool("list_models", {}))
        api.kill()
        assert "it may be restarting. Try again" in error_of(await client.call_tool("list_models", {}))
        await asyncio.to_thread(own.api)
        assert result_of(await client.call_tool("list_models", {}))

    with_agent(own, story, "stdio")
