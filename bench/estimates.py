"""Whether dry runs say how long an image takes. `python -m bench.estimates`.

Jobs of the bundled model, of several sizes and steps. Before each, a dry run estimates it; its receipts say what came.
The first jobs teach; those after them count. The reference is what the catalogue alone would have said.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from api.estimates import CACHE_SECONDS
from bench.service import Service
from core.requests.job import JobRequest
from core.requests.plan import device_seconds, resolve
from core.settings import Settings

PROMPT = "a cat on the grass"
TOLERANCE = 0.25
KINDS = ((256, 18), (256, 10), (128, 18), (512, 18))
"""Side in px, and steps."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Seconds of a job: what the dry run said, what the catalogue says, what came."""

    estimate: float
    nominal: float
    actual: float


def is_close(estimate: float, actual: float) -> bool:
    """Whether an estimate is within TOLERANCE of what came."""
    return abs(estimate - actual) <= TOLERANCE * actual


def measure(service: Service, jobs: int, random: Random) -> Iterator[Sample]:
    """Estimate and run jobs one after the other."""
    model = service.model("unclip-mini")
    for _ in range(jobs):
        side, steps = random.choice(KINDS)
        fields: dict[str, Any] = {
            "prompt": PROMPT,
            "size": f"{side}x{side}",
            "steps": steps,
            "n": random.choice((1, 2)),
        }
        estimate = service.client.post("/v1/jobs", json={**fields, "dry_run": True}).json()["device_seconds"]
        job = service.client.post("/v1/jobs", json=fields).json()
        while job["finished_at"] is None:
            job = service.client.get(f"/v1/jobs/{job['id']}", params={"wait": 60}).json()
        receipts = [image["receipt"] for image in job["images"]]
        actual = receipts[0]["device_seconds"] + sum(receipt["processing_seconds"] for receipt in receipts)
        request = JobRequest.model_validate(fields)
        nominal = device_seconds(model, resolve(request, model)) * request.n
        yield Sample(estimate, nominal, actual)


def main() -> None:
    """Measure and print the shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--first", type=int, default=6, help="jobs that teach and are not counted")
    options = parser.parse_args()
    random = Random(7)
    with tempfile.TemporaryDirectory() as directory:
        catalog = Settings().catalog_path.read_text()
        with Service(Path(directory), catalog=catalog) as service:
            list(measure(service, options.first, random))
            time.sleep(CACHE_SECONDS)  # until the API reads again what the first jobs took
            samples = list(measure(service, options.jobs, random))
    share = sum(is_close(sample.estimate, sample.actual) for sample in samples) / len(samples)
    reference = sum(is_close(sample.nominal, sample.actual) for sample in samples) / len(samples)
    for sample in samples:
        print(f"dry run {sample.estimate:7.2f} s  catalogue {sample.nominal:7.2f} s  came {sample.actual:7.2f} s")
    print(f"within 25 % of what came: {share:.0%} of {len(samples)} dry runs; the catalogue alone: {reference:.0%}")


if __name__ == "__main__":
    main()
