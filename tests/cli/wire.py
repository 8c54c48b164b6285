"""A wire to an API that can be cut: a TCP relay that hangs up where a test says so, and remembers what was asked."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

Cut = Callable[[bytes, bytes], bool]
"""Whether to hang up, by all that was asked and answered on a connection, before the last of it is handed on."""


class Wire:
    """Relays to a port of this machine. It cuts one connection, where `cut` says so for the first time."""

    def __init__(self, port: int, cut: Cut) -> None:
        self._port = port
        self._cut = cut
        self._has_cut = threading.Event()
        self._asked: list[bytearray] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def asked(self) -> str:
        """All that was sent to the API, connection after connection."""
        return b"".join(self._asked).decode()

    @property
    def has_cut(self) -> bool:
        return self._has_cut.is_set()

    def _listen(self) -> None:
        with suppress(OSError):  # closed: the test is over
            while True:
                here, _ = self._listener.accept()
                there = socket.create_connection(("127.0.0.1", self._port))
                self._asked.append(asked := bytearray())
                for relay in (self._ask, self._answer):
                    threading.Thread(target=relay, args=(here, there, asked), daemon=True).start()

    def _ask(self, here: socket.socket, there: socket.socket, asked: bytearray) -> None:
        with suppress(OSError):
            while part := here.recv(65536):
                asked += part
                there.sendall(part)
            there.shutdown(socket.SHUT_WR)

    def _answer(self, here: socket.socket, there: socket.socket, asked: bytearray) -> None:
        answered = b""
        with suppress(OSError), here, there:
            while part := there.recv(65536):
                answered += part
                if not self.has_cut and self._cut(bytes(asked), answered):
                    self._has_cut.set()
                    here.shutdown(socket.SHUT_RDWR)  # to close is not enough while the other thread reads from it
                    return
                here.sendall(part)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
