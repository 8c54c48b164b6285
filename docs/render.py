"""Writes `docs/reference/` from the code: `python docs/render.py`. With `--check` it only says whether they differ."""

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from core import errors
from core.catalog import Model
from core.errors import SafelightError
from core.settings import Settings

REFERENCE = Path(__file__).parent / "reference"


def settings() -> str:
    """Every setting, its default and what it means."""
    lines = [
        "# Settings",
        "",
        "Environment variables. Durations are seconds (`30`, `0.5`) or ISO 8601 (`PT30S`).",
        "",
        "| variable | default | meaning |",
        "|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        lines.append(f"| `SAFELIGHT_{name.upper()}` | {_default(name, field)} | {field.description} |")
    return "\n".join(lines) + "\n"


def _default(name: str, field: FieldInfo) -> str:
    value: Any = field.default
    if value is None:
        return ""
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g} s"
    if name == "models_dir":
        return "`models` beside the code"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def error_codes() -> str:
    """Every error, its status and its code."""
    lines = [
        "# Errors",
        "",
        'Every answer of 400 and above is `{"error": {"message", "type", "param", "code"}}`; a failed job carries',
        "`code` and `message` in its `error`. `retry` says whether trying again can help (`x-should-retry`; for a job",
        "whether Safelight itself tries again).",
        "",
        "| code | status | type | retry | meaning |",
        "|---|---|---|---|---|",
    ]
    for kind in _tree(SafelightError):
        status = "on the job" if issubclass(kind, errors.GenerationError) else str(kind.status)
        retry = "yes" if kind.retryable else "no"
        meaning = (kind.__doc__ or "").partition("\n")[0]
        lines.append(f"| `{kind.code}` | {status} | `{kind.type}` | {retry} | {meaning} |")
    return "\n".join(lines) + "\n"


def _tree(kind: type[SafelightError]) -> list[type[SafelightError]]:
    found = []
    for child in kind.__subclasses__():
        found += [child, *_tree(child)]
    return found


def catalogue() -> str:
    """Every field of a model in the catalogue."""
    lines = [
        "# The catalogue",
        "",
        "`models/catalog.toml`, or the file that `SAFELIGHT_CATALOG` names: the id of the `default` model, then a",
        "`[[models]]` table for each. The API checks requests against it and needs no torch; the worker loads by it.",
        "",
        "| field | default | meaning |",
        "|---|---|---|",
    ]
    for name, field in Model.model_fields.items():
        default = "required" if field.is_required() else f"`{_plain(field.get_default(call_default_factory=True))}`"
        lines.append(f"| `{name}` | {default} | {field.description or _MEANING[name]} |")
    return "\n".join(lines) + "\n"


def _plain(value: Any) -> str:
    if hasattr(value, "model_dump"):
        return ", ".join(f"{name} = {part:g}" for name, part in value.model_dump().items())
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{part}"' for part in value) + "]"
    return "" if value is None else f'"{value}"' if isinstance(value, str) else str(value)


_MEANING = {
    "id": "The name that requests use.",
    "generator": "What draws: `diffusers_local` (any diffusers pipeline), `fake` (a pattern, for tests).",
    "queue": "Where its jobs wait; a worker serves one or more queues.",
    "description": "A sentence for people.",
    "licence": "Of the weights.",
    "aliases": "Other names that mean this model, such as `dall-e-2`.",
    "operations": "`generation`, `edit`, `variation`.",
    "sizes": "Sizes that a request may ask for, `WIDTHxHEIGHT` in pixels.",
    "steps": "Denoising steps: default and bounds.",
    "guidance_scale": "Classifier-free guidance: default and bounds.",
    "max_prompt_chars": "Longest prompt.",
}

PAGES = {"settings.md": settings, "errors.md": error_codes, "catalog.md": catalogue}


def main() -> int:
    """Write the pages, or with --check compare them."""
    stale = []
    for name, render in PAGES.items():
        page = REFERENCE / name
        if "--check" not in sys.argv:
            page.write_text(render())
        elif not page.exists() or page.read_text() != render():
            stale.append(name)
    if stale:
        print(f"docs/reference is stale: {', '.join(stale)}. Run python docs/render.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
