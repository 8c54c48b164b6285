"""Processor time of the checks of a submit: keys, and limits of projects. `python -m bench.checks`.

Several processes of the API serve one database: one without keys, one with a key, and one with limits as well. Each
gets the same submits, in turn. The figures are those of the API and of Postgres together.
"""

import argparse

import psutil

from bench.directory import own_directory
from bench.load import load
from bench.processor import seconds_of
from bench.service import Service, until_answers
from bench.submit_to_done import body
from bench.table import Line, at_most, render
from cli.local import processes
from cli.local.ports import free_port
from core import keys

MANY = "1000000000"
VARIANTS = {
    "no key": {},
    "a key": {"SAFELIGHT_AUTH": "on"},
    "a key, requests and images per minute": {
        "SAFELIGHT_AUTH": "on",
        "SAFELIGHT_LIMIT_REQUESTS_PER_MINUTE": MANY,
        "SAFELIGHT_LIMIT_IMAGES_PER_MINUTE": MANY,
    },
    "a key, jobs and device-seconds": {
        "SAFELIGHT_AUTH": "on",
        "SAFELIGHT_LIMIT_JOBS": MANY,
        "SAFELIGHT_LIMIT_DEVICE_SECONDS_PER_DAY": MANY,
    },
}
"""The checks that an accepted job passes, and the settings of their process."""


def add_key(service: Service) -> str:
    """A new key of a new project."""
    key = keys.new_key()
    service.database.execute("INSERT INTO projects (id, name) VALUES ('proj_bench', 'bench')")
    service.database.execute(
        "INSERT INTO api_keys (id, project_id, name, prefix, hash) VALUES ('key_bench', 'proj_bench', 'bench', '', %s)",
        [keys.hash_key(key)],
    )
    return key


def measure(service: Service, rounds: int, requests: int, connections: int) -> list[Line]:
    """The milliseconds of each variant beside those of the first."""
    key = add_key(service)
    ports = {name: free_port() for name in VARIANTS}
    for name, settings in VARIANTS.items():
        child = service.run(name, processes.api(), {"SAFELIGHT_PORT": str(ports[name]), **settings})
        until_answers(child, f"http://127.0.0.1:{ports[name]}/healthz")
    postgres = psutil.Process(service.database.info.backend_pid).parent()
    lines = {name: Line(name, "ms", "no key", at_most(1.1)) for name in VARIANTS}
    for is_warm in (False, *(True for _ in range(rounds))):
        figures = {}
        for name, port in ports.items():
            service.clear()
            servers = [psutil.Process(service.pid(name)), *([] if postgres is None else postgres.children())]
            before = seconds_of(servers)
            url = f"http://:{key}@127.0.0.1:{port}/v1/jobs" if VARIANTS[name] else f"http://127.0.0.1:{port}/v1/jobs"
            load(url, body("unheard"), connections=connections, requests=requests, expect=202)
            figures[name] = 1000 * (seconds_of(servers) - before) / requests
        if is_warm:
            for name, line in lines.items():
                line.add(figures[name], figures["no key"])
    return list(lines.values())[1:]


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=3000, help="of each kind, a round")
    parser.add_argument("--connections", type=int, default=32)
    arguments = parser.parse_args()
    with own_directory() as directory, Service(directory) as service:
        lines = measure(service, arguments.rounds, arguments.requests, arguments.connections)
    print(render(lines))


if __name__ == "__main__":
    main()
