"""Client of Safelight's API for the commands. It retries requests and turns each error into one sentence.

All requests are idempotent (a submit has an Idempotency-Key), so a request is retried after a lost connection or a
temporary error of the API. If the API has never answered, there is no retry: the error says how to start it. The calls
for batches are in `cli.batch.client`. Threads may share a client. `tests/cli/test_api_types.py` compares the types here
with the API.
"""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any, BinaryIO, Self, TypedDict, cast
from uuid import uuid4

import httpx
import typer

from cli.errors import CommandError, NotFound, RequestRejected

RETRY_SECONDS = 30.0
"""How long requests are retried during an outage of the API. `safelight up` restarts a dead API within seconds."""

RETRY_DELAY_SECONDS = 1.0
"""Delay before a retry if the response has no Retry-After."""

RESPONSE_SECONDS = 20.0
"""Maximum wait for a response; above the API's limit of 15 s for a statement."""

STREAM_IDLE_SECONDS = 45.0
"""Maximum time without data on a stream. The API sends a comment about every 15 s."""

GATEWAY_STATUSES = frozenset({502, 503, 504})
"""Statuses of a proxy while the API behind it starts."""

UPLOAD_TTL_SECONDS = 30 * 24 * 3600
"""How long an uploaded image is stored, so that its job can be retried. This is the API's maximum."""

PAGE_SIZE = 100
"""The API's maximum for a page of a list."""

Url = Annotated[
    str | None,
    typer.Option(
        envvar="SAFELIGHT_URL", help="URL of Safelight. Default: from the settings of this machine.", metavar="URL"
    ),
]
Key = Annotated[str | None, typer.Option(envvar="SAFELIGHT_API_KEY", help="API key, if the API needs one.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of the job.")]


class Image(TypedDict):
    """The fields of an image that the commands read."""

    id: str
    index: int
    url: str
    bytes: int
    sha256: str


class JobError(TypedDict):
    """Why a job failed."""

    code: str
    message: str


class JobWarning(TypedDict):
    """A problem of a completed job, such as a truncated prompt."""

    code: str
    message: str


class Job(TypedDict):
    """The fields of a job that the commands read."""

    id: str
    status: str
    model: str
    prompt: str
    output_format: str
    images: list[Image]
    error: JobError | None
    warnings: list[JobWarning]
    created_at: int


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a job. Denoising steps have the type `job.progress`."""

    type: str
    data: Mapping[str, Any]

    @property
    def job(self) -> Job | None:
        """The finished job, if this is its last event."""
        return cast(Job | None, self.data.get("job"))


class _TemporaryError(Exception):
    """An error after which the request is retried."""

    def __init__(self, reason: str, delay: float = RETRY_DELAY_SECONDS) -> None:
        self.delay = delay
        super().__init__(reason)


class Client:
    """Client of one Safelight. All its errors are CommandErrors."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        retry_seconds: float = RETRY_SECONDS,
        report: Callable[[str], None] | None = None,
    ) -> None:
        self.url = _check_url(url)
        if key is not None and not (key.isascii() and key.isprintable()):
            raise CommandError("The API key has invalid characters: check --key or SAFELIGHT_API_KEY.")
        self._http = httpx.Client(
            base_url=self.url,
            headers={"authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(RESPONSE_SECONDS, connect=5.0),
            # For this machine, a proxy in the environment is not used.
            mounts={f"all://{host}": None for host in ("localhost", "127.0.0.1", "[::1]")},
        )
        self._retry_seconds = retry_seconds
        self._report = report
        self._has_answered = False
        self._outage_start: float | None = None

    def submit(self, request: Mapping[str, Any]) -> Job:
        """Submit a job. Retries of the request do not create another job."""
        headers = {"idempotency-key": str(uuid4()), "content-type": "application/json"}
        return cast(Job, self.request("POST", "/v1/jobs", content=json.dumps(request), headers=headers))

    def upload(self, name: str, content: bytes, purpose: str = "vision") -> str:
        """Upload a file; returns its id. It expires after UPLOAD_TTL_SECONDS.

        A retry may upload it twice; the file that no job uses expires too.
        """
        fields = {
            "purpose": purpose,
            "expires_after[anchor]": "created_at",
            "expires_after[seconds]": str(UPLOAD_TTL_SECONDS),
        }
        return str(self.request("POST", "/v1/files", data=fields, files={"file": (name, content)})["id"])

    def cancel(self, job_id: str) -> Job:
        """Request the cancellation of a job; returns the job."""
        return cast(Job, self.request("POST", f"{_path(job_id)}/cancel"))

    def jobs(self, limit: int, statuses: Sequence[str] = (), model: str | None = None) -> Iterator[Job]:
        """The newest jobs, at most `limit`."""
        params: dict[str, Any] = {"status": list(statuses), **({} if model is None else {"model": model})}
        return self.list_newest("/v1/jobs", params, limit)

    def list_newest(self, path: str, params: Mapping[str, Any], limit: int) -> Iterator[Any]:
        """The newest objects of a list of the API, at most `limit`."""
        cursor: dict[str, Any] = {}
        while limit > 0:
            page = self.request("GET", path, params={**params, **cursor, "limit": min(limit, PAGE_SIZE)})
            yield from page["data"]
            if not page["has_more"]:
                return
            limit -= len(page["data"])
            cursor["after"] = page["last_id"]

    def events(self, job_id: str) -> Iterator[Event]:
        """All events of a job until it finishes. A lost connection is opened again after the last event."""
        path, last = f"{_path(job_id)}/events", "0"
        timeout = httpx.Timeout(STREAM_IDLE_SECONDS, connect=5.0)
        while True:
            with (
                self._retry_errors(advice=f" {job_id} is not affected: `safelight watch {job_id}` shows it."),
                self._http.stream("GET", path, headers={"last-event-id": last}, timeout=timeout) as response,
            ):
                if not response.is_success:
                    response.read()
                self._check(response)
                if not response.headers.get("content-type", "").startswith("text/event-stream"):
                    raise _not_safelight(response)
                for number, event in _parse_events(self._lines(response)):
                    last = number or last
                    yield event
                    if event.job is not None:
                        return
                raise _TemporaryError("closes the stream before the job finishes")

    def download(self, image: Image) -> bytes:
        """The content of an image. Raises CommandError if its SHA-256 is wrong."""
        content = self._request("GET", _content_path(image), follow_redirects=True).content
        if sha256(content).hexdigest() != image["sha256"]:
            raise _checksum_error(image)
        return content

    def download_into(self, file: BinaryIO, image: Image) -> None:
        """Write the content of an image to a file, from its start. Raises CommandError if its SHA-256 is wrong."""
        if self.save(_content_path(image), file) != image["sha256"]:
            raise _checksum_error(image)

    def save(self, path: str, file: BinaryIO) -> str:
        """Write the content at a path to a file, from its start; returns the SHA-256."""
        while True:
            with self._retry_errors(), self._http.stream("GET", path, follow_redirects=True) as response:
                if not response.is_success:
                    response.read()
                self._check(response)
                file.seek(0)
                file.truncate()
                digest = sha256()
                for chunk in response.iter_bytes():
                    file.write(chunk)
                    digest.update(chunk)
                return digest.hexdigest()

    def request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """Send a request; returns the object in the response."""
        response = self._request(method, path, **options)
        try:
            body = response.json()
        except ValueError:
            body = None
        if not isinstance(body, dict) or "object" not in body:
            raise _not_safelight(response)
        return body

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        while True:
            with self._retry_errors():
                response = self._http.request(method, path, **options)
                self._check(response)
                return response

    @contextmanager
    def _retry_errors(self, advice: str = "") -> Iterator[None]:
        """Suppress a temporary error after a delay: the caller's loop retries. Raises CommandError after the limit."""
        try:
            yield
            return
        except httpx.RequestError as error:
            if not self._has_answered and isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
                raise CommandError(
                    f"Safelight does not answer at {self.url}: start it with `safelight up`, "
                    "or set its URL with --url or SAFELIGHT_URL."
                ) from None
            self._has_answered = True
            failure = _TemporaryError(f"does not answer ({str(error) or type(error).__name__})")
        except _TemporaryError as error:
            failure = error
        time_now = time.monotonic()
        if self._outage_start is None and self._report is not None:
            self._report(f"{self.url} {failure}; trying again for up to {self._retry_seconds:g} s.")
        # In a local variable, because another thread may reset the attribute after a response.
        self._outage_start = outage_start = self._outage_start or time_now
        if time_now + failure.delay > outage_start + self._retry_seconds:
            raise CommandError(f"After {self._retry_seconds:g} s {self.url} still {failure}.{advice}") from None
        time.sleep(failure.delay)  # Retry-After, or our own limit of the request rate

    def _check(self, response: httpx.Response) -> None:
        """Raise _TemporaryError or CommandError for the response of an error."""
        self._has_answered = True
        should_retry = response.headers.get("x-should-retry")
        if should_retry == "true" or (should_retry is None and response.status_code in GATEWAY_STATUSES):
            delay = response.headers.get("retry-after", "")
            message = _error_message(response) or response.reason_phrase
            reason = f"answers {response.status_code} ({message.rstrip('.')})"
            raise _TemporaryError(reason, float(delay) if delay.isdecimal() else RETRY_DELAY_SECONDS)
        self._outage_start = None
        if not response.is_success:
            raise _command_error(response)

    def _lines(self, response: httpx.Response) -> Iterator[str]:
        for line in response.iter_lines():
            self._outage_start = None
            yield line

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()


def connect(
    url: str | None,
    key: str | None,
    retry_seconds: float = RETRY_SECONDS,
    report: Callable[[str], None] | None = None,
) -> Client:
    """The client for a command's options; without a URL, for the settings. `report` gets the message of an outage."""
    if not url:
        from cli.environment import read_settings
        from cli.panel import api_url

        url = api_url(read_settings())
    return Client(url, key or None, retry_seconds, report)


def _check_url(url: str) -> str:
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        parts = httpx.URL()
    if parts.scheme not in ("http", "https") or not parts.host:
        raise CommandError(f"{url} is not a valid URL of Safelight; an example is http://127.0.0.1:8000.")
    if parts.path.rstrip("/").endswith("/v1"):
        raise CommandError(f"The URL {url} must not end in /v1: the command adds it.")
    return url.rstrip("/")


def _path(job_id: str) -> str:
    if not re.fullmatch(r"job_[0-9A-Za-z]+", job_id):
        raise CommandError(f"{job_id!r} is not the id of a job; an example is job_01kc3m9w8yq6k0v2t5x7z1b4dn.")
    return f"/v1/jobs/{job_id}"


def _content_path(image: Image) -> str:
    return f"/v1/images/{image['id']}/content"


def _checksum_error(image: Image) -> CommandError:
    return CommandError(f"The download of {image['id']} is damaged (its SHA-256 differs): try again.")


def _command_error(response: httpx.Response) -> CommandError:
    """The error in a response, as one sentence."""
    if response.status_code == 401:
        return CommandError(
            "The API key is missing or not valid: set it with --key or SAFELIGHT_API_KEY "
            "(`safelight keys create NAME` creates one)."
        )
    message = _error_message(response)
    if message is None:
        return _not_safelight(response)
    if response.status_code < 500:
        return NotFound(message) if response.status_code == 404 else RequestRejected(message)
    return CommandError(f"{message} (request {response.headers.get('x-request-id')})")


def _error_message(response: httpx.Response) -> str | None:
    """The message of an error object, on one line; None if the response has no error object."""
    try:
        return " ".join(str(response.json()["error"]["message"]).split())
    except (ValueError, KeyError, TypeError):
        return None


def _not_safelight(response: httpx.Response) -> CommandError:
    url = response.url.copy_with(query=None)
    return CommandError(f"{url} answered {response.status_code}, but not as Safelight: check --url or SAFELIGHT_URL.")


def _parse_events(lines: Iterator[str]) -> Iterator[tuple[str | None, Event]]:
    """Server-sent events with their ids; comments are skipped. Source: WHATWG HTML, section 9.2.6."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
            continue
        if "data" in fields:
            data = json.loads(fields["data"])
            yield fields.get("id"), Event(fields.get("event", ""), data.get("data", data))
        fields = {}
