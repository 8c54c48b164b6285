"""The check `hook`: a Python function or a URL of the operator (`SAFELIGHT_MODERATION_HOOK`).

A function, `package.module:function`, gets a `core.moderation.Content` and returns the categories for which it is
rejected; none, or an empty list, lets it pass. A URL gets the content as a JSON object by POST (`stage`, `prompt`,
`job_id`, `project_id`, `model`, and `image` as base64 of a PNG) and answers `{"categories": [...]}` with status 200.
Any other answer, and any exception, means that the check is not available.
"""

import base64
import io
import json
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import Annotated, Any

import httpx
from annotated_types import MaxLen
from pydantic import BaseModel, ValidationError

from core.errors import first_line
from core.generation_errors import ModerationUnavailable
from core.moderation import Content
from core.settings import Settings

MAX_ANSWER_BYTES = 65_536

Hook = Callable[[Content], Iterable[str] | None]


class HookError(Exception):
    """The hook of the settings cannot be used."""


class Answer(BaseModel):
    """The answer of a URL."""

    categories: Annotated[list[Annotated[str, MaxLen(100)]], MaxLen(20)] = []


class HookCheck:
    """The check `hook`."""

    name = "hook"
    judges_images = True

    def __init__(self, settings: Settings) -> None:
        """Raises HookError."""
        target = settings.moderation_hook or ""
        self.is_in_process = not target.startswith(("http://", "https://"))
        self._hook = load(target) if self.is_in_process else _url_hook(target, settings)

    def judge(self, contents: Sequence[Content]) -> Sequence[Sequence[str]]:
        """The categories that the hook names for each content. Raises ModerationUnavailable."""
        return [self._categories(content) for content in contents]

    def _categories(self, content: Content) -> list[str]:
        try:
            categories = [str(name) for name in self._hook(content) or ()]
        except ModerationUnavailable:
            raise
        except Exception as error:  # an operator's code may raise anything
            raise ModerationUnavailable(f"The moderation hook failed: {type(error).__name__}.") from error
        return sorted(set(categories))


def load(target: str) -> Hook:
    """Import a function by `package.module:function`. Raises HookError."""
    module_name, _, name = target.partition(":")
    try:
        hook: Any = getattr(import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise HookError(f"SAFELIGHT_MODERATION_HOOK {target!r} cannot be imported: {first_line(error)}") from error
    if not callable(hook):
        raise HookError(f"SAFELIGHT_MODERATION_HOOK {target!r} is not a function")
    return hook  # type: ignore[no-any-return]  # its signature is the operator's


def _url_hook(url: str, settings: Settings) -> Hook:
    client = httpx.Client(timeout=settings.moderation_timeout.total_seconds(), trust_env=False)

    def hook(content: Content) -> list[str]:
        body = {
            "stage": content.stage,
            "prompt": content.prompt,
            "job_id": content.job_id,
            "project_id": content.project_id,
            "model": content.model,
        }
        if content.image is not None:
            buffer = io.BytesIO()
            content.image.save(buffer, "PNG")
            body["image"] = base64.b64encode(buffer.getvalue()).decode()
        return _post(client, url, body)

    return hook


def _post(client: httpx.Client, url: str, body: dict[str, str]) -> list[str]:
    try:
        with client.stream("POST", url, json=body) as response:
            data = b""
            for chunk in response.iter_bytes():
                data += chunk
                if len(data) > MAX_ANSWER_BYTES:
                    raise ModerationUnavailable(f"The moderation hook answered more than {MAX_ANSWER_BYTES} bytes.")
            if response.status_code != httpx.codes.OK:
                raise ModerationUnavailable(f"The moderation hook answered {response.status_code}.")
        return Answer.model_validate(json.loads(data)).categories
    except httpx.HTTPError as error:
        raise ModerationUnavailable(f"The moderation hook did not answer: {type(error).__name__}.") from error
    except (ValueError, ValidationError) as error:
        raise ModerationUnavailable('The moderation hook must answer {"categories": [...]}.') from error
