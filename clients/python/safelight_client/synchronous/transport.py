# Made of asynchronous/transport.py by `python clients/generate.py`: do not edit.
"""Requests to the API, repeated as `safelight_client.retries` says."""

import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from time import sleep
from typing import Any, TypeVar
from uuid import uuid4

import httpx
from pydantic import BaseModel

from safelight_client.configuration import Configuration, timeout_of
from safelight_client.downloads import Destination
from safelight_client.errors import UnexpectedResponse
from safelight_client.event_stream import ERROR, IDLE_SECONDS, Message, Parser
from safelight_client.retries import Retries, TemporaryFailure

PAGE_SIZE = 100
"""The API's maximum for a page of a list."""

Model = TypeVar("Model", bound=BaseModel)


class Transport:
    """Sends the requests of one client."""

    def __init__(self, configuration: Configuration, retries: Retries, http: httpx.Client) -> None:
        self.configuration = configuration
        self._retries = retries
        self._http = http

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        repeatable: bool = True,
        **options: Any,
    ) -> dict[str, Any]:
        """Send a request; returns the object in the response.

        body: sent as JSON. timeout: seconds; default: the client's. repeatable: False if a repetition after a lost
        connection could have an effect of its own. options: passed to httpx.
        """
        all_headers = dict(headers or {})
        if body is not None:
            options["content"] = json.dumps(body)
            all_headers["content-type"] = "application/json"
        options["timeout"] = timeout_of(timeout or self.configuration.timeout)
        while True:
            with self._repeat(repeatable):
                response = self._http.request(method, path, headers=all_headers, **options)
                self._retries.check(response, repeatable=repeatable)
                return _object_in(response)

    def fetch(self, kind: type[Model], method: str, path: str, **options: Any) -> Model:
        """Send a request, as `request` does; returns the response as a model, bound to this transport."""
        return self.parse(kind, self.request(method, path, **options))

    def submit(self, path: str, body: Mapping[str, Any], key: str | None, timeout: float | None) -> Any:
        """Post what must not be submitted twice; returns the object in the response.

        key: Idempotency-Key; default: a new one, so that a repetition has no effect.
        """
        headers = {"idempotency-key": key or str(uuid4())}
        return self.request("POST", path, body=body, headers=headers, timeout=timeout)

    def parse(self, kind: type[Model], data: Any) -> Model:
        """The model of an object, bound to this transport."""
        return kind.model_validate(data, context=self)

    def list_items(self, kind: type[Model], path: str, query: Mapping[str, Any], limit: int | None) -> Iterator[Model]:
        """The items of a list, page by page. limit: of the number of items; None for all."""
        present = {name: value for name, value in query.items() if value is not None}
        count = 0
        while limit is None or count < limit:
            size = PAGE_SIZE if limit is None else min(limit - count, PAGE_SIZE)
            page = self.request("GET", path, params={**present, "limit": size})
            for item in page["data"]:
                yield self.parse(kind, item)
            count += len(page["data"])
            if not page["has_more"]:
                return
            present["after"] = page["last_id"]

    def download(self, path: str, destination: Destination) -> None:
        """Write the content at a path to a destination."""
        while True:
            with self._repeat(), self._http.stream("GET", path, follow_redirects=True) as response:
                self._check_stream(response)
                destination.restart()
                for chunk in response.iter_bytes():
                    destination.write(chunk)
                self._retries.end_outage()
                return

    def messages(self, path: str, after: str) -> Generator[Message]:
        """The messages of an event stream after an id, until the API says that there are no more.

        A lost connection is opened again after the last message with an id.
        """
        while True:
            with (
                self._repeat(),
                self._http.stream(
                    "GET", path, headers={"last-event-id": after}, timeout=timeout_of(IDLE_SECONDS)
                ) as response,
            ):
                self._check_stream(response)
                if response.status_code == httpx.codes.NO_CONTENT:
                    self._retries.end_outage()
                    return
                if not response.headers.get("content-type", "").startswith("text/event-stream"):
                    raise UnexpectedResponse(response)
                parser = Parser()
                for chunk in response.iter_bytes():
                    self._retries.end_outage()
                    for message in parser.feed(chunk):
                        after = message.id or after
                        if message.type != ERROR:
                            yield message
                raise self._retries.early_end()

    def _check_stream(self, response: httpx.Response) -> None:
        if not response.is_success:
            response.read()
        self._retries.check(response, is_complete=False)

    @contextmanager
    def _repeat(self, repeatable: bool = True) -> Iterator[None]:
        """Suppress a temporary failure after a delay: the caller's loop repeats. Raises its error after the limit."""
        try:
            yield
            return
        except httpx.RequestError as error:
            failure = self._retries.failure_of(error, repeatable=repeatable)
        except TemporaryFailure as error:
            failure = error
        sleep(self._retries.delay(failure))


def _object_in(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict) or "object" not in body:
        raise UnexpectedResponse(response)
    return body
