"""Agents for tests: the official client of the Model Context Protocol, over HTTP or over stdin and stdout."""

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

import httpx2
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, ImageContent, ResourceLink, TextContent

from tests.processes import python
from tests.stack import Stack
from tests.waiting import PATIENCE

ResultT = TypeVar("ResultT")

Story = Callable[[Client], Awaitable[ResultT]]
PROTOCOLS = ("http", "http-before-2026")
"""The protocol of 2026 over HTTP, and the one before, with its handshake. `stdio` is `safelight mcp`."""


def with_agent(stack: Stack, story: Story[ResultT], transport: str = "http", key: str | None = None) -> ResultT:
    """Run a story with a client that is connected."""

    async def run() -> ResultT:
        async with asyncio.timeout(PATIENCE), agent(stack, transport, key) as client:
            return await story(client)

    return asyncio.run(run())


@asynccontextmanager
async def agent(stack: Stack, transport: str = "http", key: str | None = None) -> AsyncIterator[Client]:
    async with AsyncExitStack() as exits:
        if transport == "stdio":
            command, *arguments = python("-m", "cli.main", "mcp", "--url", stack.url)
            variables = {"PYTHONPATH": os.environ.get("PYTHONPATH", "")} | ({"SAFELIGHT_API_KEY": key} if key else {})
            server = StdioServerParameters(command=command, args=arguments, env={**os.environ, **variables})
            yield await exits.enter_async_context(Client(server))
            return
        headers = {"authorization": f"Bearer {key}"} if key else {}
        http = await exits.enter_async_context(httpx2.AsyncClient(headers=headers, timeout=PATIENCE))
        mode = "auto" if transport == "http" else "legacy"
        yield await exits.enter_async_context(
            Client(streamable_http_client(f"{stack.url}/mcp", http_client=http), mode=mode)
        )


def text_of(result: CallToolResult) -> str:
    (text,) = [content.text for content in result.content if isinstance(content, TextContent)]
    return text


def error_of(result: CallToolResult) -> str:
    assert result.is_error, result
    return text_of(result)


def result_of(result: CallToolResult) -> dict[str, Any]:
    """The structured content, which the client has compared with the tool's output schema."""
    assert not result.is_error, text_of(result)
    structure: dict[str, Any] = result.structured_content
    return structure


def images_in(result: CallToolResult) -> list[bytes]:
    return [base64.b64decode(content.data) for content in result.content if isinstance(content, ImageContent)]


def links_in(result: CallToolResult) -> list[str]:
    return [str(content.uri) for content in result.content if isinstance(content, ResourceLink)]
