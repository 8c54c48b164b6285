"""From a request to an image: the overhead of Safelight over bare references. `python -m bench.submit_to_done`.

Four figures: the jobs accepted per second, the jobs completed per second, the time of a single job on an idle service,
and the share of the time in which the device generates. Each has a reference, measured in turn in the same round.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from bench import references
from bench.directory import own_directory
from bench.load import Load, load
from bench.service import Service
from bench.table import Line, at_least, at_most, quantile, render
from core.generation import ImageRequest
from core.parameters.job import ResolvedParameters
from worker.generators.fake import FakeGenerator

PROMPT = "a red fox sleeping in the snow"


def body(model: str) -> str:
    """A request for one image."""
    return f'{{"prompt": "{PROMPT}", "model": "{model}", "size": "64x64"}}'


def accept(service: Service, rounds: int, seconds: float, connections: int) -> list[Line]:
    """Jobs accepted a second over HTTP, beside an empty endpoint and two handlers that store one row."""
    empty = Line("accepted jobs", "1/s", "the same API's empty endpoint", at_least(0.35))
    bare_line = Line("", "1/s", "bare FastAPI, one INSERT (psycopg)")
    orm = Line("", "1/s", "bare FastAPI, one ORM row (SQLAlchemy)", at_least(4))
    p50 = Line("submit p50", "ms", "one ORM row: p50")
    p99 = Line("submit p99", "ms", "one ORM row: p99")

    def press(url: str, content: str | None, status: int) -> Load:
        return load(url, content, connections=connections, seconds=seconds, expect=status)

    for warm in (True, *(False for _ in range(rounds))):
        service.clear()
        against_empty = press(f"{service.url}/healthz", None, 200)
        ours = press(f"{service.url}/v1/jobs", body("unheard"), 202)
        against_bare = press(f"{service.reference_url}/insert", body("unheard"), 202)
        against_orm = press(f"{service.reference_url}/orm", body("unheard"), 202)
        if warm:
            continue
        empty.add(ours.rate, against_empty.rate)
        bare_line.add(ours.rate, against_bare.rate)
        orm.add(ours.rate, against_orm.rate)
        p50.add(ours.p50 * 1000, against_orm.p50 * 1000)
        p99.add(ours.p99 * 1000, against_orm.p99 * 1000)
    return [empty, bare_line, orm, p50, p99]


def finish(service: Service, rounds: int, jobs: int, connections: int) -> list[Line]:
    """Jobs done a second, from the first accepted to the last completed, while the client posts them."""
    bare_line = Line("completed jobs", "1/s", "a loop: generate, encode, write")
    celery = Line("completed jobs", "1/s", "Celery's tasks that do nothing", at_least(1))
    p99 = Line("submit p99 while a worker runs", "ms", "the same without work for it: p99", at_most(1.15))
    for number in range(rounds):
        service.clear()
        press = load(f"{service.url}/v1/jobs", body("fake"), connections=connections, requests=jobs, expect=202)
        service.until_done()
        rate = jobs / database_seconds(service, jobs)
        check_files(service, jobs)
        bare_line.add(rate, jobs / seconds_of(partial(loop, service, "fake", jobs, number)))
        celery.add(rate, jobs / seconds_of(partial(celery_tasks, service, jobs)))
        quiet = load(f"{service.url}/v1/jobs", body("unheard"), connections=connections, requests=jobs, expect=202)
        p99.add(press.p99 * 1000, quiet.p99 * 1000)
    return [bare_line, celery, p99]


def idle(service: Service, rounds: int, jobs: int) -> list[Line]:
    """What one job takes when nothing else waits, beside one durable commit."""
    names = ("submit to started", "started to completed", "submit to completed", "POST to the end of ?wait, client")
    lines = [Line(f"{name} {at}", "ms", f"one durable commit: {at}") for name in names for at in ("p50", "p99")]
    lines[0].target = at_most(5)
    for _ in range(rounds):
        service.clear()
        commits: list[float] = []
        walls: list[float] = []
        for number in range(jobs):
            commits.append(seconds_of(partial(one_commit, service, number)))
            walls.append(seconds_of(partial(one_job, service)))
        rows = service.query("SELECT created_at, started_at, finished_at FROM jobs ORDER BY id")
        spans = (
            [(row["started_at"] - row["created_at"]).total_seconds() for row in rows],
            [(row["finished_at"] - row["started_at"]).total_seconds() for row in rows],
            [(row["finished_at"] - row["created_at"]).total_seconds() for row in rows],
            walls,
        )
        shares = [(span, share) for span in spans for share in (0.5, 0.99)]
        for line, (span, share) in zip(lines, shares, strict=True):
            line.add(quantile(span, share) * 1000, quantile(commits, share) * 1000)
    return lines


def busy(service: Service, rounds: int, batches: int, connections: int) -> list[Line]:
    """The share of the time from the first claim to the last image in which the device generates."""
    share = Line("device busy", "s", "from first claim to last image", at_least(0.99))
    rate = Line("images of a slow model", "1/s", "a loop: generate, encode, write", at_least(0.98))
    jobs = batches * service.model("busy").microbatch_size
    for number in range(rounds):
        service.clear()
        load(f"{service.url}/v1/jobs", body("busy"), connections=connections, requests=jobs, expect=202)
        service.until_done()
        (device_row,) = service.query(DEVICE_SECONDS)
        share.add(device_row["busy"], device_row["wall"])
        rate.add(jobs / device_row["wall"], jobs / seconds_of(partial(loop, service, "busy", jobs, number)))
    return [share, rate]


DEVICE_SECONDS = """
    WITH passes AS (
        SELECT min(started_at) AS began, max((receipt->>'device_seconds')::float8) AS seconds
        FROM jobs JOIN images ON images.job_id = jobs.id
        GROUP BY split_part(storage_key, '/', 3)
    )
    SELECT sum(seconds) AS busy,
           extract(epoch FROM max(began + make_interval(secs => seconds)) - min(began))::float8 AS wall
    FROM passes
"""
"""A micro-batch is a lease, and its images' keys carry it."""


def database_seconds(service: Service, jobs: int) -> float:
    """From the first job's creation to the last one's completion, by the database's clock."""
    (row,) = service.query(
        "SELECT count(*) FILTER (WHERE status = 'completed') AS done, "
        "extract(epoch FROM max(finished_at) - min(created_at))::float8 AS seconds FROM jobs"
    )
    if row["done"] != jobs:
        raise RuntimeError(f"{row['done']} of {jobs} jobs were completed")
    return float(row["seconds"])


def check_files(service: Service, jobs: int) -> None:
    """Every image lies where the database says, with the size it says."""
    rows = service.query("SELECT storage_key, bytes FROM images")
    images = service.directory / "images"
    complete_rows = [row for row in rows if (images / row["storage_key"]).stat().st_size == row["bytes"]]
    if len(complete_rows) != jobs:
        raise RuntimeError(f"{len(complete_rows)} of {jobs} images are whole")


def one_commit(service: Service, number: int) -> None:
    """One row, durably."""
    service.database.execute(references.INSERT, [f"{number}", PROMPT, "64x64"])


def one_job(service: Service) -> None:
    """Post a job and wait for its end, as a client does."""
    job = service.client.post("/v1/jobs", content=body("fake")).raise_for_status().json()
    final = service.client.get(f"/v1/jobs/{job['id']}", params={"wait": 60}).raise_for_status().json()
    if final["status"] != "completed":
        raise RuntimeError(f"{job['id']} is {final['status']}")


def loop(service: Service, model_id: str, jobs: int, number: int) -> None:
    """Draw as many images without a service around them."""
    model = service.model(model_id)
    requests = [
        ImageRequest(
            PROMPT,
            ResolvedParameters(
                size="64x64", steps=model.steps.default, guidance_scale=model.guidance_scale.default, seed=seed
            ),
        )
        for seed in range(jobs)
    ]
    directory = service.directory / "bare" / f"{model_id}-{number}"
    references.generate_bare(FakeGenerator(model), requests, model.microbatch_size, directory)


def celery_tasks(service: Service, tasks: int, queue: str = "celery") -> None:
    """Send tasks that do nothing, and wait until the last of them has been done."""
    with references.celery_app.connection_for_write(service.settings.redis_url) as connection:
        for _ in range(tasks):
            references.celery_app.send_task("reference.nothing", connection=connection, queue=queue)
        references.celery_app.send_task("reference.done", connection=connection, queue=queue)
    if service.redis.blpop([references.DONE_KEY], timeout=120) is None:
        raise TimeoutError("Celery's tasks were not done in 120 s")


def seconds_of(work: Callable[[], object]) -> float:
    """Seconds that some work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


PARTS = ("accept", "finish", "idle", "busy")


def measure(
    directory: Path,
    parts: Sequence[str] = PARTS,
    *,
    rounds: int,
    jobs: int,
    connections: int,
    seconds: float,
    singles: int,
    batches: int,
) -> list[Line]:
    """Start a Safelight in an empty directory and take the figures; a round of each part goes by rounds, in turn."""
    lines: list[Line] = []
    with Service(directory) as service:
        one_job(service)  # the worker has made its connections before anything counts
        if "accept" in parts:
            lines += accept(service, rounds, seconds, connections)
        if "finish" in parts:
            lines += finish(service, rounds, jobs, connections)
        if "idle" in parts:
            lines += idle(service, rounds, singles)
        if "busy" in parts:
            lines += busy(service, rounds, batches, connections)
    return lines


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1000, help="jobs to complete, a round")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each endpoint is pressed, a round")
    parser.add_argument("--singles", type=int, default=100, help="single jobs, a round")
    parser.add_argument("--batches", type=int, default=20, help="micro-batches of a slow model, a round")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS)
    arguments = parser.parse_args()
    with own_directory() as directory:
        lines = measure(
            directory, arguments.only, rounds=arguments.rounds, jobs=arguments.jobs, connections=arguments.connections,
            seconds=arguments.seconds, singles=arguments.singles, batches=arguments.batches,
        )  # fmt: skip
    print(render(lines))


if __name__ == "__main__":
    main()
