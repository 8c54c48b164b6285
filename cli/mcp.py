"""`safelight mcp`: the tools of a running Safelight over stdin and stdout, for agents that start programs.

It passes each message on to the API's `/mcp`, where the tools are defined. Progress and cancellation are passed on too.
Each message has a connection of its own, so that a restart of the API ends no more than the calls that are open.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from cli.client import Key, Url, connect
from cli.errors import CommandError
from cli.packages import install_command

if TYPE_CHECKING:
    from mcp import Client
    from mcp.server.context import ServerRequestContext
    from mcp.server.lowlevel import Server
    from mcp_types import CallToolRequestParams, CallToolResult, ListToolsResult, PaginatedRequestParams

    Context = ServerRequestContext[Any]
    Connect = Callable[[], AbstractAsyncContextManager[Client]]

CONNECT_SECONDS = 5.0
IDLE_SECONDS = 60.0
"""Maximum time without data from the API. It sends a comment every 15 seconds while a call lasts."""


class _Unavailable(Exception):
    """The API does not answer."""


def mcp(url: Url = None, key: Key = None) -> None:
    """Serve the tools for agents over stdin and stdout: for Claude Desktop, Cursor and others."""
    try:
        import anyio
        import mcp.server.stdio  # noqa: F401 - whether it is installed
    except ModuleNotFoundError:
        raise CommandError(f"`safelight mcp` needs the package mcp: {install_command('mcp')}") from None
    with connect(url, key) as client:
        client.request("GET", "/v1/models")  # says what is wrong with the URL or the key
        address = client.base_url
    anyio.run(_serve, address, key)


async def _serve(address: str, key: str | None) -> None:
    """Pass on messages until stdin ends. Raises CommandError if the API has no tools."""
    from mcp import MCPError
    from mcp.server.stdio import stdio_server

    def connect_to_api() -> "AbstractAsyncContextManager[Client]":
        return _connection(address, key)

    try:
        async with connect_to_api() as upstream:
            instructions = upstream.instructions
    except (MCPError, _Unavailable) as error:
        raise CommandError(f"{address}/mcp: {error}") from None
    server = _server(connect_to_api, instructions)
    async with stdio_server() as (read_stream, write_stream):
        await server.run(read_stream, write_stream, server.create_initialization_options())


@asynccontextmanager
async def _connection(address: str, key: str | None) -> "AsyncIterator[Client]":
    """A client of the API's tools. Raises MCPError, and _Unavailable if the API does not answer."""
    import httpx2
    from mcp import Client, MCPError
    from mcp.client.streamable_http import streamable_http_client

    http = httpx2.AsyncClient(
        headers={"authorization": f"Bearer {key}"} if key else {},
        timeout=httpx2.Timeout(IDLE_SECONDS, connect=CONNECT_SECONDS),
        # For this machine, a proxy in the environment is not used.
        mounts={f"all://{host}": None for host in ("localhost", "127.0.0.1", "[::1]")},
    )
    try:
        async with http, Client(streamable_http_client(f"{address}/mcp", http_client=http)) as client:
            yield client
    except Exception as error:
        cause = error
        while isinstance(cause, ExceptionGroup):
            cause = cause.exceptions[0]
        if isinstance(cause, httpx2.TransportError):
            raise _Unavailable(
                f"Safelight does not answer at {address}: it may be restarting. Try again in some seconds, with the "
                "same idempotency_key if the call had one. A person can start it with `safelight up`."
            ) from None
        if isinstance(cause, MCPError):
            raise cause from None
        raise


def _server(connect_to_api: "Connect", instructions: str | None) -> "Server[Any]":
    """A server that passes each message on."""
    from mcp import MCPError
    from mcp.server.lowlevel import Server
    from mcp_types import INTERNAL_ERROR, CallToolRequest, CallToolRequestParams, CallToolResult, TextContent

    async def list_tools(_context: "Context", _params: "PaginatedRequestParams | None") -> "ListToolsResult":
        try:
            async with connect_to_api() as upstream:
                return await upstream.list_tools()
        except _Unavailable as error:
            raise MCPError(INTERNAL_ERROR, str(error)) from None

    async def call_tool(context: "Context", params: "CallToolRequestParams") -> "CallToolResult":
        request = CallToolRequest(params=CallToolRequestParams(name=params.name, arguments=params.arguments))
        report = context.session.report_progress
        try:
            async with connect_to_api() as upstream:
                return await upstream.session.send_request(request, CallToolResult, progress_callback=report)
        except _Unavailable as error:
            return CallToolResult(content=[TextContent(type="text", text=str(error))], is_error=True)

    return Server(
        "safelight",
        title="Safelight",
        version=version("safelight"),
        instructions=instructions,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )
