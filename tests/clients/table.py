"""Write `docs/clients.md`: `make clients` runs all tests of clients, and this lists them with their outcome.

python -m tests.clients.table RESULTS: RESULTS is the JUnit XML of pytest.
"""

import re
import sys
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tests.clients import webui
from tests.clients.live import LIVE_CLIENTS

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "clients.md"
TABLE = tomllib.loads((HERE / "requests.toml").read_text())

HEAD = """# Clients

Programs that generate images with OpenAI's API, and how to point them at Safelight. `make clients` writes this page:
it sends the requests of `tests/clients/requests.toml` and runs Python clients from the package index, each in a virtual
environment of its own.

`SAFELIGHT` stands for the address, such as `http://127.0.0.1:8000`; `KEY` for an API key, `sl_…`. "Warnings" are the
parameters that a local model of small sizes, without `quality_steps` and `styles`, does not honour in full; see
[Parameters](01-api.md#openais-sdk).

The configurations and the recorded requests follow the clients' code and documentation as of 2026. Only the clients of
the last table were run.

## Configuration

| client | configuration |
|---|---|
"""


def configurations() -> list[str]:
    """A row for each client: one configuration that works."""
    return [f"| {client['name']} | {client['configuration']} |" for client in TABLE["client"]]


def requests() -> list[str]:
    """A row for each request of the table, without its outcome."""
    return [_request_row(request) for request in TABLE["request"]]


def _request_row(request: dict[str, Any]) -> str:
    width, height = request["size"]
    warnings = ", ".join(f"`{name}`" for name in request["warnings"]) or "none"
    return f"| {request['client']} | {request['call']} | {width}x{height} in `{request['keys'][0]}` | {warnings} |"


def live(outcomes: dict[str, str]) -> list[str]:
    """A row for each live client."""
    rows = []
    for client in LIVE_CLIENTS:
        packages, outcome = " ".join(client.packages), outcomes.get(client.name, "not run")
        rows.append(f"| {client.name} | `{packages}` | {len(client.sizes)} | {outcome} |")
    return rows


def page(outcomes: dict[str, str]) -> str:
    """The page. outcomes: of the live clients, by name."""
    lines = [
        *configurations(),
        "",
        "## Recorded requests",
        "",
        "| client | call | image | warnings |",
        "|---|---|---|---|",
        *requests(),
        "",
        "## Clients that were run",
        "",
        "| client | packages | images | outcome |",
        "|---|---|---|---|",
        *live(outcomes),
        *webui.HEAD.split("\n"),
        *webui.rows(),
    ]
    return HEAD + "\n".join(lines) + "\n"


def outcomes_of(results: Path) -> dict[str, str]:
    """The outcome of each live client, from the JUnit XML of pytest."""
    outcomes = {}
    for case in ElementTree.parse(results).iter("testcase"):  # noqa: S314 - pytest wrote it
        match = re.fullmatch(r"test_a_client_as_its_authors_publish_it\[(.*)\]", case.get("name", ""))
        if match is not None:
            has_failed = case.find("failure") is not None or case.find("error") is not None
            outcomes[match[1]] = "fails" if has_failed else "works"
    return outcomes


if __name__ == "__main__":
    PAGE.write_text(page(outcomes_of(Path(sys.argv[1]))))
