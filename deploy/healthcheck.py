"""Whether the process of this container is well: `healthcheck.py api`, or `healthcheck.py safelight-worker [SECONDS]`.

The API is asked over HTTP. Workers and the sweep listen on nothing; they are well while they look at the database, so
Postgres is asked whether a connection by that name from this address has run anything lately. Exit code 0 is well.
Needs only the standard library and psycopg: it runs every few seconds, so it must start quickly.
"""

import http.client
import os
import sys

PATIENCE_SECONDS = 3
LATELY_SECONDS = 60
"""Many times the interval at which a worker looks for jobs, a busy one renews its lease, and the sweep sweeps."""

SEEN = """
    SELECT count(*) FROM pg_stat_activity
    WHERE application_name = %s AND client_addr IS NOT DISTINCT FROM inet_client_addr()
      AND state_change > clock_timestamp() - make_interval(secs => %s)
"""


def api_answers(port: int) -> bool:
    """Whether the API on this machine answers /healthz."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def seen_in_the_database(name: str, database_url: str, lately: float = LATELY_SECONDS) -> bool:
    """Whether a process of this address, connected by this name, has used the database in the last so many seconds."""
    import psycopg

    try:
        with psycopg.connect(database_url, connect_timeout=PATIENCE_SECONDS) as database:
            row = database.execute(SEEN, [name, lately]).fetchone()
    except psycopg.Error:
        return False
    return row is not None and row[0] > 0


def main(name: str, *seconds: str) -> int:
    """Exit code for a process by its name."""
    if name == "api":
        well = api_answers(int(os.environ.get("SAFELIGHT_PORT", "8000")))
    else:
        well = seen_in_the_database(name, os.environ["SAFELIGHT_DATABASE_URL"], *map(float, seconds))
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
