"""What the API's OpenAPI document promises, and what it does: asked by schemathesis, group of operations by group.

Each test runs the program `st` against a whole Safelight: the document's examples, every edge of every parameter,
random requests both valid and not, and chains of calls along the document's links. CONTRACT_EXAMPLES says how many
random requests a group gets, each operation its share; CONTRIBUTING.md tells of the long run.
"""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from math import ceil
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from api.app import create_app
from cli.local.embedded import EmbeddedValkey
from core import keys
from core.settings import Settings
from core.tables import DEFAULT_PROJECT, pauses, webhook_endpoints
from tests.factories import a_key
from tests.images import an_image, encode
from tests.processes import python
from tests.stack import Stack, body
from tests.waiting import PATIENCE

DEFAULT_EXAMPLES = 8
EXAMPLES = int(os.environ.get("CONTRACT_EXAMPLES", DEFAULT_EXAMPLES))
LARGE = frozenset({"webui"})
"""Groups whose bodies have a thousand edges: they are asked in the long run only."""

DOCUMENT = create_app(Settings()).openapi()
OPERATIONS: list[dict[str, Any]] = [operation for path in DOCUMENT["paths"].values() for operation in path.values()]
GROUPS = sorted({tag for operation in OPERATIONS for tag in operation["tags"]})

CONFIGURATION = """
[checks]
# What a model draws (its sizes, its most steps) is told by GET /v1/models and cannot be told by a schema.
positive_data_acceptance = { enabled = false }

[[operations]]
# A repeated Idempotency-Key is answered with the job that was made the first time, which may be deleted by now.
include-path-regex = "^/v1/jobs/"
checks = { ensure_resource_availability = { enabled = false }, use_after_free = { enabled = false } }

"""

numbers = count()


@pytest.fixture(scope="module")
def start(directory: Path, fresh_database: Callable[[], str]) -> Iterator[Callable[..., Stack]]:
    """Starts a Safelight that tells nobody of its events: the receivers here are made up."""
    with ExitStack() as exits:

        def start_stack(**settings: str) -> Stack:
            place = directory / f"contract{next(numbers)}"
            valkey = exits.enter_context(EmbeddedValkey(place / "valkey"))
            settings["SAFELIGHT_WEBHOOK_TIMEOUT"] = "1"
            settings["SAFELIGHT_MAX_WEBHOOK_ENDPOINTS_PER_HOST"] = "100"
            stack = exits.enter_context(Stack(place, fresh_database(), valkey.url, **settings))
            stack.api()
            stack.worker()
            stack.sweep()
            return stack

        yield start_stack


@pytest.fixture(scope="module")
def documented_stack(start: Callable[..., Stack]) -> Stack:
    return start()


@pytest.mark.parametrize("group", GROUPS)
def test_whatever_is_asked_is_answered_as_documented(documented_stack: Stack, tmp_path: Path, group: str) -> None:
    output = ask(documented_stack, group, tmp_path, known_to(documented_stack))
    documented_stack.database.execute(sa.delete(pauses))  # of `admin`: the jobs of the next group are to be run

    assert f"Tested: {len(operations_of(group))}\n" in output


def test_with_keys_on_nobody_is_answered_without_one_or_shown_what_is_anothers(
    start: Callable[..., Stack], tmp_path: Path
) -> None:
    guarded = start(SAFELIGHT_AUTH="on")
    (eve,) = guarded.database.execute(keys.add_project("eve"))
    headers = {name: key_to(guarded, project) for name, project in (("ada", DEFAULT_PROJECT), ("eve", eve))}
    guarded.client.headers["authorization"] = headers["ada"]
    users = tmp_path / "keys.json"
    fixed = [{"name": name, "fixedHeaders": [{"name": "Authorization", "value": key}]} for name, key in headers.items()]
    users.write_text(json.dumps({"auth": fixed}))

    output = ask(
        guarded, "files", tmp_path, known_to(guarded), f'[auth]\nwfc = {{ path = "{users}", peers = ["ada", "eve"] }}\n'
    )

    assert "No issues found" in output


def key_to(stack: Stack, project_id: str) -> str:
    """What a client of a project says."""
    return f"Bearer {a_key(stack.database, project_id)}"


def known_to(stack: Stack) -> dict[str, list[str]]:
    """Things that there are, by the names of the parameters that take them."""
    client = stack.client
    url = f"{stack.url}/healthz?{stack.count(webhook_endpoints)}"  # each URL once
    receiver = {"name": "a", "url": url, "event_types": ["job.completed"]}
    endpoint = body(client.post("/v1/webhook_endpoints", json=receiver))["id"]
    job = stack.final(stack.submit(n=3)["id"])
    deliveries = body(client.get("/v1/webhook_deliveries", params={"webhook_endpoint_id": endpoint}))["data"]
    pixels = {"file": ("a.png", encode(an_image()))}
    files = [body(client.post("/v1/files", data={"purpose": "vision"}, files=pixels))["id"] for _ in range(3)]
    line = {"custom_id": "1", "method": "POST", "url": "/v1/images/generations", "body": {"prompt": "a cat"}}
    lines = {"file": ("lines.jsonl", json.dumps(line).encode())}
    batch = body(client.post("/v1/files", data={"purpose": "batch"}, files=lines))["id"]
    return {
        "job_id": [job["id"]],
        "image_id": [image["id"] for image in job["images"]],
        "file_id": files,
        "endpoint_id": [endpoint],
        "erasure_id": [body(client.post("/v1/erasures", json={"user": "nobody"}))["id"]],
        "webhook_endpoint_id": [endpoint],
        "delivery_id": [delivery["id"] for delivery in deliveries],
        "name": ["fake", "dall-e-2"],
        "body.model": ["fake", "dall-e-2"],
        "body.size": ["64x64", "auto"],
        "body.url": [f"{stack.url}/healthz"],
        "body.image.file_id": files,
        "body.image.image_id": [image["id"] for image in job["images"]],
        "body.input_file_id": [batch],
    }


def ask(
    stack: Stack, group: str, directory: Path, values_by_name: dict[str, list[str]], extra_configuration: str = ""
) -> str:
    """Have schemathesis ask everything about a group of operations. Returns what it says if it finds nothing."""
    configuration = directory / "schemathesis.toml"
    hooks = f'hooks = "{Path(__file__).parent / "form_failures.py"}"\n'
    configuration.write_text(hooks + extra_configuration + CONFIGURATION + dictionaries(values_by_name))
    coverage = ["coverage"] if group not in LARGE or EXAMPLES > DEFAULT_EXAMPLES else []
    phases = ["examples", *coverage, "fuzzing", *(["stateful"] if is_linked(group) else [])]
    share = ceil(EXAMPLES / len(operations_of(group)))
    result = subprocess.run(
        python(
            "-m", "schemathesis.cli", "--config-file", str(configuration), "run", f"{stack.url}/openapi.json",
            "--include-tag", group, "--phases", ",".join(phases), "--max-examples", str(share), "--seed", "1",
            "--generation-deterministic", "--continue-on-failure", "--no-color",
            "--request-timeout", str(PATIENCE), "--warnings", "off",
        ),
        cwd=directory, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def dictionaries(values_by_name: dict[str, list[str]]) -> str:
    """Configuration that has half of such parameters name what there is, and now and then another string too."""
    lines = [
        "[dictionaries]",
        f"known = {{ values = {[value for values in values_by_name.values() for value in values]} }}",
    ]
    lines += [f'"{name}" = {{ values = {values} }}' for name, values in values_by_name.items()]
    lines += ["[generation.dictionaries]", 'string = { dictionary = "known", probability = 0.1 }', "[parameters]"]
    return "\n".join(lines + [f'"{name}" = {{ dictionary = "{name}", probability = 0.5 }}' for name in values_by_name])


def operations_of(group: str) -> list[dict[str, Any]]:
    return [operation for operation in OPERATIONS if group in operation["tags"]]


def is_linked(group: str) -> bool:
    """Whether an answer of a group's operations has links, which chains of calls can follow."""
    return any("links" in answer for operation in operations_of(group) for answer in operation["responses"].values())
