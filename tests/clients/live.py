"""Clients that are run unmodified against a Safelight, each with its packages at their newest version."""

from dataclasses import dataclass
from typing import Literal

from tests.clients import node_clients as node
from tests.clients import python_clients as python


@dataclass(frozen=True, slots=True)
class LiveClient:
    """A client, and what it gets."""

    name: str
    packages: tuple[str, ...]
    program: str
    sizes: tuple[tuple[int, int], ...]  # of the images that the program prints
    language: Literal["python", "node"] = "python"


SQUARE, SMALL, SMALLEST = (1024, 1024), (256, 256), (64, 64)
WIDE, TALL, PORTRAIT = (1792, 1024), (1024, 1792), (1024, 1536)
SDK_SIZES = (SQUARE, SQUARE, WIDE, PORTRAIT, SMALL)

LIVE_CLIENTS = (
    LiveClient("openai-python 0.28", ("openai==0.28.1",), python.OLD_SDK, (SQUARE, (512, 512), SMALL)),
    LiveClient("openai-python 1", ("openai<2",), python.SDK, SDK_SIZES),
    LiveClient("openai-python 2", ("openai<3",), python.SDK + python.RESPONSES, (*SDK_SIZES, PORTRAIT, PORTRAIT)),
    LiveClient("openai-python", ("openai",), python.SDK + python.RESPONSES, (*SDK_SIZES, PORTRAIT, PORTRAIT)),
    LiveClient("openai-agents", ("openai-agents",), python.AGENTS, (SQUARE, SQUARE, SQUARE)),
    LiveClient("Haystack", ("haystack-ai",), python.HAYSTACK, ((1536, 1024),)),
    LiveClient("LiteLLM", ("litellm",), python.LITELLM, (WIDE, SQUARE, SQUARE, SQUARE, SMALLEST)),
    LiveClient(
        "LiteLLM proxy", ("litellm[proxy]", "openai"), python.LITELLM_PROXY, (TALL, SQUARE, (1536, 1024), SQUARE)
    ),
    LiveClient("langchain-community", ("langchain-community", "openai"), python.LANGCHAIN_COMMUNITY, (TALL,)),
    LiveClient("langchain-openai", ("langchain-openai",), python.LANGCHAIN, (SQUARE, SQUARE)),
    LiveClient(
        "llama-index", ("llama-index-tools-openai-image-generation", "openai"), python.LLAMA_INDEX, (WIDE, (512, 512))
    ),
    LiveClient("openai (Node.js)", ("openai",), node.SDK, (SQUARE, SQUARE, PORTRAIT, SMALL, SQUARE, SQUARE), "node"),
    LiveClient("AI SDK", ("ai", "@ai-sdk/openai"), node.AI_SDK, (SQUARE, SQUARE, PORTRAIT, SQUARE, SQUARE), "node"),
    LiveClient(
        "AI SDK, OpenAI-compatible",
        ("ai", "@ai-sdk/openai-compatible"),
        node.AI_SDK_COMPATIBLE,
        (SQUARE, SQUARE, SQUARE),
        "node",
    ),
    LiveClient(
        "@langchain/openai", ("@langchain/openai", "@langchain/core"), node.LANGCHAIN, (SQUARE, PORTRAIT), "node"
    ),
)


@dataclass(frozen=True, slots=True)
class InspectorWay:
    """How MCP Inspector reaches a Safelight. era: of the protocol, as its option names it."""

    era: Literal["legacy", "modern"]
    is_stdio: bool = False


INSPECTORS = {
    "MCP Inspector, HTTP, protocol of 2026": InspectorWay("modern"),
    "MCP Inspector, HTTP, protocol before": InspectorWay("legacy"),
    "MCP Inspector, `safelight mcp`": InspectorWay("legacy", is_stdio=True),
}
INSPECTOR_IMAGES = 2
"""Images that each of them gets."""
