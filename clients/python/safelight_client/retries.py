"""When a request is repeated, and for how long.

A request is repeated after a lost connection or a temporary error of the API, until the outage lasts longer than the
client allows. An outage begins with the first failure and ends with the next response that arrives; requests of several
threads share it. If the API has never answered, a refused connection is an error at once: the URL may be wrong.
"""

import time
from collections.abc import Callable

import httpx

from safelight_client.errors import APIError, ConnectionFailed, SafelightError, error_of

RETRY_SECONDS = 30.0
"""How long an outage may last by default. `safelight up` restarts a dead API within seconds."""

DELAY_SECONDS = 1.0
"""Delay before a repetition if the response has no Retry-After."""

GATEWAY_STATUSES = frozenset({502, 503, 504})
"""Statuses of a proxy while the API behind it starts."""

ReportOutage = Callable[[str], None]
"""Receives the reason of an outage when it begins, such as `does not answer (...)`."""


class TemporaryFailure(Exception):
    """A request has failed and may be repeated after `delay` seconds; `error` is raised if it is not."""

    def __init__(self, error: SafelightError, reason: str, delay: float = DELAY_SECONDS) -> None:
        self.error = error
        self.reason = reason
        self.delay = delay
        super().__init__(reason)


class Retries:
    """The outages of one client. Threads may share it."""

    def __init__(self, url: str, seconds: float, report: ReportOutage | None) -> None:
        self._url = url
        self._seconds = seconds
        self._report = report
        self._has_answered = False
        self._outage_start: float | None = None

    def check(self, response: httpx.Response, *, repeatable: bool = True, is_complete: bool = True) -> None:
        """Raise the error in a response: TemporaryFailure if the request may be repeated.

        repeatable: whether the request has no further effect if it is repeated. is_complete: False if the content of a
        successful response has not arrived; the caller calls `end_outage` when it has. Else a server whose responses
        always break off would be asked for ever.
        """
        self._has_answered = True
        if response.is_success:
            if is_complete:
                self.end_outage()
            return
        error = error_of(response)
        should_retry = response.headers.get("x-should-retry")
        if should_retry == "true" or (should_retry is None and repeatable and response.status_code in GATEWAY_STATUSES):
            delay = error.retry_after if isinstance(error, APIError) else None
            raise TemporaryFailure(error, error.reason, delay or DELAY_SECONDS)
        self.end_outage()
        raise error

    def end_outage(self) -> None:
        """Note that the API works."""
        self._outage_start = None

    def failure_of(self, error: httpx.RequestError, *, repeatable: bool = True) -> TemporaryFailure:
        """The failure of a request without a response. Raises ConnectionFailed if it must not be repeated."""
        reason = f"does not answer ({str(error) or type(error).__name__})"
        failure = ConnectionFailed(self._url, reason, has_answered=self._has_answered)
        is_refused = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
        if (is_refused and not self._has_answered) or not (is_refused or repeatable):
            raise failure from error
        self._has_answered = True
        return TemporaryFailure(failure, reason)

    def early_end(self) -> TemporaryFailure:
        """The failure of an event stream that ends before its job or batch does."""
        reason = "closes the stream before its last event"
        return TemporaryFailure(ConnectionFailed(self._url, reason, has_answered=True), reason)

    def delay(self, failure: TemporaryFailure) -> float:
        """The seconds to wait before the repetition. Raises the failure's error if the outage lasts too long."""
        now = time.monotonic()
        if self._outage_start is None and self._report is not None:
            self._report(failure.reason)
        # In a local variable, because another thread may reset the attribute after a response.
        self._outage_start = outage_start = self._outage_start or now
        if now + failure.delay > outage_start + self._seconds:
            failure.error.retry_seconds, failure.error.base_url = self._seconds, self._url
            raise failure.error from None
        return failure.delay
