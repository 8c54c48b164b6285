"""Write `docs/clients.md`: `make clients` runs all tests of clients, and this lists them with their outcome.

python -m tests.clients.table RESULTS: RESULTS is the JUnit XML of pytest.
"""

import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tests.clients import webui
from tests.clients.live import INSPECTOR_IMAGES, INSPECTORS, LIVE_CLIENTS

HERE = Path(__file__).parent
LIVE = re.compile(r"test_(?:a_client_as_its_authors_publish_it|the_inspector_finds_no_fault\w*)\[(.*)\]")
PAGE = HERE.parent.parent / "docs" / "clients.md"
TABLE = tomllib.loads((HERE / "requests.toml").read_text())

HEAD = """# Clients

Programs that generate images with OpenAI's API, and how to point them at Safelight. `make clients` writes this page:
it sends the requests of `tests/clients/requests.toml`, and runs clients for Python and Node.js from their package
indexes, each in an environment of its own.

`SAFELIGHT` stands for the address, such as `http://127.0.0.1:8000`; `KEY` for an API key, `sl_…`. "Warnings" are the
parameters that a local model of small sizes, without `quality_steps` and `styles`, does not honour in full; see
[Parameters](01-api.md#openais-sdk).

The configurations and the recorded requests follow the clients' code and documentation as of 2026. Only the clients of
the table of versions were run; npm chose the newest versions for Node.js 20.

## Our own clients

Both know all of Safelight, not only what OpenAI's API has: jobs with their events and previews, batches, webhooks. A
submit whose connection is lost is repeated and generates once.

| language | package | documentation |
|---|---|---|
| Python | `safelight-client`, synchronous and asynchronous | [clients/python](../clients/python/README.md) |
| TypeScript | `safelight-client`, for Node.js and browsers | [clients/typescript](../clients/typescript/README.md) |

```python
from safelight_client import Safelight

with Safelight() as client:
    client.jobs.create(prompt="A cat sitting on a sofa.").wait().images[0].save("cat.png")
```

## Configuration

| client | configuration |
|---|---|
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a live client: the versions of its packages, and a word."""

    versions: str = ""
    word: str = "not run"


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


def live(outcomes: dict[str, Outcome]) -> list[str]:
    """A row for each live client."""
    images = {client.name: len(client.sizes) for client in LIVE_CLIENTS} | dict.fromkeys(INSPECTORS, INSPECTOR_IMAGES)
    rows = []
    for name, count in images.items():
        outcome = outcomes.get(name, Outcome())
        rows.append(f"| {name} | {outcome.versions} | {count} | {outcome.word} |")
    return rows


def page(outcomes: dict[str, Outcome]) -> str:
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
        "| client | versions | images | outcome |",
        "|---|---|---|---|",
        *live(outcomes),
        *webui.HEAD.split("\n"),
        *webui.rows(),
    ]
    return HEAD + "\n".join(lines) + "\n"


def outcomes_of(results: Path) -> dict[str, Outcome]:
    """The outcome of each live client, from the JUnit XML of pytest."""
    outcomes = {}
    for case in ElementTree.parse(results).iter("testcase"):  # noqa: S314 - pytest wrote it
        match = LIVE.fullmatch(case.get("name", ""))
        if match is not None:
            has_failed = case.find("failure") is not None or case.find("error") is not None
            versions = case.find("properties/property[@name='versions']")
            outcomes[match[1]] = Outcome(
                "" if versions is None else versions.get("value", ""), "fails" if has_failed else "works"
            )
    return outcomes


if __name__ == "__main__":
    PAGE.write_text(page(outcomes_of(Path(sys.argv[1]))))
