"""The studio with 100,000 jobs in the database: the calls of each view, and what watching 50 cards costs the API.

    python -m bench.studio

Every call of a view is sent in turn, `--rounds` times. Its reference is `GET /healthz` in the same round, which reads
nothing. The cards belong to jobs that a worker draws slowly: one stream carries their steps, as in a browser.
"""

import argparse
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from bench.directory import own_directory
from bench.processor import processor_seconds, shares
from bench.service import Service, until
from bench.table import Line, at_most, quantile, render
from core.ids import new_ids

CATALOG = """
default = "fake"

[[models]]
id = "fake"
generator = "fake"
sizes = ["64x64"]
steps = { default = 4, min = 1, max = 1000 }
microbatch_size = 64
seconds_per_image = 0.001

[[models]]
id = "cards"  # slow enough to be watched: a step takes 0.2 s
generator = "fake"
sizes = ["64x64"]
steps = { default = 400, min = 1, max = 1000 }
microbatch_size = 64
seconds_per_image = 0.001
options = { step_seconds = 0.2 }
"""

DAY = 86_400
VIEWS: Mapping[str, tuple[str, ...]] = {
    "create": ("/v1/models", "/v1/jobs?limit=50"),
    "gallery": ("/v1/jobs?limit=50",),
    "gallery, far down": ("/v1/jobs?limit=50&after={middle}",),
    "gallery, a search": ("/v1/jobs?limit=50&prompt=fox",),
    "gallery, failed ones": ("/v1/jobs?limit=50&status=failed",),
    "image": ("/v1/images/{image}", "/v1/images/{image}/receipt", "/v1/jobs/{job}"),
    "batches": ("/v1/batches?limit=25",),
    "webhooks": ("/v1/webhook_endpoints?limit=100",),
    "models": ("/v1/models",),
    "usage": (
        "/v1/organization/usage/images?start_time={month}&bucket_width=1d&limit=30&group_by=model",
        "/v1/organization/costs?start_time={month}&bucket_width=1d&limit=30",
        "/v1/organization/limits",
    ),
    "keys": ("/v1/organization/projects/proj_default/api_keys?limit=50",),
    "operator": ("/v1/admin/queues", "/v1/admin/workers"),
    "operator, failures": ("/v1/admin/failures?hours=24",),
    "operator, slowest": ("/v1/admin/slow_jobs",),
    "operator, storage": ("/v1/admin/storage",),
}
"""The calls of each view. A view waits for all of them; here they follow each other, which takes longer."""


def fill(service: Service, source: str, count: int) -> tuple[str, str]:
    """Insert completed jobs like one that exists. Returns a job in their middle, and its image."""
    job_ids, image_ids = new_ids("job"), new_ids("img")
    middle = ("", "")
    for begin in range(0, count, 5000):
        ids = [(next(job_ids), next(image_ids)) for _ in range(min(5000, count - begin))]
        if begin <= count // 2:
            middle = ids[-1]
        for table, pairs in (("jobs", [(job, "") for job, _ in ids]), ("images", ids)):
            _copy(service, table, source, pairs)
    service.database.execute("ANALYZE jobs, images")
    return middle


def _copy(service: Service, table: str, source: str, ids: list[tuple[str, str]]) -> None:
    """Copy a job's row, or that of its image, with other ids."""
    new_values = (
        {"id": "ids.job"}
        if table == "jobs"
        else {"id": "ids.image", "job_id": "ids.job", "storage_key": "row.storage_key || ids.image"}
    )
    rows = service.query(
        "SELECT column_name FROM information_schema.columns WHERE table_name = %s AND is_generated = 'NEVER'", table
    )
    names = [row["column_name"] for row in rows]
    values = ", ".join(new_values.get(name, f'row."{name}"') for name in names)
    columns = ", ".join(f'"{name}"' for name in names)
    key = "id" if table == "jobs" else "job_id"
    service.database.execute(
        f"INSERT INTO {table} ({columns}) SELECT {values} FROM {table} AS row, "  # noqa: S608 - our own names
        f"unnest(%s::text[], %s::text[]) AS ids(job, image) WHERE row.{key} = %s",
        ([job for job, _ in ids], [image for _, image in ids], source),
    )


def measure_views(service: Service, rounds: int, places: Mapping[str, str]) -> list[Line]:
    """The 95th percentile of each view."""
    lines = []
    for view, paths in VIEWS.items():
        line = Line(f"view {view}: p95", "ms", "GET /healthz", at_most(200, "ms"))
        ours, theirs = [], []
        for _ in range(rounds):
            ours.append(sum(_milliseconds(service.client, path.format(**places)) for path in paths))
            theirs.append(_milliseconds(service.client, "/healthz"))
        line.add(quantile(ours, 0.95), quantile(theirs, 0.95))
        lines.append(line)
    return lines


def _milliseconds(client: httpx.Client, path: str) -> float:
    began = time.perf_counter()
    client.get(path).raise_for_status()
    return 1000 * (time.perf_counter() - began)


def measure_cards(service: Service, cards: int, seconds: float) -> list[Line]:
    """The share of a core that the API takes while a page follows cards. Its reference: without the page."""
    service.client.post("/v1/admin/queues/local/pause").raise_for_status()  # so that one micro-batch has them all
    for _ in range(cards):
        service.client.post("/v1/jobs", json={"prompt": "a card", "model": "cards"}).raise_for_status()
    service.client.post("/v1/admin/queues/local/resume").raise_for_status()
    query: Mapping[str, str | int] = {"limit": cards, "model": "cards", "status": "in_progress"}
    until(lambda: len(_jobs(service, query)) == cards, 60, "all cards to be drawn")
    ids = [job["id"] for job in _jobs(service, query)]
    without = _share(service, seconds)
    stop, events = threading.Event(), []

    def follow() -> None:
        query = httpx.QueryParams([("job_id", job_id) for job_id in ids])
        with httpx.stream("GET", f"{service.url}/v1/jobs/events", params=query, timeout=60) as stream:
            for line in stream.iter_lines():
                events.append(line) if line.startswith("event:") else None
                if stop.is_set():
                    return

    page = threading.Thread(target=follow)
    page.start()
    until(lambda: len(events) > 2 * cards, 60, "steps of the cards")
    count = len(events)
    share = _share(service, seconds)
    print(f"The page gets {(len(events) - count) / seconds:.0f} events a second.")
    stop.set()
    page.join()
    line = Line(
        f"CPU of the API while a page watches {cards} cards", "% of a core", "no page", at_most(5, "% of a core")
    )
    line.add(share, without)
    return [line]


def _jobs(service: Service, query: Mapping[str, str | int]) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = service.client.get("/v1/jobs", params=query).json()["data"]
    return jobs


def _share(service: Service, seconds: float) -> float:
    """Percent of a core that the API takes."""
    before = processor_seconds(service.pid("api"))
    time.sleep(seconds)  # the time over which it is measured
    return sum(shares(before, processor_seconds(service.pid("api")), seconds).values())


def measure(directory: Path, *, jobs: int, rounds: int, cards: int, seconds: float) -> list[Line]:
    """All lines."""
    with Service(directory, catalog=CATALOG) as service:
        job = service.client.post("/v1/jobs", json={"prompt": "a red fox", "metadata": {"run": "7"}}).json()["id"]
        until(lambda: "completed" in service.client.get(f"/v1/jobs/{job}").text, 60, "a job to be done")
        middle, image = fill(service, job, jobs)
        places = {
            "middle": middle,
            "job": middle,
            "image": image,
            "month": str(int(time.time()) // DAY * DAY - 29 * DAY),
        }
        return [*measure_views(service, rounds, places), *measure_cards(service, cards, seconds)]


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--cards", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=20)
    arguments = parser.parse_args()
    with own_directory() as directory:
        lines = measure(
            directory, jobs=arguments.jobs, rounds=arguments.rounds, cards=arguments.cards, seconds=arguments.seconds
        )
    print(render(lines))


if __name__ == "__main__":
    main()
