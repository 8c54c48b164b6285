"""The body of `POST /v1/batches`: its request, and its list `requests` as the lines of an input file."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from core import idempotency
from core.batches.requests import MAX_BATCH_SEPARATORS, BatchRequest
from core.requests.job import validate
from core.requests.structure import load_json

PATH = "/v1/batches"


class BatchBody(NamedTuple):
    """A body that was read.

    values: its fields, of which `requests` has only an empty one, as a sign. lines: the requests.
    fingerprint: of the whole body, for its `Idempotency-Key`; empty for a dry run.
    """

    values: dict[str, Any]
    lines: bytes | None
    fingerprint: bytes

    @property
    def request(self) -> BatchRequest:
        """The request. Its `requests` are in `lines`."""
        return validate(BatchRequest, self.values)


def read_body(content: bytes) -> BatchBody:
    """Read a body. Raises InvalidRequest."""
    values = load_json(content, MAX_BATCH_SEPARATORS)
    request = validate(BatchRequest, values)
    fingerprint = b""
    if not request.dry_run:
        fingerprint = idempotency.fingerprint(PATH, request.model_dump(mode="json", exclude_unset=True))
    if request.requests is None:
        return BatchBody(values, None, fingerprint)
    lines = b"".join(_as_lines(request.requests, request.target_endpoint))
    return BatchBody({**values, "requests": [{}]}, lines, fingerprint)


def _as_lines(requests: Sequence[Mapping[str, Any]], endpoint: str) -> Iterator[bytes]:
    """Requests as lines of an input file."""
    for index, request in enumerate(requests):
        custom_id = request.get("custom_id", f"line-{index + 1}")
        body = {name: value for name, value in request.items() if name != "custom_id"}
        line = {"custom_id": custom_id, "method": "POST", "url": endpoint, "body": body}
        yield json.dumps(line).encode() + b"\n"
