"""Health check of a container: `healthcheck.py api`, or `healthcheck.py safelight-worker [SECONDS]`.

The API must answer over HTTP. Workers, sweep and deliverer have no port; they must have used the database within the
last SECONDS, which Postgres shows for each connection by its name and address. Exit code 0: healthy. The script needs
only the standard library and psycopg, so that it starts fast: it runs every few seconds.
"""

import http.client
import os
import sys

TIMEOUT_SECONDS = 3
MAX_IDLE_SECONDS = 60
"""Much longer than the intervals at which workers look for jobs or renew leases, and at which the sweep runs."""

COUNT_ACTIVE = """
    SELECT count(*) FROM pg_stat_activity
    WHERE application_name = %s AND client_addr IS NOT DISTINCT FROM inet_client_addr()
      AND state_change > clock_timestamp() - make_interval(secs => %s)
"""


def api_answers(port: int) -> bool:
    """Whether the API on this machine answers 200 to /healthz."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def uses_database(name: str, database_url: str, max_idle_seconds: float = MAX_IDLE_SECONDS) -> bool:
    """Whether a connection with this name, from this address, has been active within the last seconds."""
    import psycopg

    try:
        with psycopg.connect(database_url, connect_timeout=TIMEOUT_SECONDS) as database:
            row = database.execute(COUNT_ACTIVE, [name, max_idle_seconds]).fetchone()
    except psycopg.Error:
        return False
    return row is not None and row[0] > 0


def main(name: str, *seconds: str) -> int:
    """The exit code for a process, by its name."""
    if name == "api":
        is_healthy = api_answers(int(os.environ.get("SAFELIGHT_PORT", "8000")))
    else:
        is_healthy = uses_database(name, os.environ["SAFELIGHT_DATABASE_URL"], *map(float, seconds))
    return 0 if is_healthy else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
