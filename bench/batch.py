"""Fifty thousand prompts at once: insertion, claims, generation, and the effect on other jobs. `python -m bench.batch`.

Everything is measured on one Safelight in one run, in rounds. The bare COPY inserts the very rows that the batch before
made, from memory, into the same table with the same indexes. A wait is counted in micro-batches of the model that is at
work (0.3 s each), from the database's own times.
"""

import argparse
import json
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from bench import queue_length as long_line
from bench import references
from bench.directory import own_directory
from bench.service import Service, until
from bench.table import Line, at_least, at_most, render
from core.job_inserts import COLUMNS
from core.tables import jobs

PROMPT = "a red fox sleeping in the snow, number {}"
PARTS = ("insert", "memory", "wait", "groups", "claim")
MICROBATCH_SECONDS = 0.3
GROUPS = 8
READ_SECONDS = 300.0


def insert(service: Service, rounds: int, lines: int) -> list[Line]:
    """Prompts and a file, from the first byte sent to all jobs committed, beside COPY."""
    from_prompts = Line(f"{lines:,} prompts, POST to committed", "rows/s", "bare COPY of these rows", at_least(0.8))
    beside_orm = Line("the same", "rows/s", "ORM add_all of one narrow row each", at_least(8))
    from_file = Line(
        f"{lines:,} lines of JSONL, upload to committed", "rows/s", "bare COPY of these rows", at_least(0.6)
    )
    prompts = [PROMPT.format(number) for number in range(lines)]
    for _ in range(rounds):
        service.clear()
        seconds = seconds_of(lambda: submit(service, prompts=prompts, model="unheard", size="64x64"))
        bare_seconds = repeat_copy(service)
        from_prompts.add(lines / seconds, lines / bare_seconds)
        textbook = seconds_of(lambda: references.insert_all(str(service.settings.database_url), prompts))
        beside_orm.add(lines / seconds, lines / textbook)
        service.clear()
        file_seconds = seconds_of(lambda: submit_file(service, jsonl(prompts)))
        from_file.add(lines / file_seconds, lines / bare_seconds)
    service.clear()
    return [from_prompts, beside_orm, from_file]


def memory(service: Service, megabytes: int) -> list[Line]:
    """What a file of many megabytes costs the API and the batch processor in memory, above what they had before."""
    padding = "snow " * 700
    body = jsonl([f"{PROMPT.format(number)} {padding}" for number in range(megabytes * 1_000_000 // 3700)])
    table_lines = []
    with peak_of(service.pid("api")) as api, peak_of(service.pid("sweep")) as processor:
        submit_file(service, body)
    for name, peak in (("API", api), ("batch processor", processor)):
        line = Line(
            f"memory of the {name} above idle, {len(body) / 1e6:.0f} MB of JSONL", "MB", "the file", at_most(150, "MB")
        )
        line.add((max(peak) - peak[0]) / 1e6, len(body) / 1e6)
        table_lines.append(line)
    service.clear()
    return table_lines


def wait(service: Service, samples: int, lines: int) -> list[Line]:
    """How long single jobs wait that come while a batch of the same model is at work."""
    batch = submit(service, prompts=[PROMPT.format(number) for number in range(lines)], model="busy")
    until(lambda: bool(service.query("SELECT 1 FROM jobs WHERE status = 'in_progress'")), 60, "the batch to begin")
    for number in range(samples):
        single = service.client.post("/v1/jobs", json={"prompt": "one", "model": "busy"}).json()["id"]
        service.client.get(f"/v1/jobs/{single}", params={"wait": 60})
        time.sleep(0.07 * (number % 7))  # seven offsets, so that not all samples meet the same moment of a micro-batch
    waits = [
        row["waited"] / MICROBATCH_SECONDS
        for row in service.query(
            "SELECT extract(epoch FROM started_at - created_at)::float AS waited FROM jobs"
            " WHERE batch_id IS NULL AND model = 'busy'"
        )
    ]
    service.client.post(f"/v1/batches/{batch['id']}/cancel")
    until_ended(service, str(batch["id"]))
    service.clear()
    table_lines = []
    for name, value in (("p50", statistics.median(waits)), ("longest", max(waits))):
        line = Line(
            f"a single job's wait beside {lines:,} of a batch, {name} of {samples}", "micro-batches", "one", at_most(2)
        )
        line.add(value, 1.0)
        table_lines.append(line)
    return table_lines


def groups(service: Service, rounds: int, batches: int) -> list[Line]:
    """How full micro-batches are, and how busy the device: a batch of one kind, and eight kinds in turn."""
    alike = Line("mean micro-batch, all alike", "images", "the model's best", at_least(0.95))
    mixed_line = Line(f"mean micro-batch, {GROUPS} kinds in turn", "images", "the model's best", at_least(0.875))
    busy = Line("a batch, begun to done", "s", "its micro-batches alone")
    for _ in range(rounds):
        for line, kinds in ((alike, 1), (mixed_line, GROUPS)):
            requests = [
                {"prompt": PROMPT.format(number), "model": "busy", "guidance_scale": 1.0 + number % kinds}
                for number in range(batches * 8)
            ]
            batch = submit(service, requests=requests)
            until_ended(service, str(batch["id"]))
            line.add(mean_microbatch(service), 8.0)
            if kinds == 1:
                busy.add(processing_seconds(service), batches * MICROBATCH_SECONDS)
            service.clear()
    return [alike, mixed_line, busy]


def claim(directory: Path, depth: int) -> list[Line]:
    """A claim at the depth of twenty such batches; `bench.queue_length` says more."""
    place = directory / "line"
    place.mkdir()
    place.chmod(0o755)
    return long_line.measure(place, depth=depth, rounds=2, claims=200, bulk=100, churn=0)


def submit(service: Service, **fields: object) -> dict[str, object]:
    """Post a batch."""
    answer = service.client.post("/v1/batches", json=fields)
    answer.raise_for_status()
    batch: dict[str, object] = answer.json()
    return batch


def submit_file(service: Service, content: bytes) -> None:
    """Upload a file, make a batch of it, and wait until its jobs are there."""
    form = {"file": ("batch.jsonl", content)}
    file = service.client.post("/v1/files", data={"purpose": "batch"}, files=form).raise_for_status().json()
    batch = submit(service, input_file_id=file["id"], endpoint="/v1/images/generations")
    query = "SELECT 1 FROM batches WHERE id = %s AND status = 'in_progress'"
    until(lambda: bool(service.query(query, batch["id"])), READ_SECONDS, "the batch to be read")


def until_ended(service: Service, batch_id: str) -> None:
    """Wait until a batch has its files."""
    query = "SELECT 1 FROM batches WHERE id = %s AND counts IS NOT NULL"
    until(lambda: bool(service.query(query, batch_id)), READ_SECONDS, "the batch to end")


def jsonl(prompts: list[str]) -> bytes:
    """Lines as OpenAI's guide writes them."""
    lines = (
        {
            "custom_id": f"request-{number}",
            "method": "POST",
            "url": "/v1/images/generations",
            "body": {"model": "unheard", "prompt": prompt, "size": "64x64"},
        }
        for number, prompt in enumerate(prompts)
    )
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def repeat_copy(service: Service) -> float:
    """Seconds that Postgres takes for the rows of the only batch, by COPY from memory, commit included."""
    names = sql.SQL(", ").join(sql.Identifier(jobs.c[name].name) for name in COLUMNS)
    with psycopg.connect(str(service.settings.database_url)) as connection, connection.cursor() as cursor:
        with cursor.copy(sql.SQL("COPY (SELECT {} FROM jobs) TO STDOUT").format(names)) as rows:
            content = b"".join(bytes(row) for row in rows)
        cursor.execute("TRUNCATE jobs CASCADE")
        connection.commit()

        def copy() -> None:
            with cursor.copy(sql.SQL("COPY jobs ({}) FROM STDIN").format(names)) as into:
                for start in range(0, len(content), 2**18):
                    into.write(content[start : start + 2**18])
            connection.commit()

        return seconds_of(copy)


def mean_microbatch(service: Service) -> float:
    """The mean number of images per pass over the device."""
    rows = service.query("SELECT (receipt->>'microbatch')::int AS size FROM images")
    passes = sum(1.0 / int(row["size"]) for row in rows)
    return len(rows) / passes


def processing_seconds(service: Service) -> float:
    """The seconds from the start of the first job to the end of the last one."""
    (row,) = service.query("SELECT extract(epoch FROM max(finished_at) - min(started_at))::float AS seconds FROM jobs")
    return float(row["seconds"])


def seconds_of(work: Callable[[], object]) -> float:
    """Seconds that something takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@contextmanager
def peak_of(pid: int) -> Iterator[list[int]]:
    """Resident bytes of a process, the first before and the others during the context."""
    process = psutil.Process(pid)
    samples = [process.memory_info().rss]
    has_ended = threading.Event()

    def sample_memory() -> None:
        while not has_ended.wait(0.02):
            samples.append(process.memory_info().rss)

    sampler = threading.Thread(target=sample_memory)
    sampler.start()
    try:
        yield samples
    finally:
        has_ended.set()
        sampler.join()


def measure(
    directory: Path,
    *,
    parts: list[str],
    rounds: int,
    lines: int,
    megabytes: int,
    samples: int,
    batches: int,
    depth: int,
) -> list[Line]:
    """Measure the selected parts."""
    table_lines: list[Line] = []
    with Service(directory, sweeps=True) as service:
        if "insert" in parts:
            table_lines += insert(service, rounds, lines)
        if "memory" in parts:
            table_lines += memory(service, megabytes)
        if "wait" in parts:
            table_lines += wait(service, samples, lines)
        if "groups" in parts:
            table_lines += groups(service, rounds, batches)
    if "claim" in parts:
        table_lines += claim(directory, depth)
    return table_lines


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lines", type=int, default=50_000)
    parser.add_argument("--megabytes", type=int, default=185, help="size of the file that memory is measured with")
    parser.add_argument("--samples", type=int, default=20, help="single jobs beside a batch")
    parser.add_argument("--microbatches", type=int, default=24, help="of a batch; a multiple of 8, for full ones")
    parser.add_argument("--depth", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with own_directory() as directory:
        lines = measure(
            directory, parts=arguments.only, rounds=arguments.rounds, lines=arguments.lines,
            megabytes=arguments.megabytes, samples=arguments.samples,
            batches=arguments.microbatches, depth=arguments.depth,
        )  # fmt: skip
    print(render(lines))


if __name__ == "__main__":
    main()
