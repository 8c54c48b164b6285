"""The logs of `safelight up` stay small while the servers run."""

import os
import signal
import sys
from pathlib import Path

from cli.local.child import MAX_LOG_BYTES, Child
from tests.waiting import until

NOISY = f"""
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
for word in ("first", "second"):
    print(word + "x" * {MAX_LOG_BYTES}, flush=True)
    signal.sigwait([signal.SIGUSR1])
"""


def test_a_log_that_grows_too_large_is_emptied_while_its_server_writes(tmp_path: Path) -> None:
    log = tmp_path / "noisy.log"
    server = Child("noisy", [sys.executable, "-c", NOISY], log=log)
    server.start()
    until(lambda: log.stat().st_size > MAX_LOG_BYTES)

    server.rotate_log()
    assert log.stat().st_size == 0
    os.kill(server.pid, signal.SIGUSR1)
    until(lambda: log.stat().st_size > MAX_LOG_BYTES)
    server.kill()

    assert log.read_text().startswith("second")
    assert log.with_name("noisy.log.1").read_text().startswith("first")


def test_a_small_log_stays(tmp_path: Path) -> None:
    log = tmp_path / "quiet.log"
    log.write_text("a line")

    Child("quiet", ["true"], log=log).rotate_log()

    assert log.read_text() == "a line"
    assert not log.with_name("quiet.log.1").exists()
