"""`python -m api`: the API. Settings come from the environment.

With SAFELIGHT_API_PROCESSES, this process watches others, which it starts with `--socket`, and imports little itself.
"""

import gc

gc.disable()  # what imports create stays: to look for garbage among it takes a fifth of the start

import logging  # noqa: E402
import sys  # noqa: E402

from api.supervisor import STARTUP_FAILURE, Supervisor, listen, read_inheritance  # noqa: E402
from core.permissions import make_private  # noqa: E402
from core.settings import Settings  # noqa: E402
from core.settings.environment import read_or_exit  # noqa: E402
from core.telemetry import logs  # noqa: E402


def supervise(settings: Settings) -> int:
    """Serve with several processes. Returns the exit code."""
    logs.install(settings)
    log = logging.getLogger("api.supervisor")
    try:
        listener = listen(settings)
    except OSError as error:
        log.error("cannot listen on %s:%d: %s", settings.host, settings.port, error.strerror or error)
        return STARTUP_FAILURE
    log.info("%d API processes on http://%s:%d", settings.api_processes, settings.host, settings.port)
    return Supervisor(settings, listener).run()


def main() -> None:
    """Run from the command line."""
    settings = read_or_exit()
    make_private(settings.data_dir)
    inheritance = read_inheritance(sys.argv)
    if inheritance is None and settings.api_processes > 1:
        sys.exit(supervise(settings))
    from api.edge.server import run

    run(settings, inheritance)


if __name__ == "__main__":
    main()
