"""Generate `docs/reference/` from the code: `python docs/render.py`. `--check` only compares, for tests and CI."""

import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from fastapi.routing import iter_route_contexts
from pydantic.fields import FieldInfo

from api.app import create_app
from api.authentication import scope_of
from core import generation_errors
from core.catalog import Model
from core.catalog.loading import Loading
from core.errors import SafelightError
from core.event_types import EVENT_TYPES
from core.generators import GENERATORS, GeneratorSpec
from core.scopes import Scope
from core.settings import Settings
from core.telemetry import metrics

REFERENCE = Path(__file__).parent / "reference"


def settings() -> str:
    """The page of all settings: variable, default, meaning."""
    lines = [
        "# Settings",
        "",
        "Settings are environment variables. Set durations in seconds (`30`, `0.5`) or ISO 8601 (`PT30S`).",
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
        return _duration(value)
    if name == "models_dir":
        return "`models` beside the code"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


_UNITS = (("days", "day", 86400), ("h", "h", 3600), ("min", "min", 60), ("s", "s", 1))


def _duration(value: timedelta) -> str:
    """A duration in the largest unit in which it is a whole number: `30 days`, `1 h`, `590 s`, `500 ms`."""
    for plural, singular, size in _UNITS:
        count, remainder = divmod(value, timedelta(seconds=size))
        if count and not remainder:
            return f"{count} {singular if count == 1 else plural}"
    return f"{value / timedelta(milliseconds=1):g} ms"


def error_codes() -> str:
    """The page of all errors: code, status, type, retry, meaning."""
    lines = [
        "# Errors",
        "",
        'Every response with a status of 400 or above is `{"error": {"message", "type", "param", "code"}}`. A failed',
        "job has `code` and `message` in its `error`. `retry` says whether a retry can help: for a response, it is the",
        "header `x-should-retry`; for a job, it says whether Safelight retries the job itself.",
        "",
        "| code | status | type | retry | meaning |",
        "|---|---|---|---|---|",
    ]
    for kind in _tree(SafelightError):
        status = "on the job" if issubclass(kind, generation_errors.GenerationError) else str(kind.status)
        retry = "yes" if kind.retryable else "no"
        meaning = (kind.__doc__ or "").splitlines()[0]
        lines.append(f"| `{kind.code}` | {status} | `{kind.type}` | {retry} | {meaning} |")
    return "\n".join(lines) + "\n"


def _tree(kind: type[SafelightError]) -> list[type[SafelightError]]:
    kinds = []
    for child in kind.__subclasses__():
        kinds += [child, *_tree(child)]
    return kinds


def catalogue() -> str:
    """The page of the catalogue: the fields of a model, and the options of each generator."""
    lines = [
        "# The catalogue",
        "",
        "The catalogue is `models/catalog.toml`, or the file in `SAFELIGHT_CATALOG`. It names the `default` model and",
        "has a `[[models]]` table per model. The API validates requests against it; the worker loads the models in it.",
        "",
        *_FIELDS_HEAD,
    ]
    fields = {name: field for name, field in Model.model_fields.items() if name not in Loading.model_fields}
    lines += _fields(fields)
    lines += ["", "## How a model is loaded", "", "These fields are for `diffusers_local`.", "", *_FIELDS_HEAD]
    lines += _fields(Loading.model_fields)
    for spec in GENERATORS.values():
        lines += _generator(spec)
    return "\n".join(lines) + "\n"


_FIELDS_HEAD = ("| field | default | meaning |", "|---|---|---|")


def _fields(fields: Mapping[str, FieldInfo]) -> list[str]:
    """A line of a table for each field of a model."""
    lines = []
    for name, field in fields.items():
        value = None if field.is_required() else field.get_default(call_default_factory=True)
        default = "required" if field.is_required() else f"`{_format_value(value)}`"
        lines.append(f"| `{name}` | {default} | {field.description or _MEANING[name]} |")
    return lines


def _generator(spec: GeneratorSpec) -> list[str]:
    """The section of a generator: what it is, and a table of its options."""
    return [
        "",
        f"## `{spec.name}`",
        "",
        spec.description,
        "",
        "| option | default | meaning |",
        "|---|---|---|",
        *(f"| {option} | {default} | {meaning} |" for option, (default, meaning) in spec.options.items()),
    ]


def _format_value(value: Any) -> str:
    if hasattr(value, "model_dump"):
        return ", ".join(f"{name} = {part:g}" for name, part in value.model_dump().items())
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{part}"' for part in value) + "]"
    return "" if value is None else f'"{value}"' if isinstance(value, str) else str(value)


_MEANING = {
    "id": "Name of the model in requests.",
    "generator": "`diffusers_local`, `openai_images` or `fake`; see below.",
    "queue": "Queue of its jobs. A worker serves one or more queues.",
    "description": "One sentence about the model.",
    "licence": "Licence of the weights.",
    "aliases": "Other names of the model in requests, such as `dall-e-2`.",
    "operations": "Supported operations: `generation`, `edit`, `variation`.",
    "sizes": "Supported sizes, `WIDTHxHEIGHT` in pixels.",
    "steps": "Denoising steps: default, minimum and maximum.",
    "guidance_scale": "Classifier-free guidance scale: default, minimum and maximum.",
    "max_prompt_chars": "Maximum length of a prompt in characters.",
}


def scopes() -> str:
    """The page of the scopes of API keys, and of the routes that need each."""
    lines = [
        "# Scopes of API keys",
        "",
        "A key has one or more scopes; no scope contains another. A call with a key that does not have the scope is",
        "refused with a 403, `insufficient_scope`. Image links with a signature need no key.",
        "",
        "| scope | call |",
        "|---|---|",
    ]
    routes = list(iter_route_contexts(create_app(Settings()).routes))
    for scope in Scope:
        for route in routes:
            if scope_of(route.endpoint) == scope:
                calls = (f"`{method} {route.path_format}`" for method in sorted(route.methods or ()))
                lines.append(f"| `{scope}` | {', '.join(calls)} |")
    return "\n".join(lines) + "\n"


def metrics_series() -> str:
    """The page of the series of metrics."""
    lines = [
        "# Metrics",
        "",
        "What Prometheus reads from `/metrics` of each process. The meaning begins with the processes that count it.",
        "",
        "| series | type | labels | meaning |",
        "|---|---|---|---|",
    ]
    for series in metrics.SERIES:
        labels = ", ".join(f"`{label}`" for label in series.labels)
        lines.append(f"| `{series.name}` | {series.type} | {labels} | {series.meaning} |")
    return "\n".join(lines) + "\n"


def events() -> str:
    """The page of the types of events."""
    lines = [
        "# Events",
        "",
        "The event streams of jobs and batches send all of them. [Webhooks](../04-webhooks.md) may subscribe to those",
        "with a yes.",
        "",
        "| event | webhooks | meaning |",
        "|---|---|---|",
    ]
    for event_type in EVENT_TYPES.values():
        webhooks = "yes" if event_type.for_webhooks else "no"
        lines.append(f"| `{event_type.name}` | {webhooks} | {event_type.description} |")
    return "\n".join(lines) + "\n"


PAGES = {
    "settings.md": settings,
    "errors.md": error_codes,
    "catalog.md": catalogue,
    "scopes.md": scopes,
    "metrics.md": metrics_series,
    "events.md": events,
}


def main() -> int:
    """Write the pages; with --check, compare them and return 1 if any differs."""
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
