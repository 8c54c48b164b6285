"""`safelight mcp`: the tools of a running Safelight over stdin and stdout, for agents that start programs.

It passes each message on to the API's `/mcp`, where the tools are defined. Progress and cancellation are passed on too.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from cli.client import Key, Url, connect
from cli.errors import CommandError

if TYPE_CHECKING:
    from mcp import Client
    from mcp.server.context import ServerRequestContext
    from mcp.server.lowlevel import Server
    from mcp_types import CallToolRequestParams, CallToolResult, ListToolsResult, PaginatedRequestParams

    Context = ServerRequestContext[Any]

CONNECT_SECONDS = 5.0
IDLE_SECONDS = 60.0
"""Maximum time without data from the API. It sends a comment every 15 seconds while a call lasts."""


def mcp(url: Url = None, key: Key = None) -> None:
    """Serve the tools for agents over stdin and stdout: for Claude Desktop, Cursor and others."""
    try:
        import anyio
        import mcp.server.stdio  # noqa: F401 - whether it is installed
    except ModuleNotFoundError:
        raise CommandError("`safelight mcp` needs the extra `mcp`: pip install 'safelight[mcp]'.") from None
    with connect(url, key) as client:
        client.request("GET", "/v1/models")  # says what is wrong with the URL or the key
        address = client.url
    anyio.run(_serve, address, key)


async def _serve(address: str, key: str | None) -> None:
    """Pass on messages until stdin ends. Raises CommandError if the API has no tools."""
    import httpx2
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client
    from mcp.server.stdio import stdio_server

    http = httpx2.AsyncClient(
        headers={"authorization": f"Bearer {key}"} if key else {},
        timeout=httpx2.Timeout(IDLE_SECONDS, connect=CONNECT_SECONDS),
        # For this machine, a proxy in the environment is not used.
        mounts={f"all://{host}": None for host in ("localhost", "127.0.0.1", "[::1]")},
    )
    with _explain(address):
        async with http, Client(streamable_http_client(f"{address}/mcp", http_client=http)) as upstream:
            server = _server(upstream)
            async with stdio_server() as (read_stream, write_stream):
                await server.run(read_stream, write_stream, server.create_initialization_options())


def _server(upstream: "Client") -> "Server[Any]":
    """A server that passes each message on."""
    from mcp.server.lowlevel import Server

    async def list_tools(_context: "Context", _params: "PaginatedRequestParams | None") -> "ListToolsResult":
        return await upstream.list_tools()

    async def call_tool(context: "Context", params: "CallToolRequestParams") -> "CallToolResult":
        report = context.session.report_progress
        return await upstream.call_tool(params.name, params.arguments, progress_callback=report)

    return Server(
        "safelight",
        title="Safelight",
        version=version("safelight"),
        instructions=upstream.instructions,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


@contextmanager
def _explain(address: str) -> Iterator[None]:
    """Turn an error of the protocol while it connects into a CommandError."""
    from mcp import MCPError

    try:
        yield
    except Exception as error:
        cause = error
        while isinstance(cause, ExceptionGroup):
            cause = cause.exceptions[0]
        if isinstance(cause, MCPError):
            raise CommandError(f"{address}/mcp: {cause.message}") from None
        raise
