"""The parameters of OpenAI's Responses API that only concern a text model."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from core.job_warnings import JobWarning
from core.requests.openai import warning


class TextOptions(BaseModel):
    """OpenAI's parameters for a text model. There is none here: what they ask for is in `warnings`."""

    access_programs: Any = None
    background_options: Any = None
    context_management: Any = None
    image: Any = None
    include: Any = None
    instructions: Any = None
    max_output_tokens: Any = None
    max_tool_calls: Any = None
    moderation: Any = None
    parallel_tool_calls: Any = None
    prompt_cache_key: Any = None
    prompt_cache_options: Any = None
    prompt_cache_retention: Any = None
    reasoning: Any = None
    service_tier: Any = None
    store: Any = None
    stream_options: Any = None
    temperature: Any = None
    text: Any = None
    top_logprobs: Any = None
    top_p: Any = None
    truncation: Any = None

    def warnings_of_text(self) -> list[JobWarning]:
        """A warning for each option that asks for something."""
        return [
            warning(name, f"{name} is not used: {_REASONS.get(name, _REASON)}.")
            for name in TextOptions.model_fields
            if (value := getattr(self, name)) is not None and value not in _NEUTRAL.get(name, ())
        ]


_NEUTRAL: Mapping[str, Sequence[Any]] = {
    "include": ([],),
    "parallel_tool_calls": (True, False),
    "service_tier": ("auto", "default"),
    "store": (True,),
    "temperature": (1,),
    "text": ({"format": {"type": "text"}}, {}),
    "top_p": (1,),
    "truncation": ("auto", "disabled"),
}
"""Values that need no warning: they ask for what happens anyway."""

_REASON = "it is for a text model, and there is none here"
_REASONS = {
    "instructions": "they are for a text model, and there is none here; input says what the image shows",
    "store": "the job and its image are stored; DELETE /v1/responses/{id} deletes them",
    "moderation": "moderation is set by the operator",
}
