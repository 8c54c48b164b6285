"""The settings of moderation (docs/06-operations.md)."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings

from core.settings.types import ENVIRONMENT, Duration, set_or_none


class ModerationSettings(BaseSettings):
    """Which checks judge prompts and images, and how."""

    model_config = ENVIRONMENT

    moderation: Annotated[str, Field(pattern=r"^(off|(words|openai|hook)(, *(words|openai|hook))*)$")] = Field(
        "words",
        description="Checks of every prompt, in this order and separated by commas: `words` (a list), `openai` (its "
        "moderation endpoint), `hook`. Or `off`.",
    )
    moderation_words: Annotated[Path | None, BeforeValidator(set_or_none)] = Field(
        None, description="TOML file with rules for the check `words`, in addition to the shipped list."
    )
    moderation_hook: Annotated[str | None, BeforeValidator(set_or_none)] = Field(
        None, description="The check `hook`: a Python function, `package.module:function`, or a URL."
    )
    moderation_images: bool = Field(
        False, description="Let `openai` and `hook` also check input images and generated images."
    )
    moderation_ignore: str = Field(
        "", description="Categories that do not reject, separated by commas, such as `violence, illicit`."
    )
    moderation_timeout: Duration = Field(
        timedelta(seconds=10),
        description="Maximum time of a check. Without an answer the job loses an attempt; no check is skipped.",
    )

    @property
    def moderation_checks(self) -> tuple[str, ...]:
        """The names of the checks of `moderation`, in order."""
        return () if self.moderation == "off" else tuple(name.strip() for name in self.moderation.split(","))
