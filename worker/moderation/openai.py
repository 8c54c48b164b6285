"""The check `openai`: OpenAI's moderation endpoint, or a compatible one at the same base URL."""

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from PIL.Image import Image

from core.errors import first_line
from core.generation_errors import ModerationUnavailable
from core.moderation import Content
from core.settings import Settings

if TYPE_CHECKING:
    from openai.types import Moderation

MODEL = "omni-moderation-latest"
MAX_SIDE = 1024
"""Pixels. Larger images are scaled down before they are sent."""


class OpenAIModeration:
    """The check `openai`. Prompts of a micro-batch are sent together, each image in a request of its own."""

    name = "openai"
    judges_images = True

    def __init__(self, settings: Settings) -> None:
        from openai import OpenAI  # an extra

        if settings.openai_api_key is None:
            raise ValueError("SAFELIGHT_MODERATION has `openai`, which needs SAFELIGHT_OPENAI_API_KEY")
        self._client = OpenAI(
            api_key=settings.openai_api_key.get_secret_value(),
            base_url=settings.openai_base_url,
            timeout=settings.moderation_timeout.total_seconds(),
            max_retries=1,
        )

    def judge(self, contents: Sequence[Content]) -> Sequence[Sequence[str]]:
        """The categories that OpenAI flags in each content. Raises ModerationUnavailable."""
        prompts = [content.prompt for content in contents if content.image is None]
        results = iter(self._request(prompts) if prompts else [])
        return [
            _categories(next(results) if content.image is None else self._request([_image_part(content.image)])[0])
            for content in contents
        ]

    def _request(self, parts: list[Any]) -> list["Moderation"]:
        from openai import OpenAIError

        count = len(parts) if isinstance(parts[0], str) else 1
        try:
            results = self._client.moderations.create(model=MODEL, input=parts).results
        except OpenAIError as error:
            raise ModerationUnavailable(f"OpenAI's moderation failed: {first_line(error)}") from error
        if len(results) != count:
            raise ModerationUnavailable(f"OpenAI's moderation returned {len(results)} results for {count} inputs.")
        return results


def _image_part(image: Image) -> dict[str, Any]:
    thumbnail = image.convert("RGB")
    thumbnail.thumbnail((MAX_SIDE, MAX_SIDE))
    buffer = io.BytesIO()
    thumbnail.save(buffer, "JPEG", quality=90)
    url = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": url}}


def _categories(result: "Moderation") -> list[str]:
    return sorted(name for name, value in result.categories.to_dict().items() if value) if result.flagged else []
