"""Every code block of the pages is executed, here or in a test that is named, or has a reason why not.

A new block is executed here. A block that cannot run in a test gets a line in NOT_HERE.
"""

import json
import os
import re
import shlex
import subprocess
import time
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from cli.main import app as command_line
from core import keys
from core.outbox.signing import new_secret, signed
from tests.images import an_image, encode
from tests.shipping.files import ROOT
from tests.stack import Stack, body

PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "deploy/README.md", *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OWN_TESTS = {
    "docs/migrate-from-dall-e.md": "tests/acceptance/test_migration.py",
    "docs/model.md": "tests/core/test_model_page.py",
}
"""Pages whose blocks have tests of their own."""

NO_CODE = {"mermaid", "math", ""}
"""Diagrams and formulas, which docs/guide.py draws, and the output of benchmarks."""

MODEL_WEIGHTS = "it needs the weights of a model; tests/cli/test_models.py runs these commands with small ones"
NOT_HERE = {
    "make up": "tests/shipping/test_make.py; CI runs the others",
    "cp .env.example .env": "it needs Docker; tests/shipping/test_compose.py reads the files",
    "useradd --system": "it changes the machine; tests/shipping/test_systemd.py reads the units",
    "pipx install": "it installs; tests/shipping/test_wheel.py builds a wheel and uses it",
    "pip install 'safelight[otel]'": "it installs; tests/story/test_tracing.py sends traces",
    "SAFELIGHT_MODERATION_WORDS=": "a setting, not a command; tests/story/test_moderation.py sets it",
    "SAFELIGHT_MIGRATIONS_DATABASE_URL=": "tests/core/test_roles.py migrates with two roles",
    "pg_dump --format": "it needs a second store",
    "claude mcp add": "it needs the program of another company; tests/story/test_agents.py speaks the protocol",
    "safelight models add": MODEL_WEIGHTS,
    "hf download": "it downloads gigabytes",
    "also starts the training worker": "tests/cli/test_up.py starts everything",
    "safelight fine-tune": "tests/fine_tuning/test_command.py runs these commands",
    "fine_tuning": "it trains; tests/fine_tuning/test_a_training.py does so with a tiny model",
    '"reference_images"': "no model here takes them; tests/contract/test_reference_images.py has pipelines that do",
}
"""Words of a block, and why it does not run here."""

LINES_NOT_HERE = (
    "safelight top ",  # goes on until Ctrl-C
    "safelight admin drain worker",  # other tests need the worker; tests/story/test_admin.py drains one
)
"""The first words of lines that do not run, in blocks that do."""

SHARED_NAMES = "import base64\nimport openai\nclient = openai.OpenAI(base_url='{url}/v1', api_key='anything')\n"
"""What blocks of Python take from the text around them."""


@dataclass(frozen=True, slots=True)
class Block:
    """A code block of a page."""

    page: str
    language: str
    code: str

    @property
    def name(self) -> str:
        return f"{self.page}: {self.code.splitlines()[0][:40]}"


def blocks() -> Iterator[Block]:
    for path in PAGES:
        page = path.relative_to(ROOT).as_posix()
        for language, code in BLOCK.findall(path.read_text("utf-8")):
            if page not in OWN_TESTS and language not in NO_CODE:
                yield Block(page, language, code)


def reason(block: Block) -> str | None:
    return next((text for words, text in NOT_HERE.items() if words in block.code), None)


BLOCKS = [block for block in blocks() if reason(block) is None]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a block runs: a Safelight, and values for the addresses and ids of the page. In the current directory."""

    stack: Stack
    values: Mapping[str, str]

    def code(self, block: Block) -> str:
        """The code of a block for this Safelight."""
        text = block.code
        for before, after in self.values.items():
            text = text.replace(before, after)
        return text


@pytest.fixture(scope="module")
def place(safelight: Stack) -> Iterator[Place]:
    upload = {"file": ("room.png", encode(an_image()))}
    file = body(safelight.client.post("/v1/files", data={"purpose": "vision"}, files=upload))["id"]
    for name in ("acme", "shop"):
        safelight.database.execute(keys.add_project(name))
    projects = {row.name: row.id for row in safelight.database.execute(keys.list_projects())}
    (key,) = safelight.database.execute(keys.add(keys.new_key(), projects["acme"], "documented"))
    values = {
        "http://127.0.0.1:8000": safelight.url,
        "SAFELIGHT/mcp": f"{safelight.url}/mcp",
        "file-…": file,
        "key_01kc3m9w8yq6k0v2t5x7z1b4dn": key,
        "key_…": key,
        "proj_default": projects["default"],
        "unclip-mini": "fake",
        "1024x1024": "256x256",
        '"width": 512, "height": 512': '"width": 256, "height": 256',
        ".venv/bin/safelight": "safelight",
    }
    yield Place(safelight, values)
    for endpoint in body(safelight.client.get("/v1/webhook_endpoints"))["data"]:
        if endpoint["name"] == "gallery":
            safelight.client.delete(f"/v1/webhook_endpoints/{endpoint['id']}")


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
def test_a_block_of_the_pages_runs(place: Place, block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "room.png").write_bytes(encode(an_image()))
    (tmp_path / "prompts.csv").write_text("prompt\na cat\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAFELIGHT_URL", place.stack.url)
    RUNNERS[block.language](place, place.code(block))


def test_every_reason_is_about_a_block_that_is_there() -> None:
    code = [block.code for block in blocks()]

    assert [words for words in NOT_HERE if not any(words in text for text in code)] == []
    assert [start for start in LINES_NOT_HERE if not any(start in text for text in code)] == []
    assert all((ROOT / test).is_file() for test in OWN_TESTS.values())


def run_shell(place: Place, code: str) -> None:
    """Run a block line by line: commands of Safelight in this process, which is faster, all others in a shell."""
    lines = code.replace("\\\n", "").splitlines()
    is_own = all(shlex.split(line, comments=True)[:1] in ([], ["safelight"]) for line in lines if "…}" not in line)
    if not is_own and "safelight " not in code.replace("safelight-", ""):
        run_in_shell(code)
        return
    for line in lines:
        words = shlex.split(line, comments=True)
        if words[:1] != ["safelight"]:
            run_in_shell(line)
        elif not line.startswith(LINES_NOT_HERE):
            environment = place.stack.environment | {"COLUMNS": "120"}
            result = CliRunner().invoke(command_line, words[1:], env=environment, input="y\n")
            assert result.exit_code == 0, (line, result.output)


def run_in_shell(code: str) -> None:
    variables = {"KEY": "x", "SAFELIGHT_METRICS_TOKEN": "x"}
    script = code.replace("curl ", "curl --fail-with-body ")
    result = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def run_python(place: Place, code: str) -> None:
    secret = new_secret()
    event = json.dumps({"type": "job.completed", "data": {"id": "job_1"}, "id": "evt_1", "object": "event"})
    event_headers = signed([secret], "evt_1", int(time.time()), event.encode())
    names: dict[str, Any] = {"__name__": "page", "request_body": event, "request_headers": event_headers}
    exec(SHARED_NAMES.format(url=place.stack.url), names)  # noqa: S102 - above
    exec(code.replace('"whsec_..."', repr(secret)), names)  # noqa: S102 - our own page
    if "def moderate" in code:
        assert names["moderate"](type("Content", (), {"prompt": "a crowd"})) == ["crowd"]


def run_sql(place: Place, code: str) -> None:
    for statement in filter(str.strip, re.sub(r"--.*", "", code).split(";")):
        place.stack.database.execute(sa.text(f"EXPLAIN {statement}"))


def run_json(_place: Place, code: str) -> None:
    json.loads(code)


def run_toml(_place: Place, code: str) -> None:
    tomllib.loads(code)


RUNNERS = {"sh": run_shell, "bash": run_shell, "python": run_python, "sql": run_sql, "json": run_json, "toml": run_toml}
