"""Safelight beside other ways to serve the same model: `python -m bench.peers`. `make bench` installs the peers.

All draw with Safelight's own generator and write a file for each image, on the same machine, with the same Postgres and
Valkey, one after the other in each round. First a generator that does no work, which shows the cost of a job. Then the
bundled model on one processor core, which stands for a device.
"""

import argparse
import os
import time
from functools import partial
from pathlib import Path

from bench.directory import own_directory
from bench.peers import drawing as peers_drawing
from bench.peers.servers import LABELS, PROMPT, Drawing, Peer, run_batch, run_singles
from bench.service import CATALOG, Service, in_place_of
from bench.submit_to_done import celery_tasks, seconds_of
from bench.table import Line, at_least, at_most, render
from cli.environment import ROOT
from cli.local import processes

BUNDLED_ENTRY = f"""
[[models]]
id = "bundled"  # the model that Safelight ships
generator = "diffusers_local"
source = "{ROOT / "models" / "unclip-mini"}"
sizes = ["128x128"]
steps = {{ default = 12, min = 2, max = 100 }}
guidance_scale = {{ default = 5.0, min = 1.0, max = 20.0 }}
microbatch_size = 8
seconds_per_image = 0.2
"""
NO_WORK = Drawing("fake", "64x64")
MODEL = Drawing("bundled", "128x128")
MICROBATCH = 8


def without_work(service: Service, rounds: int, jobs: int, batch: int, connections: int) -> list[Line]:
    """Jobs that cost nothing to draw: rates, the tail of the submits, and processor time."""
    beside_celery = Line(f"{batch:,} jobs of a batch, POST to all done", "1/s", "Celery's tasks that do nothing")
    beside_celery.target = at_least(3)
    beside_durable = Line("the same", "1/s", LABELS["durable"], at_least(40))
    p99 = Line("submit p99 while a worker runs", "ms", LABELS["durable"], at_most(0.1))
    single = Line("processor time of a single job, all servers", "ms", LABELS["durable"], at_most(0.0667))
    single_textbook = Line("the same", "ms", LABELS["textbook"], at_most(0.2))
    in_batch = Line("processor time of a job in a batch", "ms", "single", at_most(0.25, "ms"))
    completed = {name: Line("completed single jobs", "1/s", label) for name, label in LABELS.items()}
    peers = {name: Peer(service, name, NO_WORK) for name in LABELS}
    for peer in peers.values():
        peer.run(16, connections)  # loads what the first request loads
    run_singles(service, NO_WORK, 16, connections)
    for _ in range(rounds):
        celery = batch / seconds_of(partial(celery_tasks, service, batch, "solo"))
        ours_batch = run_batch(service, NO_WORK, batch)
        ours = run_singles(service, NO_WORK, jobs, connections)
        theirs = {name: peer.run(jobs, connections) for name, peer in peers.items()}
        beside_celery.add(ours_batch.rate, celery)
        beside_durable.add(ours_batch.rate, theirs["durable"].rate)
        p99.add(ours.p99 * 1000, theirs["durable"].p99 * 1000)
        single.add(ours.processor_ms, theirs["durable"].processor_ms)
        single_textbook.add(ours.processor_ms, theirs["textbook"].processor_ms)
        in_batch.add(ours_batch.processor_ms, ours.processor_ms)
        for name, line in completed.items():
            line.add(ours.rate, theirs[name].rate)
    return [beside_celery, beside_durable, *completed.values(), p99, single, single_textbook, in_batch]


def with_model(service: Service, rounds: int, images: int, connections: int) -> list[Line]:
    """Images of the bundled model a second, from the first request to the last image."""
    targets = {"litserve": at_least(1), "textbook": at_least(2.5)}
    bare = Line("images of the bundled model", "1/s", "a loop: generate, encode, write", at_least(0.95))
    lines = {name: Line("the same", "1/s", label, targets.get(name)) for name, label in LABELS.items()}
    peers = {name: Peer(service, name, MODEL) for name in lines}
    for peer in peers.values():
        peer.run(MICROBATCH, connections)
    run_singles(service, MODEL, MICROBATCH, connections)
    loop(service, MICROBATCH)
    for _ in range(rounds):
        before = images / seconds_of(partial(loop, service, images))
        ours = run_singles(service, MODEL, images, connections)
        for name, peer in peers.items():
            lines[name].add(ours.rate, peer.run(images, connections).rate)
        after = images / seconds_of(partial(loop, service, images))
        bare.add(ours.rate, (before + after) / 2)
    return [bare, *lines.values()]


def loop(service: Service, images: int) -> None:
    """Draw so many images in full micro-batches, without a service around them."""
    output = service.directory / f"loop-{time.monotonic_ns()}"
    output.mkdir()
    os.environ.update(MODEL.environment(output))
    for _ in range(images // MICROBATCH):
        peers_drawing.draw([PROMPT] * MICROBATCH)


PARTS = ("without_work", "with_model")


def measure(
    directory: Path,
    parts: tuple[str, ...] = PARTS,
    *,
    rounds: int = 3,
    jobs: int = 500,
    batch: int = 10_000,
    images: int = 96,
    connections: int = 32,
) -> list[Line]:
    """Start Safelight and the peers in an empty directory and measure."""
    threads = {"SAFELIGHT_TORCH_THREADS": "1"}
    os.environ.update(threads)
    lines: list[Line] = []
    if "without_work" in parts:
        (directory / "without_work").mkdir(mode=0o755)
        with Service(directory / "without_work", sweeps=True, settings=threads) as service:
            solo = processes.worker(["solo"])
            command = in_place_of("worker.generation.app", "bench.references:celery_app", solo)
            service.run("solo", in_place_of("--pool=threads", "--pool=solo", command))
            lines += without_work(service, rounds, jobs, batch, connections)
    if "with_model" in parts:
        (directory / "with_model").mkdir(mode=0o755)
        with Service(directory / "with_model", catalog=CATALOG + BUNDLED_ENTRY, settings=threads) as service:
            os.environ["SAFELIGHT_CATALOG"] = str(service.settings.catalog_path)
            lines += with_model(service, rounds, images, connections)
    return lines


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=500, help="single jobs that cost nothing to draw, a round")
    parser.add_argument("--batch", type=int, default=10_000, help="jobs of a batch that cost nothing to draw, a round")
    parser.add_argument("--images", type=int, default=96, help="images of the bundled model, a round")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS)
    arguments = parser.parse_args()
    with own_directory() as directory:
        lines = measure(
            directory, tuple(arguments.only), rounds=arguments.rounds, jobs=arguments.jobs, batch=arguments.batch,
            images=arguments.images, connections=arguments.connections,
        )  # fmt: skip
    print(render(lines))


if __name__ == "__main__":
    main()
