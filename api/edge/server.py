"""The HTTP server: uvicorn, with limits for each connection and for all of them together."""

import asyncio
import gc
import logging
import sys

from uvicorn import Server
from uvicorn.config import STARTUP_FAILURE

from api.app import create_app
from api.edge.connection import Connection, EdgeConfig, Limits
from api.edge.connections import BACKLOG, Connections, connection_limit
from api.uploads import use_directory
from core.settings import Settings

log = logging.getLogger(__name__)

GRACE_SECONDS = 10
"""Time for open requests when the API stops. Clients repeat a long poll."""

TICKS_PER_CHECK = 10
"""uvicorn's loop ticks ten times a second; connections are checked once a second."""


class EdgeServer(Server):
    """uvicorn's server, which also ends the connections of slow clients."""

    config: EdgeConfig

    async def on_tick(self, counter: int) -> bool:
        """Check the connections once a second. Returns whether the server stops."""
        if counter % TICKS_PER_CHECK == 0:
            self.config.open_connections.check(asyncio.get_running_loop().time())
        return await super().on_tick(counter)


def run(settings: Settings) -> None:
    """Serve the API until a signal ends it."""
    config = EdgeConfig(
        create_app(settings),
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
    )
    config.limits = Limits.of(settings)
    config.open_connections = Connections(connection_limit(settings))
    if config.open_connections.limit < settings.max_connections:
        log.warning(
            "this process may open too few files for max_connections=%s: it accepts %s connections (`ulimit -n`)",
            settings.max_connections,
            config.open_connections.limit,
        )
    use_directory(settings.data_dir)
    gc.freeze()  # modules, routes and schemas stay: no later collection looks at them
    gc.enable()
    server = EdgeServer(config)
    try:
        server.run()
    except KeyboardInterrupt:
        return
    if not server.started:
        sys.exit(STARTUP_FAILURE)
