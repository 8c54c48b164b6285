"""The requests of clients of AUTOMATIC1111's API, and their part of `docs/clients.md`."""

import tomllib
from pathlib import Path
from typing import Any

TABLE: dict[str, list[dict[str, Any]]] = tomllib.loads((Path(__file__).parent / "webui.toml").read_text())

HEAD = """
## Clients of AUTOMATIC1111's API

They find [the webui's calls](webui.md) under `SAFELIGHT/sdapi/v1`; most take the address alone. The requests are those
of `tests/clients/webui.toml`. "Warnings" are for a model that has only its own sampler and small sizes.

| client | configuration |
|---|---|"""


def rows() -> list[str]:
    """The configuration of each client, and its requests."""
    configurations = [f"| {client['name']} | {client['configuration']} |" for client in TABLE["client"]]
    return [*configurations, "", "| client | call | image | warnings |", "|---|---|---|---|", *_requests()]


def _requests() -> list[str]:
    lines = []
    for request in TABLE["request"]:
        width, height = request["size"]
        warnings = "; ".join(request["warnings"]) or "none"
        lines.append(f"| {request['client']} | {request['call']} | {width}x{height} | {warnings} |")
    return lines
