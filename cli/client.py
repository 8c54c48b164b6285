"""Safelight's API as the client commands use it: sends, tries again, and turns every refusal into one sentence.

Every request here may be repeated without harm (a submit carries an Idempotency-Key), so a broken connection, or an API
that is away for a moment, is tried again. An API that never answered is not waited for: the sentence says how to start
it. What is shown of a job, and where images go, is the commands' business; what is asked of batches is in
`cli.batch.client`. Threads may share a client.
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

from cli.errors import CommandError, NotThere, Refused

PATIENCE_SECONDS = 30.0
"""How long an API that has answered before may be away: `safelight up` starts one that died within seconds."""

PAUSE_SECONDS = 1.0
"""Between two tries, where the API names no time of its own."""

ANSWER_SECONDS = 20.0
"""Longest wait for an answer; above the API's own 15 s for a statement."""

SILENCE_SECONDS = 45.0
"""Longest silence of a stream: the API says something every 15 s or so."""

PASSING = frozenset({502, 503, 504})
"""What a proxy answers while the API behind it starts."""

KEPT_SECONDS = 30 * 24 * 3600
"""How long an uploaded image is kept, so that its job can be retried: the longest the API takes."""

PAGE = 100
"""Most jobs that the API lists at a time."""

Url = Annotated[
    str | None,
    typer.Option(envvar="SAFELIGHT_URL", help="Where Safelight is. Default: where the settings say.", metavar="URL"),
]
Key = Annotated[str | None, typer.Option(envvar="SAFELIGHT_API_KEY", help="API key, where keys are asked for.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of the job.")]


class Image(TypedDict):
    """What the commands read of an image."""

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
    """What to know about a job that is done all the same."""

    code: str
    message: str


class Job(TypedDict):
    """What the commands read of a job; the API sends more."""

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
    """A fact about a job, or a step of its drawing (`job.progress`)."""

    type: str
    data: Mapping[str, Any]

    @property
    def job(self) -> Job | None:
        """The job as it ended, if this was its end."""
        return cast(Job | None, self.data.get("job"))


class _Passing(Exception):
    """Something that may be over at the next try, after a pause."""

    def __init__(self, reason: str, pause: float = PAUSE_SECONDS) -> None:
        self.pause = pause
        super().__init__(reason)


class Client:
    """One Safelight, spoken to by one command. Everything that goes wrong is a CommandError."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        patience: float = PATIENCE_SECONDS,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.url = _checked_url(url)
        if key is not None and not (key.isascii() and key.isprintable()):
            raise CommandError("The API key has characters that no key has: check --key or SAFELIGHT_API_KEY.")
        self._http = httpx.Client(
            base_url=self.url,
            headers={"authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=5.0),
            # A proxy that the environment names is not asked for this machine.
            mounts={f"all://{host}": None for host in ("localhost", "127.0.0.1", "[::1]")},
        )
        self._patience = patience
        self._tell = tell
        self._has_answered = False
        self._away_since: float | None = None

    def submit(self, request: Mapping[str, Any]) -> Job:
        """Post a job. However often it has to be sent, it is one job."""
        headers = {"idempotency-key": str(uuid4()), "content-type": "application/json"}
        return cast(Job, self.request("POST", "/v1/jobs", content=json.dumps(request), headers=headers))

    def upload(self, name: str, content: bytes, purpose: str = "vision") -> str:
        """Put a file beside the jobs that begin with it, for KEPT_SECONDS; returns the file's id.

        Sent twice, it is two files; the one that nothing names expires like the other.
        """
        fields = {
            "purpose": purpose,
            "expires_after[anchor]": "created_at",
            "expires_after[seconds]": str(KEPT_SECONDS),
        }
        return str(self.request("POST", "/v1/files", data=fields, files={"file": (name, content)})["id"])

    def cancel(self, job_id: str) -> Job:
        """Wish that a job stop; returns it as it is then."""
        return cast(Job, self.request("POST", f"{_path(job_id)}/cancel"))

    def jobs(self, limit: int, statuses: Sequence[str] = (), model: str | None = None) -> Iterator[Job]:
        """The newest jobs, as many as `limit` at most."""
        wanted: dict[str, Any] = {"status": list(statuses), **({} if model is None else {"model": model})}
        while limit > 0:
            page = self.request("GET", "/v1/jobs", params={**wanted, "limit": min(limit, PAGE)})
            yield from page["data"]
            if not page["has_more"]:
                return
            limit -= len(page["data"])
            wanted["after"] = page["last_id"]

    def events(self, job_id: str) -> Iterator[Event]:
        """Everything that happens to a job, from its beginning to its end, over however many connections."""
        path, last = f"{_path(job_id)}/events", "0"
        timeout = httpx.Timeout(SILENCE_SECONDS, connect=5.0)
        while True:
            with (
                self._trying(advice=f" {job_id} goes on: `safelight watch {job_id}`."),
                self._http.stream("GET", path, headers={"last-event-id": last}, timeout=timeout) as answer,
            ):
                if not answer.is_success:
                    answer.read()
                self._check(answer)
                if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                    raise _stranger(answer)
                for number, event in _messages(self._lines(answer)):
                    last = number or last
                    yield event
                    if event.job is not None:
                        return
                raise _Passing("ends the stream before the job's end")

    def download(self, image: Image) -> bytes:
        """An image's file, as it was stored."""
        content = self._request("GET", _content(image), follow_redirects=True).content
        if sha256(content).hexdigest() != image["sha256"]:
            raise _changed(image)
        return content

    def download_into(self, file: BinaryIO, image: Image) -> None:
        """An image's file, as it was stored, written over what `file` holds."""
        if self.save(_content(image), file) != image["sha256"]:
            raise _changed(image)

    def save(self, path: str, file: BinaryIO) -> str:
        """Write what lies at a path over what `file` holds, piece by piece; returns its SHA-256."""
        while True:
            with self._trying(), self._http.stream("GET", path, follow_redirects=True) as answer:
                if not answer.is_success:
                    answer.read()
                self._check(answer)
                file.seek(0)
                file.truncate()
                digest = sha256()
                for part in answer.iter_bytes():
                    file.write(part)
                    digest.update(part)
                return digest.hexdigest()

    def request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """An object of the API."""
        answer = self._request(method, path, **options)
        try:
            found = answer.json()
        except ValueError:
            found = None
        if not isinstance(found, dict) or "object" not in found:
            raise _stranger(answer)
        return found

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        while True:
            with self._trying():
                answer = self._http.request(method, path, **options)
                self._check(answer)
                return answer

    @contextmanager
    def _trying(self, advice: str = "") -> Iterator[None]:
        """Swallow what may pass, after a pause: the loop around tries again. Raises CommandError when patience ends."""
        try:
            yield
            return
        except httpx.RequestError as error:
            if not self._has_answered and isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
                raise CommandError(
                    f"Safelight does not answer at {self.url}: start it with `safelight up`, "
                    "or name another one with --url or SAFELIGHT_URL."
                ) from None
            self._has_answered = True
            trouble = _Passing(f"does not answer ({str(error) or type(error).__name__})")
        except _Passing as passing:
            trouble = passing
        now = time.monotonic()
        if self._away_since is None and self._tell is not None:
            self._tell(f"{self.url} {trouble}; trying again for up to {self._patience:g} s.")
        # Read once: another thread may have had an answer meanwhile.
        self._away_since = away_since = self._away_since or now
        if now + trouble.pause > away_since + self._patience:
            raise CommandError(f"After {self._patience:g} s {self.url} still {trouble}.{advice}") from None
        time.sleep(trouble.pause)  # as long as the server asked for, or a client should leave it alone

    def _check(self, answer: httpx.Response) -> None:
        """Let an answer pass that is none of an error. Raises _Passing or CommandError."""
        self._has_answered = True
        advised = answer.headers.get("x-should-retry")
        if advised == "true" or (advised is None and answer.status_code in PASSING):
            after = answer.headers.get("retry-after", "")
            message = _message(answer) or answer.reason_phrase
            reason = f"answers {answer.status_code} ({message.rstrip('.')})"
            raise _Passing(reason, float(after) if after.isdecimal() else PAUSE_SECONDS)
        self._away_since = None
        if not answer.is_success:
            raise _refusal(answer)

    def _lines(self, answer: httpx.Response) -> Iterator[str]:
        for line in answer.iter_lines():
            self._away_since = None
            yield line

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()


def connect(
    url: str | None,
    key: str | None,
    patience: float = PATIENCE_SECONDS,
    tell: Callable[[str], None] | None = None,
) -> Client:
    """The Safelight that a command means: by its options, else by the settings. `tell` hears when it goes away."""
    if not url:
        from cli.environment import read_settings
        from cli.panel import address

        url = address(read_settings())
    return Client(url, key or None, patience, tell)


def _checked_url(url: str) -> str:
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        parts = httpx.URL()
    if parts.scheme not in ("http", "https") or not parts.host:
        raise CommandError(f"{url} is no URL of a Safelight: one looks like http://127.0.0.1:8000.")
    if parts.path.rstrip("/").endswith("/v1"):
        raise CommandError(f"Leave the /v1 out of {url}: the command adds it.")
    return url.rstrip("/")


def _path(job_id: str) -> str:
    if not re.fullmatch(r"job_[0-9A-Za-z]+", job_id):
        raise CommandError(f"{job_id!r} is not the id of a job: one looks like job_01kc3m9w8yq6k0v2t5x7z1b4dn.")
    return f"/v1/jobs/{job_id}"


def _content(image: Image) -> str:
    return f"/v1/images/{image['id']}/content"


def _changed(image: Image) -> CommandError:
    return CommandError(f"{image['id']} has not arrived as it was stored (its SHA-256 differs): try again.")


def _refusal(answer: httpx.Response) -> CommandError:
    """An error of the API as one sentence."""
    if answer.status_code == 401:
        return CommandError(
            "The API key is missing or not valid: give one with --key or SAFELIGHT_API_KEY "
            "(`safelight keys create NAME` makes one)."
        )
    message = _message(answer)
    if message is None:
        return _stranger(answer)
    if answer.status_code < 500:
        return NotThere(message) if answer.status_code == 404 else Refused(message)
    return CommandError(f"{message} (request {answer.headers.get('x-request-id')})")


def _message(answer: httpx.Response) -> str | None:
    """What an error object says, on one line; None if this is none."""
    try:
        return " ".join(str(answer.json()["error"]["message"]).split())
    except (ValueError, KeyError, TypeError):
        return None


def _stranger(answer: httpx.Response) -> CommandError:
    where = answer.url.copy_with(query=None)
    return CommandError(f"{where} answered {answer.status_code} as no Safelight does: check --url or SAFELIGHT_URL.")


def _messages(lines: Iterator[str]) -> Iterator[tuple[str | None, Event]]:
    """Server-sent events with their ids; comments are passed over. Source: WHATWG HTML, section 9.2.6."""
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
