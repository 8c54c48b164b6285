"""The log of a process: a message is one line of text or of JSON, with the ids that it concerns.

`add_ids` sets the ids for all lines of a block, in the thread or task that runs it. A message never has a prompt, a key
or the bytes of an image. In text, a traceback keeps its lines; in JSON it is a field.
"""

import json
import logging
import re
import sys
import threading
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType

from core.settings import Settings

IDS = ("request_id", "job_id", "batch_id", "project_id", "worker")
"""The fields that a line may have, in this order."""

MAX_CHARACTERS = 16_384
"""Of a message, and of the end of a traceback."""

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Characters that end a line or change a terminal."""

_ids: ContextVar[Mapping[str, str]] = ContextVar("log_ids", default=MappingProxyType({}))
_process_ids: dict[str, str] = {}


class add_ids:
    """Add ids, some of IDS, to all lines that the block logs. None: the line has no such id."""

    __slots__ = ("_ids", "_token")

    def __init__(self, **ids: str | None) -> None:
        self._ids = ids

    def __enter__(self) -> None:
        new_ids = {name: value for name, value in self._ids.items() if value is not None}
        self._token = _ids.set({**_ids.get(), **new_ids})

    def __exit__(self, *_: object) -> None:
        _ids.reset(self._token)


def request_id() -> str | None:
    """The id of the request that is handled; None outside of one."""
    return _ids.get().get("request_id")


class LogFormatter(logging.Formatter):
    """Formats records as text: time, level, logger, message, ids."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record, and the lines of its traceback."""
        time, milliseconds = self.formatTime(record, "%Y-%m-%d %H:%M:%S"), int(record.msecs)
        ids = "".join(f" {name}={value}" for name, value in ids_of(record).items())
        line = f"{time},{milliseconds:03} {record.levelname} {record.name}: {_message(record)}{ids}"
        traceback = self.traceback(record)
        if traceback is None:
            return _escape(line)
        return "\n".join([_escape(line), *map(_escape, traceback.split("\n"))])

    def traceback(self, record: logging.LogRecord) -> str | None:
        """The traceback of a record, at most MAX_CHARACTERS of its end."""
        if record.exc_info and record.exc_info[0] is not None:
            return self.formatException(record.exc_info)[-MAX_CHARACTERS:]
        return None


class JsonFormatter(LogFormatter):
    """Formats records as objects of JSON, one a line, in ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        traceback = self.traceback(record)
        return json.dumps(
            {
                "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
                "level": record.levelname.lower(),
                "logger": record.name,
                "message": _message(record),
                **ids_of(record),
                **({} if traceback is None else {"traceback": traceback}),
            }
        )


def ids_of(record: logging.LogRecord) -> Mapping[str, str]:
    """The ids that a record concerns: those of the process, of the block, and of the call."""
    ids = {**_process_ids, **_ids.get()}
    values = {name: getattr(record, name, None) or ids.get(name) for name in IDS}
    return {name: str(value) for name, value in values.items() if value}


def install(settings: Settings, *, worker: str | None = None) -> None:
    """Write the log to stderr, as `log_format` and `log_level` say. worker: the name of this worker, for each line."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else LogFormatter())
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler])
    logging.captureWarnings(True)
    if worker is not None:
        _process_ids["worker"] = worker
    sys.excepthook = lambda kind, error, traceback: _log_uncaught(kind, error, "the process")
    threading.excepthook = lambda hook: _log_uncaught(
        hook.exc_type, hook.exc_value, "the process" if hook.thread is None else f"the thread {hook.thread.name}"
    )


def _log_uncaught(kind: type[BaseException], error: BaseException | None, place: str) -> None:
    if issubclass(kind, (KeyboardInterrupt, SystemExit)):
        return
    logging.getLogger("core.telemetry.logs").critical("%s ends with an error", place, exc_info=error)


def _message(record: logging.LogRecord) -> str:
    message = record.getMessage()
    return message if len(message) <= MAX_CHARACTERS else message[:MAX_CHARACTERS] + "…"


def _escape(line: str) -> str:
    return CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), line)
