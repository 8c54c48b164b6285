"""`safelight webhooks listen` shows what arrives, and whether its signature is valid."""

import json
import time
from pathlib import Path

import httpx

from core.outbox.signing import new_secret, signed
from tests.cli.terminal import Terminal
from tests.stack import free_port

EVENT = json.dumps({"id": "evt_1", "type": "job.completed", "data": {"id": "job_1"}}).encode()


def test_what_comes_is_verified_and_shown(tmp_path: Path) -> None:
    secret, port = new_secret(), free_port()
    time_now = int(time.time())
    with Terminal(tmp_path, port).start("webhooks", "listen", "--port", str(port), "--secret", secret) as listener:
        listener.until_says("Listening")
        for keys, moment, body, status, words in (
            ([secret], time_now, EVENT, 204, "job.completed  job_1  evt_1  (signature is valid)"),
            ([new_secret(), secret], time_now, EVENT, 204, "signature is valid"),
            ([new_secret()], time_now, EVENT, 400, "signature is NOT valid"),
            ([], time_now, EVENT, 400, "signature is NOT valid"),
            ([secret], time_now - 1000, EVENT, 400, "timestamp is too far from now"),
            ([secret], time_now, b"\x1b[2J", 204, r"not an event: b'\x1b[2J'"),
        ):
            headers = signed(keys, "evt_1", moment, body)
            answer = httpx.post(f"http://127.0.0.1:{port}/", content=body, headers=headers, trust_env=False)
            assert answer.status_code == status
            listener.until_says(words)


def test_a_secret_that_is_none_is_refused(tmp_path: Path) -> None:
    result = Terminal(tmp_path, 1).run("webhooks", "listen", "--secret", "abc")

    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("safelight: The secret must be whsec_")
