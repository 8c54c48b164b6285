"""Moderation: what is checked before and after generation, and the verdict that a job keeps.

No check is here. `worker/moderation/` has them: a word list, OpenAI's moderation endpoint, and a hook of the operator.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from PIL.Image import Image
from pydantic import BaseModel, Field

Stage = Literal["prompt", "input", "image"]
"""The prompt of a request, an image that the request brought, or a generated image."""


class Verdict(BaseModel):
    """The result of the moderation of a job."""

    outcome: Literal["pass", "reject"]
    checks: list[str] = Field(description="The checks that ran, such as `words` or `openai`.")
    check: str | None = Field(None, description="The check that rejected the job. Absent if it passed.")
    stage: Stage | None = Field(None, description="What was rejected: the prompt, an input image, or an image.")
    categories: list[str] = Field(
        default_factory=list, description="The categories of a rejection, with OpenAI's names, such as `violence`."
    )

    def dump(self) -> dict[str, Any]:
        """Return the JSON of a job's row."""
        return self.model_dump(exclude_none=True)


@dataclass(frozen=True, slots=True)
class Content:
    """What a check judges: the prompt, or an image together with its prompt."""

    stage: Stage
    prompt: str
    job_id: str
    project_id: str
    model: str
    image: Image | None = None  # RGB; None for the stage "prompt"


class Check(Protocol):
    """Judges contents. Several threads use it."""

    @property
    def name(self) -> str:
        """The name in verdicts."""

    @property
    def judges_images(self) -> bool:
        """Whether it can judge images. Otherwise it gets prompts only."""

    def judge(self, contents: Sequence[Content]) -> Sequence[Sequence[str]]:
        """The categories for which each content is rejected; none if it passes. Raises ModerationUnavailable."""
