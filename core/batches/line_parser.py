"""The requests of a file's lines. Consecutive lines that differ only in prompt and seed share one request.

Most files are like that, and validating a request again for each line would take most of the time of reading a file.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from core.batches.requests import parse_body
from core.parameters.job import SEEDS
from core.requests.job import JobRequest
from core.text import Text

_OWN = ("prompt", "seed")
_INPUTS = ("image", "images", "mask", "reference_images", "control")
_text = TypeAdapter(Text)


class LineRequest(NamedTuple):
    """A valid request with the prompt and the seed of one line.

    request: may be the request of an earlier line, which differs only in prompt and seed.
    prompt, seed: those of this line; None: those of the request.
    response_format: None: the batch's.
    is_repeat: whether it repeats a job, whose request was checked before.
    """

    request: JobRequest
    prompt: str | None = None
    seed: int | None = None
    response_format: str | None = None
    is_repeat: bool = False

    def with_own_prompt(self) -> JobRequest:
        """The request with the prompt of this line."""
        return self.request if self.prompt is None else self.request.model_copy(update={"prompt": self.prompt})


class LineParser:
    """Parses the bodies of the lines of one file, in order.

    endpoint: the endpoint of all lines. shared_parameters: parameters of the batch, which a line may override.
    strict: False if all values are text, from a table.
    """

    def __init__(self, endpoint: str, shared_parameters: Mapping[str, Any], *, strict: bool = True) -> None:
        self._endpoint = endpoint
        self._shared_parameters = shared_parameters
        self._strict = strict
        self._fields: str | None = None
        self._last: LineRequest | None = None

    @property
    def shared(self) -> LineRequest | None:
        """The request of the last line, if other lines may have it with a prompt and a seed of their own."""
        return self._last

    def parse(self, body: Mapping[str, Any]) -> LineRequest:
        """The request of the next line. Raises SafelightError."""
        prompt, seed = body.get("prompt"), body.get("seed")
        # Its text, as True == 1 == 1.0. Whether there is a seed counts: a model may not support seeds.
        fields = repr([seed is None, {name: value for name, value in body.items() if name not in _OWN}])
        if self._last is not None and fields == self._fields and _is_valid(prompt, seed):
            return LineRequest(self._last.request, prompt, seed, self._last.response_format)
        request, response_format = parse_body(self._endpoint, body, self._shared_parameters, strict=self._strict)
        line_request = LineRequest(request, response_format=response_format)
        can_share = prompt is not None and request.prompt == prompt and not any(name in body for name in _INPUTS)
        self._fields, self._last = (fields, line_request) if can_share else (None, None)
        return line_request


def _is_valid(prompt: object, seed: object) -> bool:
    """Whether a prompt and a seed are valid in any request. If not, the whole request is parsed, for the error."""
    if seed is not None and not (type(seed) is int and 0 <= seed < SEEDS):
        return False
    try:
        return bool(_text.validate_python(prompt, strict=True).strip())
    except ValidationError:
        return False
