"""Repeats one request until SIGTERM: `python -m tests.hostile.attacker URL KEY THREADS PATH CONTENT_TYPE FILE`.

An attacker is another machine. So this is a process of its own, and the body is made before: what a client computes
must not delay the neighbour that is measured. A file that a request created is deleted. At the end it prints how many
requests it sent.
"""

import http.client
import json
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from tests.waiting import PATIENCE


def main(url: str, key: str, threads: int, path: str, content_type: str, file: str) -> None:
    """Attack until SIGTERM."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    content = Path(file).read_bytes()
    headers = {"authorization": f"Bearer {key}", "content-type": content_type}

    def repeat(_: int) -> int:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE)
        count = 0
        while not stop.is_set():
            connection.request("POST", path, content, headers)
            response = connection.getresponse()
            body = response.read()
            if response.status == 200 and path == "/v1/files":
                connection.request("DELETE", f"{path}/{json.loads(body)['id']}", headers=headers)
                connection.getresponse().read()
            count += 1
        return count

    with ThreadPoolExecutor(threads) as executor:
        counts = executor.map(repeat, range(threads))
        print("attacks", flush=True)
        while not stop.wait(1):
            pass
        print(f"sent {sum(counts)} requests", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
