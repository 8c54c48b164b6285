"""The server of the protocol: lists the tools, calls them, and turns errors into results that an agent can act on."""

import json
import logging
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from fastapi import Request
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    ToolAnnotations,
)
from mcp_types import Tool as ListedTool

from api import refusals
from api.authentication import check_scope
from api.context import Context
from api.errors import body_of, from_database_error
from api.mcp.schemas import input_schema, output_schema
from api.mcp.tool import Answer, Call, CallCancelled, Tool
from api.mcp.tools import TOOLS
from api.rate_limits import count_request
from core.catalog import Catalog
from core.db import UNAVAILABLE
from core.errors import InternalError, SafelightError
from core.generation_errors import GenerationError
from core.requests.job import validate

log = logging.getLogger(__name__)

INSTRUCTIONS = """
Safelight generates images. `generate_image`, `edit_image` and `vary_image` return the images, or after `wait_seconds`
the id of a job that continues: call `job_status` with it. For many prompts use one `generate_batch` instead of many
calls, and follow it with `batch_status`. `list_models` lists the models and what each supports. To change an image
that was generated here, pass its `image_id` as `image`. Show the user the link of an image: it opens in a browser.
""".strip()

ProtocolContext = ServerRequestContext[Any, Request]


def create_server(context: Context) -> Server[Any]:
    """The protocol's server, with the models of the catalogue in its schemas."""
    listing = _Listing(context)
    by_name = {tool.name: tool for tool in TOOLS}

    async def list_tools(protocol: ProtocolContext, _params: PaginatedRequestParams | None) -> ListToolsResult:
        caller = Call.of(protocol).caller
        return ListToolsResult(tools=[listing.entries[tool.name] for tool in TOOLS if tool.scope in caller.scopes])

    async def call_tool(protocol: ProtocolContext, params: CallToolRequestParams) -> CallToolResult:
        tool = by_name.get(params.name)
        if tool is None:
            raise MCPError(INVALID_PARAMS, f"There is no such tool. The tools are {', '.join(by_name)}.")
        return await _run(tool, Call.of(protocol), params.arguments or {})

    def schema_of(name: str) -> Mapping[str, Any] | None:
        return listing.entries[name].input_schema if name in by_name else None

    return Server(
        "safelight",
        title="Safelight",
        version=version("safelight"),
        description="Image generation as durable jobs.",
        instructions=INSTRUCTIONS,
        get_tool_input_schema=schema_of,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


class _Listing:
    """The entries of the tools, made anew when the catalogue has changed."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._catalog: Catalog | None = None
        self._entries: Mapping[str, ListedTool] = {}

    @property
    def entries(self) -> Mapping[str, ListedTool]:
        """By name of the tool."""
        catalog = self._context.catalog
        if catalog is not self._catalog:
            self._entries = {tool.name: _list_entry(tool, catalog) for tool in TOOLS}
            self._catalog = catalog
        return self._entries


def _list_entry(tool: Tool, catalog: Catalog) -> ListedTool:
    return ListedTool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=input_schema(tool, catalog),
        output_schema=output_schema(tool),
        annotations=ToolAnnotations(
            title=tool.title,
            read_only_hint=tool.is_read_only,
            destructive_hint=tool.is_destructive,
            idempotent_hint=tool.is_idempotent or tool.is_read_only,
            open_world_hint=False,
        ),
    )


async def _run(tool: Tool, call: Call, values: Mapping[str, Any]) -> CallToolResult:
    """Call a tool. Every error becomes a result: the protocol's own errors do not reach the agent."""
    try:
        check_scope(call.caller, tool.scope)
        if tool.is_submission:
            await count_request(call.request)
        arguments = validate(tool.arguments, {name: value for name, value in values.items() if value is not None})
        async with call.cancellable():
            answer = await tool.run(call, arguments)
    except SafelightError as error:
        return _failure(call, error)
    except UNAVAILABLE as error:
        return _failure(call, from_database_error(error))
    except CallCancelled:
        return _text("The request was cancelled, and its job with it.", is_error=True)
    except Exception:  # a defect of ours: the agent gets a result all the same, and the log the reason
        log.exception("request %s failed: tool %s", call.request.scope.get("request_id", ""), tool.name)
        return _failure(call, InternalError())
    return _success(answer)


def _success(answer: Answer) -> CallToolResult:
    """The object, also as text for clients that know no structured content, then images and links."""
    structure = answer.result.model_dump(mode="json", exclude_none=True)
    text = TextContent(type="text", text=json.dumps(structure, ensure_ascii=False))
    return CallToolResult(content=[text, *answer.content], structured_content=structure)


def _failure(call: Call, error: SafelightError) -> CallToolResult:
    """An error in words: what is wrong, which argument, and whether another try can help."""
    if error.status in refusals.STATUSES:
        refusals.log_refusal(call.request, error)
    body = body_of(error).error
    parts = [body.message.replace("Idempotency-Key", "idempotency_key"), f"(code: {body.code}"]
    if body.param is not None:
        parts.append(f"argument: {body.param.replace('Idempotency-Key', 'idempotency_key')}")
    # A failed job was tried again by the worker: another try would be a new job.
    can_retry = error.retryable and not isinstance(error, GenerationError)
    advice = f" Try again in {error.retry_after:g} seconds." if can_retry else ""
    return _text(f"{parts[0]} {', '.join(parts[1:])}){advice}", is_error=True)


def _text(text: str, *, is_error: bool) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=is_error)
