"""The shipping files as data: the compose file, the Dockerfiles, the example environment."""

import re
import tomllib
from pathlib import Path
from typing import Any

import dockerfile
import yaml
from dotenv import dotenv_values

ROOT = Path(__file__).parents[2]
DOCKERFILES = ("Dockerfile.api", "Dockerfile.worker")
VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)(?::([-?])([^}]*))?\}")
"""A variable of the compose file; no library but Docker itself interpolates them."""


def text(name: str) -> str:
    return (ROOT / name).read_text()


def project_version() -> str:
    return str(tomllib.loads(text("pyproject.toml"))["project"]["version"])


def services() -> dict[str, dict[str, Any]]:
    compose: dict[str, dict[str, dict[str, Any]]] = yaml.safe_load(text("docker-compose.yml"))
    return compose["services"]


def variables() -> dict[str, str]:
    """The variables that compose reads from .env, each with `?` where it must be set and `-` where it may be."""
    content = yaml.safe_dump(yaml.safe_load(text("docker-compose.yml")), width=1000)  # without comments
    return {name: kind for name, kind, _ in VARIABLE.findall(content)}


def example() -> dict[str, str | None]:
    return dotenv_values(ROOT / ".env.example", interpolate=False)


def environment(service: str, **dotenv: str) -> dict[str, str]:
    """What a service's container has in its environment, with these variables in .env."""

    def value(match: re.Match[str]) -> str:
        name, _, default = match.groups()
        return dotenv.get(name, default if match[2] == "-" else "")

    return {name: VARIABLE.sub(value, str(raw)) for name, raw in services()[service].get("environment", {}).items()}


def seconds(duration: str) -> int:
    """`90s` or `2min` as seconds."""
    match = re.fullmatch(r"(\d+)(s|m|min)?", duration)
    assert match is not None, duration
    number, unit = match.groups()
    return int(number) * (1 if unit in (None, "s") else 60)


def instructions(name: str, instruction: str) -> list[dockerfile.Command]:
    """A Dockerfile's instructions of one kind, in order, as Docker's own parser reads them."""
    return [command for command in dockerfile.parse_string(text(name)) if command.cmd == instruction]


def image_environment(name: str) -> dict[str, str]:
    """The variables that a Dockerfile sets, in any of its stages."""
    words = [word for command in instructions(name, "ENV") for word in command.value]
    return dict(zip(words[::2], words[1::2], strict=True))
