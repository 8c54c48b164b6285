"""The HTTP server: uvicorn, with limits for each connection and for all of them together."""

import asyncio
import gc
import logging
import os
import socket
import sys

from uvicorn import Server
from uvicorn.config import STARTUP_FAILURE

from api.app import create_app
from api.edge.access import OPEN_PATHS
from api.edge.connection import Connection, EdgeConfig, Limits
from api.edge.connections import BACKLOG, Connections, connection_limit
from api.edge.cors import Cors
from api.supervisor import GRACE_SECONDS, Inheritance, report_ready
from core.settings import Settings
from core.temporary_files import use_directory

log = logging.getLogger(__name__)

TICKS_PER_CHECK = 10
"""uvicorn's loop ticks ten times a second; connections are checked once a second."""

GC_THRESHOLDS = (10_000, 10, 100)
"""When Python looks for garbage among new objects, and how often among older ones. A few requests make its default of
700 objects, which need no collection: 6 % of the time of a submit. So many objects are some megabytes."""


class EdgeServer(Server):
    """uvicorn's server, which also ends the connections of slow clients."""

    config: EdgeConfig

    def __init__(self, config: EdgeConfig, supervisor: int | None) -> None:
        super().__init__(config)
        self._supervisor = supervisor

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, and say so; uvicorn does not say it of sockets that it did not open."""
        await super().startup(sockets)
        if sockets and self.started:
            self._log_started_message(sockets)
            if self._supervisor is not None:
                report_ready()

    async def on_tick(self, counter: int) -> bool:
        """Check the connections once a second. Returns whether the server stops."""
        if counter % TICKS_PER_CHECK == 0:
            self.config.open_connections.check(asyncio.get_running_loop().time())
            if self._supervisor is not None and os.getppid() != self._supervisor:  # it was killed
                self.should_exit = True
        return await super().on_tick(counter)


def run(settings: Settings, inheritance: Inheritance | None = None) -> None:
    """Serve the API until a signal ends it. inheritance: from a supervisor (`api/supervisor.py`)."""
    app = create_app(settings)
    cors = Cors(app, settings) if settings.allowed_origins else None
    config = EdgeConfig(
        cors or app,
        host=settings.host,
        port=settings.port,
        http=Connection,
        ws="none",
        backlog=BACKLOG,
        timeout_keep_alive=round(settings.keep_alive.total_seconds()),
        timeout_graceful_shutdown=GRACE_SECONDS,
        log_config=None,  # its loggers write to ours
        log_level=settings.log_level,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # `api/edge/address.py` reads them
    )
    config.cors = cors
    config.limits = Limits.of(settings)
    config.open_paths = frozenset(f"{prefix}{path}".encode() for prefix in ("", settings.prefix) for path in OPEN_PATHS)
    config.open_connections = Connections(connection_limit(settings))
    if config.open_connections.limit < settings.max_connections:
        log.warning(
            "this process may open too few files for max_connections=%s: it accepts %s connections (`ulimit -n`)",
            settings.max_connections,
            config.open_connections.limit,
        )
    use_directory(settings.data_dir)
    gc.freeze()  # modules, routes and schemas stay: no later collection looks at them
    gc.set_threshold(*GC_THRESHOLDS)
    gc.enable()
    server = EdgeServer(config, inheritance.supervisor if inheritance else None)
    try:
        server.run(_sockets(settings) if inheritance is None else [inheritance.listener])
    except KeyboardInterrupt:
        return
    if not server.started:
        sys.exit(STARTUP_FAILURE)


def _sockets(settings: Settings) -> list[socket.socket] | None:
    """The socket for `::`, which is all addresses of IPv4 too; asyncio's own would be for IPv6 only."""
    if settings.host != "::" or not socket.has_dualstack_ipv6():
        return None
    address = (settings.host, settings.port)
    return [socket.create_server(address, family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)]
