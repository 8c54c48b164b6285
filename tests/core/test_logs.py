"""The lines of the log: one for each message, as text or JSON, with the ids that it concerns."""

import json
import logging
import sys
import threading

import pytest

from core.telemetry.logs import MAX_CHARACTERS, JsonFormatter, LogFormatter, add_ids, request_id

EVIL = "a\nb\r\x1b[31m\u2028c\x00\x85"


def a_record(message: str = "job %s", *arguments: object, **extra: str | None) -> logging.LogRecord:
    record = logging.LogRecord("core.test", logging.WARNING, __file__, 1, message, arguments, None)
    vars(record).update(extra)
    return record


def failed() -> logging.LogRecord:
    try:
        raise ValueError(EVIL)
    except ValueError:
        return logging.LogRecord("core.test", logging.ERROR, __file__, 1, "failed", (), sys.exc_info())


def test_a_line_has_the_ids_of_its_block_and_of_its_call() -> None:
    with add_ids(request_id="req_1", job_id="job_1", project_id=None):
        with add_ids(job_id="job_2"):
            line = LogFormatter().format(a_record("job %s", "x", batch_id="batch_1", request_id=None))
            assert line.endswith(" WARNING core.test: job x request_id=req_1 job_id=job_2 batch_id=batch_1")
        assert request_id() == "req_1"
    assert request_id() is None
    assert LogFormatter().format(a_record("job")).endswith("core.test: job")


def test_the_ids_of_one_thread_are_not_those_of_another() -> None:
    lines: list[str] = []
    with add_ids(job_id="job_1"):
        other = threading.Thread(target=lambda: lines.append(LogFormatter().format(a_record("job"))))
        other.start()
        other.join()
    assert "job_1" not in lines[0]


@pytest.mark.parametrize("formatter", [LogFormatter(), JsonFormatter()])
def test_a_message_is_one_line_whatever_is_in_it(formatter: logging.Formatter) -> None:
    assert len(formatter.format(a_record("%s", EVIL)).splitlines()) == 1
    assert len(formatter.format(a_record("%s", "x" * 10**6))) < MAX_CHARACTERS + 200


def test_a_traceback_is_a_field_of_json_and_lines_of_text() -> None:
    line = JsonFormatter().format(failed())
    text = LogFormatter().format(failed())

    assert len(line.splitlines()) == 1
    values = json.loads(line)
    assert values["traceback"].startswith("Traceback")
    assert (values["level"], values["logger"], values["message"]) == ("error", "core.test", "failed")
    assert text.splitlines()[1].startswith("Traceback")
    assert "\x1b" not in text
