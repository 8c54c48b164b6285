"""The shipping files as data: the compose file, the Dockerfiles, the example environment."""

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DOCKERFILES = ("Dockerfile.api", "Dockerfile.worker")
VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)(?::([-?])([^}]*))?\}")


def text(name: str) -> str:
    return (ROOT / name).read_text()


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(text("docker-compose.yml"))["services"]
    return found


def variables() -> dict[str, str]:
    """The variables that compose reads from .env, each with `?` where it must be set and `-` where it may be."""
    code = re.sub(r"^\s*#.*$", "", text("docker-compose.yml"), flags=re.MULTILINE)
    return {name: kind for name, kind, _ in VARIABLE.findall(code)}


def example() -> dict[str, str]:
    lines = text(".env.example").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def environment(service: str, **given: str) -> dict[str, str]:
    """What a service's container has in its environment, where .env says what is given."""

    def value(match: re.Match[str]) -> str:
        name, _, default = match.groups()
        return given.get(name, default if match[2] == "-" else "")

    return {name: VARIABLE.sub(value, str(raw)) for name, raw in services()[service].get("environment", {}).items()}


def seconds(duration: str) -> int:
    """`90s` or `2min` as seconds."""
    match = re.fullmatch(r"(\d+)(s|m|min)?", duration)
    assert match is not None, duration
    number, unit = match.groups()
    return int(number) * (1 if unit in (None, "s") else 60)


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """A Dockerfile's instructions, continued lines joined."""
    joined = re.sub(r"\\\n\s*", " ", re.sub(r"^#.*\n", "", text(dockerfile), flags=re.MULTILINE))
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in joined.splitlines() if line.strip()]
