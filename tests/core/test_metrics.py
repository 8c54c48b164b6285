"""The listener of the metrics: a process works without it."""

import logging
import socket

import pytest

from core.telemetry import metrics


def test_a_port_that_is_in_use_is_only_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with caplog.at_level(logging.WARNING):
            metrics.serve("127.0.0.1", other.getsockname()[1])

    assert "no metrics: cannot listen on 127.0.0.1:" in caplog.text
